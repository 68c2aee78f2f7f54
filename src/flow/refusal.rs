//! Why a flow ends early: refusals are answers, faults are errors.

use std::time::Duration;

use crate::engine::Fault;
use crate::journal::append::handle::NoRoom;
use crate::password::Weakness;
use crate::system::clock::Timestamp;
use crate::system::random::NoRandomness;
use crate::value::account_name::AccountName;

/// An expected answer to an unwelcome request.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is; the answers stand in http/problem.rs")]
pub enum Refusal {
    #[error("too many requests from this network")]
    Throttled { wait: Duration },
    #[error("too many attempts for this account name")]
    Locked { until: Timestamp },
    #[error("unknown name or wrong password")]
    InvalidCredentials,
    #[error("the address is not proved yet")]
    EmailNotVerified,
    #[error("the account is disabled")]
    AccountDisabled,
    #[error("invalid or expired mailed token")]
    InvalidMailedToken,
    #[error("the password is too weak")]
    WeakPassword { pointer: &'static str, found: Vec<Weakness> },
    #[error("sign-up is switched off")]
    SignupDisabled,
    #[error("the address has an account")]
    EmailTaken,
    #[error("the address was changed lately")]
    EmailChangedLately,
    #[error("no such refresh token")]
    InvalidRefreshToken,
    #[error("the refresh token was used before")]
    RefreshTokenReused,
    #[error("the session is over")]
    SessionExpired,
    #[error("no valid credential")]
    Unauthenticated,
    #[error("the role is missing")]
    InsufficientRole,
    #[error("no such thing")]
    NotFound,
    #[error("the request may come from another site")]
    CsrfRejected,
    #[error("two kinds of credential at once")]
    AmbiguousCredentials,
    #[error("a field is not acceptable")]
    Field { pointer: &'static str, code: &'static str, message: String },
}

/// Why a flow ends early.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// An answer.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A promise that cannot be kept now.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<NoRandomness> for FlowError {
    fn from(error: NoRandomness) -> Self {
        Self::Fault(error.into())
    }
}

impl From<NoRoom> for FlowError {
    fn from(error: NoRoom) -> Self {
        Self::Fault(error.into())
    }
}

/// Reads an address as it was typed.
pub(crate) fn parse_name(typed: &str) -> Result<AccountName, Refusal> {
    AccountName::parse(typed).map_err(|error| Refusal::Field {
        pointer: "/email",
        code: "invalid_email",
        message: error.to_string(),
    })
}
