//! The classes of requests that are limited separately, and the rate of each.

use crate::registry::throttle::gcra::Policy;

/// Declares [`Class`], the list of all classes and their names, so that each class is written once.
macro_rules! classes {
    ($($(#[$doc:meta])* $class:ident = $name:literal,)*) => {
        /// A class of requests that is rate limited by a policy of its own.
        ///
        /// The order is part of the format of `throttle.bin`: append only.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Class {
            $($(#[$doc])* $class,)*
        }

        impl Class {
            /// All classes, in the order of their numbers.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$class),*];

            /// Returns the name that headers and the configuration use.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$class => $name,)*
                }
            }
        }
    };
}

classes! {
    /// Log-in.
    Login = "login",
    /// Sign-up.
    Signup = "signup",
    /// Rotation of a refresh token.
    Refresh = "refresh",
    /// A request for a mail with a token.
    Forgot = "forgot",
    /// A new password, set with a mailed token.
    Reset = "reset",
    /// The proof of an address.
    Verify = "verify",
    /// The end of a lockout, by a mailed token.
    Unlock = "unlock",
    /// The password check of a user who is logged in.
    Check = "check",
    /// A request that was rejected: for its access token, or for the site that sent it.
    Rejected = "rejected",
    /// A change of settings by the holder of an account. Charged to the account.
    Change = "change",
    /// Advice on a password while it is typed.
    Advice = "advice",
}

/// The burst and the rate of one class.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// Requests that pass at once.
    pub burst: u32,
    /// Requests a minute after the burst.
    pub per_minute: u32,
}

impl Rate {
    /// Returns the policy of a network that may do `multiple` times as much; `None` if the class is not limited.
    pub(super) fn times(self, multiple: u32) -> Option<Policy> {
        Policy::new(self.burst.saturating_mul(multiple), self.per_minute.saturating_mul(multiple))
    }
}
