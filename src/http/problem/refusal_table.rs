//! The one table that gives every refusal and fault its status, code and text.

use std::borrow::Cow;
use std::time::Duration;

use super::{FieldError, Problem};
use crate::engine::{Engine, Fault};
use crate::flow::refusal::{CsrfFault, Error, FlowError, Refusal};
use crate::journal::append::handle::{Handle, NoRoom};
use crate::password::Weakness;
use crate::registry::throttle::class::Class;

impl FlowError {
    /// Returns the answer to a flow that ended early.
    pub(in crate::http) fn problem(&self, engine: &Engine) -> Problem {
        match self {
            Self::Refused(refusal) => refused(refusal, engine),
            Self::Fault(fault) => failed(fault),
        }
    }
}

impl Error {
    /// Returns the `code` of the problem that the API would answer with, such as `email_taken` or `weak_password`, for a program to
    /// decide by. The page `/problems/{code}` says what it means. `None` once the engine has gone.
    pub fn code(&self) -> Option<&'static str> {
        self.engine().map(|engine| self.flow_error().problem(engine).code)
    }
}

fn refused(refusal: &Refusal, engine: &Engine) -> Problem {
    match refusal {
        Refusal::Throttled { class, wait } => {
            Problem::new(429, "too_many_requests", throttled(*class)).with_retry_after(*wait)
        }
        Refusal::Locked { until } => Problem::new(
            429,
            "too_many_attempts",
            "Too many wrong passwords for this account. Wait, use a device that has logged in before, follow the link in \
             our mail about it, or set a new password by mail.",
        )
        .with_retry_after(until.since(engine.clock.now())),
        Refusal::TooManyAtOnce => Problem::new(
            429,
            "too_many_at_once",
            "Too many log-ins to this account are being checked at once; try again in a second.",
        )
        .with_retry_after(Duration::from_secs(1)),
        Refusal::InvalidCredentials => {
            let detail = "E-mail address or password is wrong. A new account must first be confirmed with the link in our mail; \
                          if that link asked for another password, only that one counts.";
            Problem::new(401, "invalid_credentials", detail).with_challenge()
        }
        Refusal::WrongPassword => {
            Problem::new(401, "invalid_credentials", "The password is wrong.").with_challenge()
        }
        Refusal::EmailNotVerified => Problem::new(
            403,
            "email_not_verified",
            "Confirm your e-mail address with the link in our mail first.",
        ),
        Refusal::AccountDisabled => {
            Problem::new(403, "account_disabled", "This account is disabled; ask the operator.")
        }
        Refusal::InvalidMailedToken => Problem::new(
            400,
            "invalid_or_expired_token",
            "The link is wrong, used or expired; ask for a new one.",
        ),
        Refusal::AccountDeleted => Problem::new(
            410,
            "account_deleted",
            "The account of this link was deleted after its address was changed. If you did not want that, write to the \
             operator; the address is free for a new account.",
        ),
        Refusal::WeakPassword { pointer, found } => {
            let first = found.first().map_or(Cow::Borrowed("choose another one"), |first| first.message());
            let detail = format!("The password is not accepted: {first}.");
            let mut problem = Problem::new(422, "weak_password", detail);
            problem.reasons = Some(found.iter().map(|weakness| weakness.code()).collect());
            let error = |weakness: &Weakness| FieldError {
                pointer: (*pointer).to_owned(),
                code: weakness.code().to_owned(),
                message: weakness.message().into_owned(),
            };
            problem.with_errors(found.iter().map(error).collect())
        }
        Refusal::SignupDisabled => {
            Problem::new(403, "signup_disabled", "Sign-up is disabled; ask the operator for an account.")
        }
        Refusal::SignupRefused { why } => Problem::new(403, "signup_refused", why.clone()),
        Refusal::LoginRefused { why } => Problem::new(403, "login_refused", why.clone()),
        Refusal::EmailTaken => {
            let detail = "An account with this e-mail address exists already, or had it until a change that can still be undone.";
            Problem::new(409, "email_taken", detail)
        }
        Refusal::ImportRunning => Problem::new(
            409,
            "import_running",
            "Another import is at work. Send this one when it has ended.",
        ),
        Refusal::ExternalIdTaken => Problem::new(
            409,
            "external_id_taken",
            "Another account has this external id; `GET /v1/admin/users?external_id=` finds it.",
        ),
        Refusal::EmailChangedLately => Problem::new(
            409,
            "email_changed_lately",
            "The e-mail address was changed in the last three days, and that can still be undone; try again later.",
        ),
        Refusal::UndoPending { until } => Problem::new(
            409,
            "email_changed_lately",
            format!(
                "The e-mail address was changed, and that can be undone until {}; delete the account after that.",
                until.rfc3339()
            ),
        ),
        Refusal::MailQuota => Problem::new(
            409,
            "mail_quota",
            "This account was sent too many links within the hour; wait, or let its owner use one of those.",
        ),
        Refusal::ProofNeeded => Problem::new(
            401,
            "proof_needed",
            "The link is not enough: log in to its account, or send `password` with it.",
        )
        .with_challenge(),
        Refusal::InvalidRefreshToken => {
            Problem::new(401, "invalid_refresh_token", "The refresh token is not valid; log in again.")
                .with_challenge()
        }
        Refusal::RefreshTokenReused => Problem::new(
            401,
            "refresh_token_reused",
            "The refresh token was used before, so its session has ended; log in again. A copy of it was used, or the answer to a \
             refresh was lost and the refresh repeated too late.",
        )
        .with_challenge(),
        Refusal::SessionExpired => {
            Problem::new(401, "session_expired", "The session has ended; log in again.").with_challenge()
        }
        Refusal::Unauthenticated => {
            Problem::new(401, "unauthenticated", "Log in, then send the access token or the session cookie.")
                .with_challenge()
        }
        Refusal::InvalidApiKey => Problem::new(
            401,
            "unauthenticated",
            "The API key is unknown, expired or deleted. Send one of this server as the bearer token, or as the password of \
             HTTP Basic; an operator makes one with `portcullis api-key create`.",
        )
        .with_challenge(),
        Refusal::InsufficientRole => {
            Problem::new(403, "insufficient_role", "Your account lacks the role that this endpoint requires.")
        }
        Refusal::WrongAudience => Problem::new(
            403,
            "wrong_audience",
            "Log in with `audience` set to `admin`, or with a session cookie, for the administrators' endpoints.",
        ),
        Refusal::StepUpRequired => Problem::step_up(crate::flow::authenticate::FRESH_FOR),
        Refusal::LastAdmin => Problem::new(
            409,
            "last_administrator",
            "No other administrator can log in: each is disabled, without a password, or has an unproved address. \
             Have another one log in first, or ask the operator.",
        ),
        Refusal::NotFound => Problem::new(404, "not_found", "There is no such account, session or key."),
        Refusal::CsrfRejected(fault) => csrf_rejected(*fault),
        Refusal::AmbiguousCredentials => Problem::new(
            400,
            "ambiguous_credentials",
            "Send one credential only: an access token, the session cookie, or (to log out) a refresh token.",
        ),
        Refusal::TooManyKeys => Problem::new(
            409,
            "too_many_keys",
            "There are 16 keys of this kind, as many as there may be. Wait until the oldest one is removed, or retire one.",
        ),
        Refusal::TooManyApiKeys => Problem::new(
            409,
            "too_many_api_keys",
            "There are 1,000 API keys, as many as there may be. Delete one.",
        ),
        Refusal::TooManyInvitations => Problem::new(
            409,
            "too_many_invitations",
            "There are 10,000 open invitations, as many as there may be. Withdraw one.",
        ),
        Refusal::InsufficientScope => Problem::new(
            403,
            "insufficient_scope",
            "The API key lacks the scope that this endpoint requires; create one with that scope.",
        ),
        Refusal::Field { pointer, code, message } => {
            let error = FieldError {
                pointer: (*pointer).to_owned(),
                code: (*code).to_owned(),
                message: message.clone(),
            };
            Problem::unprocessable(error)
        }
    }
}

/// Says whose requests of `class` were too many. It follows from the class alone: who has paid for this request says whether a
/// device or a token is known.
const fn throttled(class: Class) -> &'static str {
    match class {
        Class::Change => "Too many changes to this account; wait, then try again.",
        Class::Refresh => "Too many refreshes of this account, or from your network; wait, then try again.",
        Class::Login => "Too many log-ins from your network, or on this device; wait, then try again.",
        _ => "Too many requests from your network; wait, then try again.",
    }
}

fn csrf_rejected(fault: CsrfFault) -> Problem {
    let (code, detail) = match fault {
        CsrfFault::OtherOrigin => (
            "csrf_rejected",
            "The page that sent this is not one of ours; the operator lists others in `http.allowed_origins`.",
        ),
        CsrfFault::NoOrigin => (
            "csrf_rejected",
            "A request with a cookie says where it comes from: send `Origin`, as browsers do, or use an access token.",
        ),
        CsrfFault::OtherSite => (
            "cookie_needs_same_site",
            "Browsers send our cookies only from pages of the same site. Log in with `mode` set to `token` here, or serve \
             the page from a name under the same domain.",
        ),
        CsrfFault::NoToken => {
            ("csrf_rejected", "Add the session's CSRF token as X-CSRF-Token; GET /v1/csrf has it.")
        }
        CsrfFault::OtherToken => (
            "csrf_rejected",
            "The CSRF token is of another session, such as one before a log-in in another tab. Ask GET /v1/session who is \
             logged in now; if that is the same user, repeat the request with its `csrf_token`.",
        ),
    };
    Problem::new(403, code, detail)
}

fn failed(fault: &Fault) -> Problem {
    match fault {
        Fault::NoRoom(NoRoom::StorageFull) => {
            Problem::new(503, "storage_full", "The server's disk is full; try again later.")
                .with_retry_after(Handle::RETRY_AFTER)
        }
        Fault::Unwritable(_) => Problem::new(
            503,
            "audit_unavailable",
            "Nothing was changed: the log of security events cannot be written. Check the disk of audit.dir.",
        )
        .with_retry_after(Handle::RETRY_AFTER),
        Fault::Unrecorded(_) => Problem::new(
            503,
            "not_recorded",
            "The change was made, but the log of security events could not be written. Read it back before you try again.",
        ),
        Fault::Shed(shed) => {
            Problem::new(503, "server_busy", "Too many passwords are being checked; try again shortly.")
                .with_retry_after(shed.retry_after)
        }
        Fault::NoRoom(NoRoom::Busy) => {
            Problem::new(503, "server_busy", "The server's disk is too slow at present; try again shortly.")
                .with_retry_after(Handle::RETRY_AFTER)
        }
        Fault::NoRoom(NoRoom::Stopped) | Fault::Ending | Fault::HungUp => {
            Problem::new(503, "server_busy", "The server is stopping; try again shortly.")
                .with_retry_after(Handle::RETRY_AFTER)
        }
        Fault::Hook => Problem::new(
            503,
            "hook_unavailable",
            "The operator's rules cannot be asked at present; try again shortly.",
        )
        .with_retry_after(Handle::RETRY_AFTER),
        Fault::NoRandomness(_) | Fault::Sign(_) | Fault::Backup(_) => {
            tracing::error!(error = %fault, "cannot serve a request");
            Problem::new(
                503,
                "server_busy",
                "The server cannot serve this request at present; try again shortly.",
            )
            .with_retry_after(Handle::RETRY_AFTER)
        }
    }
}
