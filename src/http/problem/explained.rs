//! The page of every problem: what its code means, and what to do.

/// Whether a request may be sent again after a problem.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::http) enum Retry {
    /// The same request would be refused for ever.
    Never,
    /// Once the request is another one.
    Changed,
    /// With another credential, or a fresh one.
    Credential,
    /// After the time of `Retry-After`.
    Wait,
    /// At any time.
    Again,
}

impl Retry {
    /// Returns the word for programs.
    pub(in crate::http) const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Changed => "changed",
            Self::Credential => "with_another_credential",
            Self::Wait => "after_retry_after",
            Self::Again => "again",
        }
    }

    /// Returns the sentence for people.
    pub(in crate::http) const fn sentence(self) -> &'static str {
        match self {
            Self::Never => "The same request would be refused again.",
            Self::Changed => "Send another request; the same one would be refused again.",
            Self::Credential => "Repeat the request with another credential.",
            Self::Wait => "Repeat the request after as many seconds as the header Retry-After says.",
            Self::Again => "Repeat the request.",
        }
    }
}

/// What is said of a code.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Explained {
    pub(in crate::http) code: &'static str,
    pub(in crate::http) status: u16,
    /// What has happened.
    pub(in crate::http) meaning: &'static str,
    /// What a client does now.
    pub(in crate::http) advice: &'static str,
    pub(in crate::http) retry: Retry,
}

/// Returns what is said of `code`.
pub(in crate::http) fn explained(code: &str) -> Option<&'static Explained> {
    EXPLAINED.binary_search_by_key(&code, |explained| explained.code).ok().and_then(|at| EXPLAINED.get(at))
}

/// Returns the title of the code, as it is in each problem.
pub(in crate::http) fn title(code: &str) -> String {
    let mut title = code.replace('_', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

const fn page(
    code: &'static str,
    status: u16,
    retry: Retry,
    meaning: &'static str,
    advice: &'static str,
) -> Explained {
    Explained { code, status, meaning, advice, retry }
}

/// Every code that the server answers with, sorted.
pub(in crate::http) const EXPLAINED: &[Explained] = &[
    page(
        "account_deleted",
        410,
        Retry::Never,
        "The account of this link was deleted after its address was changed.",
        "If its owner did not want that, they write to the operator. The address is free for a new account.",
    ),
    page(
        "account_disabled",
        403,
        Retry::Never,
        "An administrator has disabled the account. This is said to whoever knows its password only.",
        "Its owner asks the operator.",
    ),
    page(
        "ambiguous_credentials",
        400,
        Retry::Changed,
        "The request carries more than one credential, or one credential twice.",
        "Send one only: an access token, the session cookie, or (to log out) a refresh token.",
    ),
    page(
        "audit_unavailable",
        503,
        Retry::Wait,
        "The log of security events cannot be written, and what administrators do must be recorded. Nothing was changed.",
        "The operator checks the disk of audit.dir.",
    ),
    page(
        "cookie_needs_same_site",
        403,
        Retry::Never,
        "The page is of an allowed origin, but of another site, where browsers send no cookie of this server.",
        "Log in with mode token there, or serve the page from a name under the same domain.",
    ),
    page(
        "csrf_rejected",
        403,
        Retry::Changed,
        "The request came with a cookie, or asked for one, and does not show that a page of this site sent it: its origin is \
         another one or missing, or its CSRF token is missing or of another session.",
        "In a page, ask GET /v1/session who is logged in. If that is the same user, repeat the request with its csrf_token in \
         the header X-CSRF-Token. A program without pages uses an access token instead.",
    ),
    page(
        "email_changed_lately",
        409,
        Retry::Never,
        "The e-mail address was changed in the last three days, and the old address can still undo that.",
        "Try again when the three days are over.",
    ),
    page(
        "email_not_verified",
        403,
        Retry::Never,
        "Nobody has proved the e-mail address of the account. This is said to whoever knows its password only.",
        "Its owner follows the link in the mail; POST /v1/email/verify/resend sends it again.",
    ),
    page(
        "email_taken",
        409,
        Retry::Changed,
        "An account has this e-mail address, or had it until a change that can still be undone.",
        "Use another address, or log in to that account.",
    ),
    page(
        "external_id_taken",
        409,
        Retry::Changed,
        "Another account has this external id.",
        "Look for it with `GET /v1/admin/users?external_id=`, or give another id.",
    ),
    page(
        "hook_unavailable",
        503,
        Retry::Wait,
        "A program of the operator that judges sign-ups or log-ins gave no answer. At a refresh the refresh token was not spent. \
         A new password or address stands, and every session of before has ended.",
        "Wait, then send it again. The operator looks at `portcullis_hook_failed_total` and the log.",
    ),
    page(
        "import_running",
        409,
        Retry::Again,
        "Another import of accounts is at work; one is at a time.",
        "Wait until it has ended, and send this one then.",
    ),
    page(
        "insufficient_role",
        403,
        Retry::Credential,
        "The account lacks the role that the endpoint requires.",
        "Use an account with that role; administrators give roles.",
    ),
    page(
        "insufficient_scope",
        403,
        Retry::Credential,
        "The API key lacks the scope that the endpoint requires, or the endpoint takes no API key.",
        "Make an API key with that scope.",
    ),
    page(
        "internal_error",
        500,
        Retry::Again,
        "The server has failed to read the request. This is a fault of the server.",
        "If it happens again, tell the operator the id of the request.",
    ),
    page(
        "invalid_credentials",
        401,
        Retry::Credential,
        "The e-mail address or the password is wrong, or the sign-up is not confirmed yet. Which of these is not said. If the \
         link of the sign-up asked for another password, only that one counts.",
        "Ask the user again, or offer a link for a new password (POST /v1/password/forgot).",
    ),
    page(
        "invalid_or_expired_token",
        400,
        Retry::Never,
        "The link is wrong, used, replaced or out of time.",
        "Offer the user a new one.",
    ),
    page(
        "invalid_refresh_token",
        401,
        Retry::Never,
        "The refresh token is none of this server, or its session is long gone. At a log-out: the text is no refresh token, and \
         nothing has ended.",
        "Forget the tokens, and have the user log in.",
    ),
    page(
        "last_administrator",
        409,
        Retry::Never,
        "No other administrator could log in after this.",
        "Have another administrator log in first, or ask the operator.",
    ),
    page(
        "login_refused",
        403,
        Retry::Never,
        "The rules of the operator do not let this account in at present; `detail` says why. At a refresh the session goes on, and the \
         refresh token was not spent. A new password or address stands, and every session of before has ended.",
        "Show `detail`. Try again later, or ask the operator.",
    ),
    page(
        "mail_quota",
        409,
        Retry::Never,
        "The account was sent as many links within the hour as it may be.",
        "Wait for an hour, or let its owner use one of those links.",
    ),
    page("malformed_json", 400, Retry::Changed, "The body is not JSON in UTF-8.", "Send one JSON object."),
    page(
        "malformed_request",
        400,
        Retry::Changed,
        "This is no request of HTTP/1.1: its head, its Host or its body cannot be read.",
        "See RFC 9112. A proxy may speak HTTP/1.0: for nginx set proxy_http_version 1.1.",
    ),
    page(
        "method_not_allowed",
        405,
        Retry::Never,
        "The endpoint has no such method.",
        "The header Allow names those that it has.",
    ),
    page(
        "no_engine",
        500,
        Retry::Never,
        "A handler of the program that this server is a part of asks who has signed in, and knows of no server to ask.",
        "The author of the program mounts the interface, or gives the handler the data of an engine; the log says how.",
    ),
    page(
        "not_found",
        404,
        Retry::Never,
        "There is no such endpoint, account, session, key or page.",
        "Check the address.",
    ),
    page(
        "not_recorded",
        503,
        Retry::Never,
        "The change was made, but the log of security events could not be written.",
        "Read back what was changed before you try again; the operator checks the disk of audit.dir.",
    ),
    page("payload_too_large", 413, Retry::Changed, "The body has more than 16,384 bytes.", "Send less."),
    page(
        "proof_needed",
        401,
        Retry::Credential,
        "The link alone is not enough for this.",
        "Send it with a credential of the account, or with its password beside it.",
    ),
    page(
        "refresh_token_reused",
        401,
        Retry::Never,
        "The refresh token was used before and came again after its grace (refresh.grace_secs): the answer to a refresh was lost \
         and the refresh was repeated too late, a client has stored its tokens wrongly, or the token was copied. Its whole \
         session has ended, and its owner is told by mail.",
        "Forget the tokens, and have the user log in. If it happens often, repeat a refresh without an answer within its grace, \
         send one at a time, and store the new tokens before you use them. A user who knows of no lost connection sets a new \
         password.",
    ),
    page(
        "request_header_fields_too_large",
        431,
        Retry::Changed,
        "The head of the request has more than 16 KiB or 96 headers.",
        "Send fewer or shorter headers.",
    ),
    page(
        "request_timeout",
        408,
        Retry::Again,
        "The request did not arrive within ten seconds, or within four while the server stops.",
        "Send it again.",
    ),
    page(
        "server_busy",
        503,
        Retry::Wait,
        "The server has too much to do, or is stopping. Nothing was decided about the request, and no attempt was counted.",
        "Wait, then send it again.",
    ),
    page(
        "session_expired",
        401,
        Retry::Credential,
        "The session has ended: out of time, by a log-out, by a new password, or since another request has replaced it.",
        "With a cookie, ask GET /v1/session?optional first: another request may have set a new one. Else have the user log in.",
    ),
    page("signup_disabled", 403, Retry::Never, "Nobody can sign up here.", "The operator makes accounts."),
    page(
        "signup_refused",
        403,
        Retry::Changed,
        "The rules of the operator do not let this sign-up in: for its domain, for want of an invitation, or for another reason, which \
         `detail` says. At a link that proves an address: the rules are others than when the sign-up began. Whether the address has an account plays no part.",
        "Show `detail`. Sign up with another address, or ask the operator for an invitation.",
    ),
    page(
        "step_up_required",
        401,
        Retry::Credential,
        "This needs a proof of the last 15 minutes of who the user is.",
        "Ask for the password, send it to POST /v1/reauthenticate, and repeat the request with the new credential.",
    ),
    page(
        "storage_full",
        503,
        Retry::Wait,
        "The disk of the server is full. Nothing was changed.",
        "The operator makes room.",
    ),
    page(
        "too_many_api_keys",
        409,
        Retry::Never,
        "There are 1,000 API keys, as many as there may be.",
        "Delete one.",
    ),
    page(
        "too_many_at_once",
        429,
        Retry::Wait,
        "Too many passwords are being checked for one account at once.",
        "Wait for a second, then try again.",
    ),
    page(
        "too_many_attempts",
        429,
        Retry::Wait,
        "Too many wrong passwords were tried for this name. It is locked for unknown devices, whether or not it has an \
         account; the right password is refused as well.",
        "Wait, use a device that has logged in before, follow the link in the mail about it, or set a new password by mail.",
    ),
    page(
        "too_many_invitations",
        409,
        Retry::Never,
        "There are 10,000 open invitations, as many as there may be.",
        "Withdraw those that nobody will accept.",
    ),
    page(
        "too_many_keys",
        409,
        Retry::Never,
        "There are 16 keys of this kind, as many as there may be.",
        "Wait until the oldest one is removed, or retire one.",
    ),
    page(
        "too_many_requests",
        429,
        Retry::Wait,
        "The network of the client, its device, or its account has sent more requests of this kind than it may.",
        "Wait. RateLimit-Policy and RateLimit say how many there may be.",
    ),
    page(
        "too_many_streams",
        429,
        Retry::Wait,
        "The API key or account has as many streams of the feed open as one may have.",
        "Close some, or poll with wait instead.",
    ),
    page(
        "unauthenticated",
        401,
        Retry::Credential,
        "The request has no credential, or one that is no longer valid. Of a service: its API key is unknown, expired or \
         deleted.",
        "With an access token: refresh once, then have the user log in. With a cookie: have the user log in. With an API key: \
         ask an administrator for a new one.",
    ),
    page("unexpected_body", 400, Retry::Changed, "A GET or HEAD request has a body.", "Send it without one."),
    page(
        "unprocessable",
        422,
        Retry::Changed,
        "A member of the body or a parameter of the query is not acceptable.",
        "errors names each fault: the member by its JSON pointer, a code for programs, a message for people.",
    ),
    page(
        "unsupported_media_type",
        415,
        Retry::Changed,
        "The body is not declared to be plain JSON.",
        "Send it with Content-Type: application/json, and without Content-Encoding.",
    ),
    page(
        "weak_password",
        422,
        Retry::Changed,
        "The new password is too short or too easy to guess.",
        "Show the user reasons and errors, and ask for another one. A link that was sent with it stays good.",
    ),
    page(
        "wrong_audience",
        403,
        Retry::Credential,
        "The access token is not one for the endpoints of administrators.",
        "Log in with audience set to admin, or with a session cookie.",
    ),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Returns the code of the files below `path` that answer with problems, without their tests. The table of routes names
    /// codes as well, but answers with none.
    fn answering(path: &Path) -> String {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
            return entries.map(|entry| answering(&entry)).collect();
        }
        if path.ends_with("explained.rs") || path.extension().is_none_or(|extension| extension != "rs") {
            return String::new();
        }
        let text = std::fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let code =
            if path.ends_with("routes/mod.rs") { code.split("fn serve<").nth(1).unwrap() } else { code };
        // What an operation refuses with is said in its row of the table of routes.
        let rows =
            code.split(".refuses(&[").map(|part| part.split_once("])").map_or(part, |(_, after)| after));
        code.split(".refuses(&[").take(1).chain(rows.skip(1)).collect()
    }

    #[test]
    fn every_code_that_is_answered_has_a_page_and_every_page_is_of_such_a_code() {
        assert!(EXPLAINED.is_sorted_by_key(|explained| explained.code));
        let code = answering(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http"));
        let mut calls = 0;
        for call in code.split("Problem::new(").skip(1) {
            let mut arguments = call.splitn(3, ',').map(str::trim);
            let (status, code) = (arguments.next().unwrap(), arguments.next().unwrap_or_default());
            if let (Ok(status), true) = (status.parse::<u16>(), code.starts_with('"')) {
                let code = code.trim_matches('"');
                let page = explained(code).unwrap_or_else(|| panic!("{code} has no page"));
                assert_eq!(page.status, status, "{code}");
                calls += 1;
            }
        }
        assert!(calls > 40, "{calls}");
        for explained in EXPLAINED {
            let named = format!("\"{}\"", explained.code);
            assert!(code.contains(&named), "{} is answered nowhere", explained.code);
            assert!(explained.meaning.ends_with('.') && explained.advice.ends_with('.'), "{named}");
        }
    }
}
