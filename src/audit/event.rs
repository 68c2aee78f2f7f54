//! The list of security events, and the builder of one event's line.

use super::line::Line;
use crate::registry::account::AccountV2;

/// Declares [`Event`], its list and its names from one table.
macro_rules! events {
    ($($(#[$meta:meta])* $event:ident = $name:literal,)+) => {
        /// A kind of security event, named as in logs and metrics.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
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
        }
    };
}

events! {
    LoginSucceeded = "login.succeeded",
    LoginFailed = "login.failed",
    LoginLocked = "login.locked",
    LoginShed = "login.shed",
    Throttled = "request.throttled",
    LockoutStarted = "lockout.started",
    LockoutCleared = "lockout.cleared",
    DeviceRecognised = "device.recognised",
    DeviceDemoted = "device.demoted",
    RefreshRotated = "refresh.rotated",
    RefreshReplayed = "refresh.replayed",
    RefreshReused = "refresh.reused",
    SessionRevoked = "session.revoked",
    PasswordChanged = "password.changed",
    ResetRequested = "password.reset_requested",
    PasswordReset = "password.reset",
    TokenRejected = "token.rejected",
    CsrfRejected = "csrf.rejected",
    SignedUp = "account.signed_up",
    SignUpTaken = "account.sign_up_taken",
    EmailVerified = "account.verified",
    AccountDeleted = "account.deleted",
    KeyRotated = "key.rotated",
    KeyRetired = "key.retired",
    StuffingSuspected = "stuffing.suspected",
    AdminCreated = "admin.account_created",
    AdminChanged = "admin.account_changed",
    EmailChangeAsked = "email.change_asked",
    EmailChanged = "email.changed",
    EmailChangeUndone = "email.change_undone",
    SessionMoved = "session.moved",
    ApiKeyMade = "api_key.made",
    ApiKeyDeleted = "api_key.deleted",
}

/// One event with the details that are known about it.
#[derive(Clone, Debug)]
pub struct Note {
    pub(super) event: Event,
    pub(super) line: Line,
}

impl Note {
    /// Returns a note of `event` without details.
    pub fn new(event: Event) -> Self {
        Self { event, line: Line { event: event.name().to_owned(), ..Line::default() } }
    }

    /// Sets the client's network and the id of the request.
    #[must_use]
    pub fn from(mut self, network: String, request_id: &str) -> Self {
        self.line.network = network;
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
    pub fn for_account(mut self, account: Option<&AccountV2>) -> Self {
        if let Some(account) = account {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_events_share_a_name() {
        let mut names: Vec<_> = Event::ALL.iter().map(|event| event.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 33);
        assert_eq!(names.len(), Event::ALL.len());
    }
}
