//! Why a flow ends early: a refusal is an answer, a fault is an error.

use std::time::Duration;

use crate::config::Config;
use crate::engine::Fault;
use crate::journal::append::handle::NoRoom;
use crate::password::{Shed, Weakness};
use crate::system::clock::Timestamp;
use crate::system::random::NoRandomness;
use crate::token::KeyError;
use crate::value::account_name::{AccountName, AddressRules};

/// An expected answer to an unwelcome request.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the message explains each; http/problem.rs has the answers")]
pub enum Refusal {
    #[error("too many requests from this network")]
    Throttled { wait: Duration },
    #[error("too many attempts for this account name")]
    Locked { until: Timestamp },
    #[error("unknown name or wrong password")]
    InvalidCredentials,
    #[error("the e-mail address is not verified")]
    EmailNotVerified,
    #[error("the account is disabled")]
    AccountDisabled,
    #[error("invalid or expired mailed token")]
    InvalidMailedToken,
    #[error("the password is too weak")]
    WeakPassword { pointer: &'static str, found: Vec<Weakness> },
    #[error("sign-up is disabled")]
    SignupDisabled,
    #[error("the e-mail address has an account")]
    EmailTaken,
    #[error("the e-mail address was changed in the last three days")]
    EmailChangedLately,
    #[error("no such refresh token")]
    InvalidRefreshToken,
    #[error("the refresh token was used before")]
    RefreshTokenReused,
    #[error("the session has ended")]
    SessionExpired,
    #[error("no valid credential")]
    Unauthenticated,
    #[error("the account lacks the role")]
    InsufficientRole,
    #[error("there is no such account, session or key")]
    NotFound,
    #[error("the request may come from another site")]
    CsrfRejected,
    #[error("more than one credential")]
    AmbiguousCredentials,
    #[error("a field is not acceptable")]
    Field { pointer: &'static str, code: &'static str, message: String },
}

/// The error of a flow.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The request was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The server cannot serve the request at present.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Lets `?` turn the causes of a fault into the error of a flow.
macro_rules! from_causes {
    ($($cause:ty),*) => {
        $(impl From<$cause> for FlowError {
            fn from(cause: $cause) -> Self {
                Self::Fault(cause.into())
            }
        })*
    };
}

from_causes!(NoRandomness, NoRoom, Shed, KeyError);

/// Reads an e-mail address as a user typed it.
pub(crate) fn parse_name(typed: &str) -> Result<AccountName, Refusal> {
    AccountName::parse(typed).map_err(invalid_email)
}

/// Reads an e-mail address that an account is to have.
pub(crate) fn parse_new_name(config: &Config, typed: &str) -> Result<AccountName, Refusal> {
    let allow_local_domains = config.signup.allow_local_domains;
    let rules = AddressRules { allow_local_domains, allow_utf8: config.mail.utf8 };
    AccountName::parse_new(typed, rules).map_err(invalid_email)
}

fn invalid_email(error: impl std::fmt::Display) -> Refusal {
    Refusal::Field { pointer: "/email", code: "invalid_email", message: error.to_string() }
}
