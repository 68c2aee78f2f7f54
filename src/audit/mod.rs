//! Security events: counted for the metrics, one line each in the log and in the chained files of `audit.dir`.
//!
//! Never in an event: a password, a token, a whole address of an unknown name, a body.

pub mod log;
mod metrics;

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::clock::Clock;

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
    StuffingSuspected,
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
            Self::StuffingSuspected => "stuffing.suspected",
        }
    }
}

/// Takes down events, and knows how often each happened since the start.
#[derive(Debug)]
pub struct Tally {
    counts: Mutex<BTreeMap<Event, u64>>,
    clock: Clock,
    /// The chained files and the newest events.
    pub log: log::Log,
}

impl Tally {
    /// Nothing happened yet.
    pub fn new(clock: Clock) -> Self {
        Self { counts: Mutex::default(), clock, log: log::Log::default() }
    }

    /// Counts an event and writes its line. `subject` names an account by id, or is empty.
    pub fn note(&self, event: Event, subject: &dyn std::fmt::Display, network: &str) {
        *self.counts.lock().entry(event).or_default() += 1;
        self.log.note(self.clock.now(), event.name(), subject.to_string(), network);
        tracing::info!(target: "portcullis::event", event = event.name(), subject = %subject, network, "security event");
    }

    /// Counts an event without a line of its own: what a flood of refusals must not turn into a flood of writes.
    pub fn count(&self, event: Event) {
        *self.counts.lock().entry(event).or_default() += 1;
    }

    /// All counts.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        self.counts.lock().iter().map(|(event, count)| (event.name(), *count)).collect()
    }
}
