//! Security events: what is worth a line in the audit log.

use super::line::Line;
use crate::registry::account::AccountV1;

/// What happened, as it stands in logs and metrics.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "each is the name that `name` gives it")]
pub enum Event {
    LoginSucceeded,
    LoginFailed,
    LoginLocked,
    LoginShed,
    Throttled,
    LockoutStarted,
    LockoutCleared,
    DeviceRecognised,
    DeviceDemoted,
    RefreshRotated,
    RefreshReplayed,
    RefreshReused,
    SessionRevoked,
    PasswordChanged,
    ResetRequested,
    PasswordReset,
    TokenRejected,
    CsrfRejected,
    SignedUp,
    SignUpTaken,
    EmailVerified,
    AccountDeleted,
    KeyRotated,
    KeyRetired,
    StuffingSuspected,
    AdminCreated,
    AdminChanged,
    EmailChangeAsked,
    EmailChanged,
    EmailChangeUndone,
    SessionMoved,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 31] = [
        Self::LoginSucceeded,
        Self::LoginFailed,
        Self::LoginLocked,
        Self::LoginShed,
        Self::Throttled,
        Self::LockoutStarted,
        Self::LockoutCleared,
        Self::DeviceRecognised,
        Self::DeviceDemoted,
        Self::RefreshRotated,
        Self::RefreshReplayed,
        Self::RefreshReused,
        Self::SessionRevoked,
        Self::PasswordChanged,
        Self::ResetRequested,
        Self::PasswordReset,
        Self::TokenRejected,
        Self::CsrfRejected,
        Self::SignedUp,
        Self::SignUpTaken,
        Self::EmailVerified,
        Self::AccountDeleted,
        Self::KeyRotated,
        Self::KeyRetired,
        Self::StuffingSuspected,
        Self::AdminCreated,
        Self::AdminChanged,
        Self::EmailChangeAsked,
        Self::EmailChanged,
        Self::EmailChangeUndone,
        Self::SessionMoved,
    ];

    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LoginSucceeded => "login.succeeded",
            Self::LoginFailed => "login.failed",
            Self::LoginLocked => "login.locked",
            Self::LoginShed => "login.shed",
            Self::Throttled => "request.throttled",
            Self::LockoutStarted => "lockout.started",
            Self::LockoutCleared => "lockout.cleared",
            Self::DeviceRecognised => "device.recognised",
            Self::DeviceDemoted => "device.demoted",
            Self::RefreshRotated => "refresh.rotated",
            Self::RefreshReplayed => "refresh.replayed",
            Self::RefreshReused => "refresh.reused",
            Self::SessionRevoked => "session.revoked",
            Self::PasswordChanged => "password.changed",
            Self::ResetRequested => "password.reset_requested",
            Self::PasswordReset => "password.reset",
            Self::TokenRejected => "token.rejected",
            Self::CsrfRejected => "csrf.rejected",
            Self::SignedUp => "account.signed_up",
            Self::SignUpTaken => "account.sign_up_taken",
            Self::EmailVerified => "account.verified",
            Self::AccountDeleted => "account.deleted",
            Self::KeyRotated => "key.rotated",
            Self::KeyRetired => "key.retired",
            Self::EmailChangeAsked => "email.change_asked",
            Self::EmailChanged => "email.changed",
            Self::EmailChangeUndone => "email.change_undone",
            Self::SessionMoved => "session.moved",
            Self::AdminCreated => "admin.account_created",
            Self::AdminChanged => "admin.account_changed",
            Self::StuffingSuspected => "stuffing.suspected",
        }
    }
}

/// An event with what is known of it.
#[derive(Clone, Debug)]
pub struct Note {
    pub(super) event: Event,
    pub(super) line: Line,
}

impl Note {
    /// Of an event alone.
    pub fn new(event: Event) -> Self {
        Self { event, line: Line { event: event.name().to_owned(), ..Line::default() } }
    }

    /// From where, and in which request.
    #[must_use]
    pub fn from(mut self, network: String, request_id: &str) -> Self {
        (self.line.network, self.line.request_id) = (network, request_id.to_owned());
        self
    }

    /// About an account or a session, by its id; or a word.
    #[must_use]
    pub fn about(mut self, subject: &dyn std::fmt::Display) -> Self {
        self.line.subject = subject.to_string();
        self
    }

    /// About an account that is known: its id and its masked address. A name that was typed and is none stays out.
    #[must_use]
    pub fn for_account(mut self, account: Option<&AccountV1>) -> Self {
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

    /// From a device of that digest.
    #[must_use]
    pub fn device(mut self, device: Option<[u8; 8]>) -> Self {
        self.line.device = device.map_or_else(String::new, |id| format!("{:016x}", u64::from_be_bytes(id)));
        self
    }

    /// Why.
    #[must_use]
    pub fn with_reason(mut self, reason: &str) -> Self {
        reason.clone_into(&mut self.line.reason);
        self
    }
}
