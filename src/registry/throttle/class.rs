//! The classes of requests that are limited apart, and the rate of each.

use crate::registry::throttle::gcra::Policy;

/// What is throttled, each by a policy of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Class {
    /// Log-in.
    Login,
    /// Sign-up.
    Signup,
    /// Refresh.
    Refresh,
    /// Asking for a mail.
    Forgot,
    /// Setting a password with a mailed token.
    Reset,
    /// Proving an address.
    Verify,
    /// Lifting a lockout.
    Unlock,
    /// Checking a password of somebody who is logged in.
    Check,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Login,
        Self::Signup,
        Self::Refresh,
        Self::Forgot,
        Self::Reset,
        Self::Verify,
        Self::Unlock,
        Self::Check,
    ];

    /// As it stands in headers and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Signup => "signup",
            Self::Refresh => "refresh",
            Self::Forgot => "forgot",
            Self::Reset => "reset",
            Self::Verify => "verify",
            Self::Unlock => "unlock",
            Self::Check => "check",
        }
    }
}

/// Burst and rate of one class.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// Requests at once.
    pub burst: u32,
    /// Then so many a minute.
    pub per_minute: u32,
}

impl Rate {
    pub(super) fn times(self, multiple: u32) -> Option<Policy> {
        Policy::new(self.burst.saturating_mul(multiple), self.per_minute.saturating_mul(multiple))
    }
}
