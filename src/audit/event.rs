//! The list of security events with who can cause each of them, and the builder of one event's line.

use super::line::Line;
use crate::registry::account::AccountV4;
use crate::system::clock::Timestamp;
use crate::value::id::hex;
use crate::value::network::Network;

/// Who can cause an event, which decides how its lines are bounded. `README.md` beside this file has the numbers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Cause {
    /// Anybody. Lines are bounded by the network that they come from.
    Stranger,
    /// Anybody who knows the name of an account. Lines are bounded by the account if there is one, otherwise by the
    /// network.
    AtAccount,
    /// The holder of an account, a session or a device. Lines are bounded by the account, session or device.
    Holder,
    /// An operator, or the server itself. Lines are not bounded.
    Operator,
}

/// Declares [`Event`], its list, its names and who causes each from one table. Without a `by`, an event is
/// [`Cause::AtAccount`].
macro_rules! events {
    ($($(#[$meta:meta])* $event:ident = $name:literal $(by $cause:ident)?,)+) => {
        /// A kind of security event, named as in logs and metrics.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[expect(missing_docs, reason = "each is the name that `name` gives it")]
        pub enum Event {
            $($(#[$meta])* $event,)+
        }

        impl Event {
            /// All events, in the order of their discriminants.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$event),+];

            /// Returns the stable name of the event.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$event => $name,)+
                }
            }

            /// Returns who can cause the event.
            pub const fn cause(self) -> Cause {
                match self {
                    $(Self::$event => cause!($($cause)?),)+
                }
            }
        }
    };
}

/// Names a [`Cause`], or the usual one.
macro_rules! cause {
    () => {
        Cause::AtAccount
    };
    ($cause:ident) => {
        Cause::$cause
    };
}

events! {
    LoginSucceeded = "login.succeeded" by Holder,
    LoginFailed = "login.failed" by AtAccount,
    LoginLocked = "login.locked" by AtAccount,
    LoginShed = "login.shed" by Stranger,
    Throttled = "request.throttled" by Stranger,
    LockoutStarted = "lockout.started" by AtAccount,
    LockoutCleared = "lockout.cleared" by Holder,
    DeviceRecognised = "device.recognised" by Holder,
    DeviceDemoted = "device.demoted" by AtAccount,
    RefreshRotated = "refresh.rotated" by Holder,
    RefreshReplayed = "refresh.replayed" by Holder,
    RefreshReused = "refresh.reused" by Holder,
    SessionRevoked = "session.revoked" by Holder,
    PasswordChanged = "password.changed" by Holder,
    ResetRequested = "password.reset_requested" by AtAccount,
    PasswordReset = "password.reset" by Holder,
    TokenRejected = "token.rejected" by Stranger,
    CsrfRejected = "csrf.rejected" by Stranger,
    SignedUp = "account.signed_up" by Stranger,
    SignUpTaken = "account.sign_up_taken" by AtAccount,
    EmailVerified = "account.verified" by Holder,
    AccountDeleted = "account.deleted" by Holder,
    KeyRotated = "key.rotated" by Operator,
    KeyRetired = "key.retired" by Operator,
    StuffingSuspected = "stuffing.suspected" by AtAccount,
    AdminCreated = "admin.account_created" by Operator,
    AdminChanged = "admin.account_changed" by Operator,
    EmailChangeAsked = "email.change_asked" by Holder,
    EmailChanged = "email.changed" by Holder,
    EmailChangeUndone = "email.change_undone" by Holder,
    SessionMoved = "session.moved" by Stranger,
    SessionGaveWay = "session.gave_way" by Holder,
    Reauthenticated = "session.reauthenticated" by Holder,
    DeviceNew = "device.new" by Holder,
    DevicesEnded = "device.all_ended" by Holder,
    DeviceNoticesSet = "device.notices_set" by Holder,
    ApiKeyMade = "api_key.made" by Operator,
    ApiKeyDeleted = "api_key.deleted" by Operator,
    AuditAcknowledged = "audit.acknowledged" by Operator,
    Invited = "account.invited" by Operator,
    InvitationSent = "invitation.sent" by Operator,
    InvitationWithdrawn = "invitation.withdrawn" by Operator,
    InvitationAccepted = "invitation.accepted",
    HookRefused = "hook.refused",
    HookFailed = "hook.failed" by Stranger,
    BackedUp = "data.backed_up" by Operator,
    SessionIssued = "session.issued" by Holder,
    MailWithheld = "mail.withheld" by AtAccount,
    EventsLost = "events.lost" by Operator,
    WebhookDisabled = "webhook.disabled" by Operator,
    WebhookResumed = "webhook.resumed" by Operator,
    UsersImported = "accounts.imported" by Operator,
    UsersExported = "accounts.exported" by Operator,
}

/// One event with the details that are known about it.
#[derive(Clone, Debug)]
pub struct Note {
    pub(super) event: Event,
    /// The client's network.
    pub(super) network: Option<Network>,
    /// Whether the line names an account that exists.
    pub(super) names_account: bool,
    /// Whether an operator caused the event, which then has a line whatever else happens.
    pub(super) is_of_operator: bool,
    /// The details. [`Note::into_line`] adds the name of the event and the network.
    pub(super) line: Line,
}

impl Note {
    /// Returns a note of `event` without details.
    pub fn new(event: Event) -> Self {
        let is_of_operator = event.cause() == Cause::Operator;
        Self { event, network: None, names_account: false, is_of_operator, line: Line::default() }
    }

    /// Sets the client's network and the id of the request.
    #[must_use]
    pub fn from(mut self, network: Network, request_id: &str) -> Self {
        self.network = Some(network);
        request_id.clone_into(&mut self.line.request_id);
        self
    }

    /// Sets the subject: the id of an account or a session, or a fixed word.
    #[must_use]
    pub fn about(mut self, subject: &dyn std::fmt::Display) -> Self {
        self.line.subject = subject.to_string();
        self
    }

    /// Sets the account's id and masked address, if there is an account. A typed name without an account is not logged.
    #[must_use]
    pub fn for_account(mut self, account: Option<&AccountV4>) -> Self {
        if let Some(account) = account {
            self.names_account = true;
            self.line.subject = account.account_id().to_string();
            self.line.email = crate::value::account_name::masked(&account.email);
        }
        self
    }

    /// Sets the last sequence of the journal that was durable when the event happened.
    #[must_use]
    pub const fn at_journal(mut self, durable: u64) -> Self {
        self.line.journal = durable;
        self
    }

    /// Sets the id of the session that the event began.
    #[must_use]
    pub fn of_session(mut self, session: [u8; 16]) -> Self {
        self.line.session = hex(&session);
        self
    }

    /// Sets the digest of the known device, if the client presented one.
    #[must_use]
    pub fn device(mut self, device: Option<[u8; 8]>) -> Self {
        self.line.device = device.map_or_else(String::new, |id| format!("{:016x}", u64::from_be_bytes(id)));
        self
    }

    /// Sets the reason.
    #[must_use]
    pub fn with_reason(mut self, reason: &str) -> Self {
        reason.clone_into(&mut self.line.reason);
        self
    }

    /// Says which operator or administrator caused the event, and what it changed if that is not empty.
    #[must_use]
    pub fn by_operator(mut self, who: &str, what: &str) -> Self {
        self.is_of_operator = true;
        self.with_reason(&by(who, what))
    }

    /// Returns the line of the event, which happened at `time`.
    pub(super) fn into_line(self, time: Timestamp) -> Line {
        let network = self.network.map_or_else(String::new, |network| network.to_net().to_string());
        Line { time, event: self.event.name().to_owned(), network, ..self.line }
    }
}

/// Returns the reason of what an operator or administrator did. [`Line::by`] reads it.
fn by(who: &str, what: &str) -> String {
    let what = if what.is_empty() { String::new() } else { format!(": {what}") };
    format!("by {who}{what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_events_share_a_name() {
        let mut names: Vec<_> = Event::ALL.iter().map(|event| event.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 53);
        assert_eq!(names.len(), Event::ALL.len());
    }
}
