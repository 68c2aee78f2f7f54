//! Why a flow ends early: a refusal is an answer, a fault is an error.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::engine::{Engine, Fault};
use crate::journal::append::handle::NoRoom;
use crate::password::foreign::TooDear;
use crate::password::{Shed, Weakness};
use crate::registry::account;
use crate::registry::throttle::class::Class;
use crate::system::clock::Timestamp;
use crate::system::random::NoRandomness;
use crate::token::KeyError;
use crate::value::account_name::{AccountName, AddressRules, NewNameError};

/// An expected answer to an unwelcome request.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the message explains each; http/problem.rs has the answers")]
pub enum Refusal {
    #[error("too many requests of the class {}", class.name())]
    Throttled { class: Class, wait: Duration },
    #[error("too many attempts for this account name")]
    Locked { until: Timestamp },
    #[error("too many log-ins of this account name at once")]
    TooManyAtOnce,
    #[error("unknown name or wrong password")]
    InvalidCredentials,
    #[error("wrong password of an account that is known otherwise")]
    WrongPassword,
    #[error("the e-mail address is not verified")]
    EmailNotVerified,
    #[error("the account is disabled")]
    AccountDisabled,
    #[error("invalid or expired mailed token")]
    InvalidMailedToken,
    #[error("the account of the mailed token was deleted")]
    AccountDeleted,
    #[error("the password is too weak")]
    WeakPassword { pointer: &'static str, found: Vec<Weakness> },
    #[error("sign-up is disabled")]
    SignupDisabled,
    #[error("the sign-up is refused: {why}")]
    SignupRefused { why: String },
    #[error("the log-in is refused: {why}")]
    LoginRefused { why: String },
    #[error("the e-mail address has an account")]
    EmailTaken,
    #[error("another account has the external id")]
    ExternalIdTaken,
    #[error("another import is at work")]
    ImportRunning,
    #[error("the e-mail address was changed in the last three days")]
    EmailChangedLately,
    #[error("the e-mail address was changed lately, which can be undone until {}", until.rfc3339())]
    UndoPending { until: Timestamp },
    #[error("this account was sent too many links within the hour; wait, or use one of those")]
    MailQuota,
    #[error("the link needs a session of the account or its password too")]
    ProofNeeded,
    #[error("no such refresh token")]
    InvalidRefreshToken,
    #[error("the refresh token was used before")]
    RefreshTokenReused,
    #[error("the session has ended")]
    SessionExpired,
    #[error("no valid credential")]
    Unauthenticated,
    #[error("no valid API key")]
    InvalidApiKey,
    #[error("the account lacks the role")]
    InsufficientRole,
    #[error("the access token is for another audience")]
    WrongAudience,
    #[error("the user has not proved who they are for too long")]
    StepUpRequired,
    #[error("no administrator would be left")]
    LastAdmin,
    #[error("there is no such account, session or key")]
    NotFound,
    #[error("the request may come from another site: {0}")]
    CsrfRejected(CsrfFault),
    #[error("more than one credential")]
    AmbiguousCredentials,
    #[error("a field is not acceptable")]
    Field { pointer: &'static str, code: &'static str, message: String },
    #[error("there are as many keys of this kind as there may be")]
    TooManyKeys,
    #[error("there are as many API keys as there may be")]
    TooManyApiKeys,
    #[error("there are as many open invitations as there may be")]
    TooManyInvitations,
    #[error("the API key lacks the scope")]
    InsufficientScope,
}

/// What a request lacks to be known for one of our own pages.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CsrfFault {
    /// It names the page of another origin, or names its origin in a form that cannot be read.
    #[error("a page of another origin")]
    OtherOrigin,
    /// It does not say which page it comes from.
    #[error("no origin")]
    NoOrigin,
    /// It comes from a page that may call, but on another site, where browsers send no cookie of ours.
    #[error("an allowed page of another site")]
    OtherSite,
    /// It has no CSRF token.
    #[error("no CSRF token")]
    NoToken,
    /// Its CSRF token is of another session.
    #[error("CSRF token of another session")]
    OtherToken,
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

/// The error of what an embedding program asks for: a refusal, or a fault.
///
/// Returned by a handler of actix-web it becomes the problem document that the API would answer with.
pub struct Error {
    error: Box<FlowError>,
    /// The engine that was asked; `None` if it has gone meanwhile.
    engine: Option<Arc<Engine>>,
}

impl Error {
    /// Wraps the error of a flow of `engine`.
    pub(crate) fn new(engine: &Engine, error: FlowError) -> Self {
        Self { error: Box::new(error), engine: engine.itself().ok() }
    }

    /// Returns what the flow ended with.
    #[doc(hidden)]
    pub fn flow_error(&self) -> &FlowError {
        &self.error
    }

    /// Returns the engine that was asked.
    pub(crate) const fn engine(&self) -> Option<&Arc<Engine>> {
        self.engine.as_ref()
    }

    /// Returns what the flow ended with, and the engine that was asked.
    pub(crate) fn into_parts(self) -> (FlowError, Option<Arc<Engine>>) {
        (*self.error, self.engine)
    }

    /// Says whether the answer was no. Otherwise the server could not serve the request at present, and a later try may
    /// succeed.
    pub fn is_refusal(&self) -> bool {
        matches!(*self.error, FlowError::Refused(_))
    }

    /// Says whether there is no such account.
    pub fn is_not_found(&self) -> bool {
        matches!(*self.error, FlowError::Refused(Refusal::NotFound))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.error {
            FlowError::Refused(Refusal::Field { message, .. }) => f.write_str(message),
            error => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.error)
    }
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

impl From<account::Refusal> for Refusal {
    fn from(refusal: account::Refusal) -> Self {
        match refusal {
            account::Refusal::LastAdmin => Self::LastAdmin,
            account::Refusal::TooDear(too_dear) => {
                Self::Field { pointer: "/password_hash", code: TooDear::CODE, message: too_dear.to_string() }
            }
            account::Refusal::ExternalIdTaken => Self::ExternalIdTaken,
            account::Refusal::Unknown | account::Refusal::Outdated | account::Refusal::Taken => {
                Self::NotFound
            }
        }
    }
}

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

/// Reads an e-mail address like [`parse_new_name`], for an administrator: one that a setting would allow is refused with
/// the name of that setting.
pub(crate) fn parse_new_name_for_admin(config: &Config, typed: &str) -> Result<AccountName, Refusal> {
    let allow_local_domains = config.signup.allow_local_domains;
    let rules = AddressRules { allow_local_domains, allow_utf8: config.mail.utf8 };
    AccountName::parse_new(typed, rules).map_err(|error| match error {
        NewNameError::LocalDomain => {
            invalid_email(format!("{error}: signup.allow_local_domains = true allows it"))
        }
        NewNameError::NotAscii => invalid_email(format!(
            "{error}: mail.smtp.utf8 = true allows others, if the mail server takes them"
        )),
        error => invalid_email(error),
    })
}

/// Refuses the field `email`.
pub(crate) fn invalid_email(error: impl std::fmt::Display) -> Refusal {
    Refusal::Field { pointer: "/email", code: "invalid_email", message: error.to_string() }
}
