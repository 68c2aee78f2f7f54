//! Security events: counted for the metrics, and one line each in the log.
//!
//! Never in an event: a password, a token, a whole address of an unknown name, a body.

mod metrics;

use std::collections::BTreeMap;

use parking_lot::Mutex;

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
    EmailVerified,
    AccountDeleted,
}

impl Event {
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
            Self::EmailVerified => "account.verified",
            Self::AccountDeleted => "account.deleted",
        }
    }
}

/// How often each event happened since the start.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<Event, u64>>);

impl Tally {
    /// Counts an event and writes its line. `subject` names an account by id, or is empty.
    pub fn note(&self, event: Event, subject: &dyn std::fmt::Display, network: &str) {
        *self.0.lock().entry(event).or_default() += 1;
        tracing::info!(target: "portcullis::event", event = event.name(), subject = %subject, network, "security event");
    }

    /// All counts.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        self.0.lock().iter().map(|(event, count)| (event.name(), *count)).collect()
    }
}
