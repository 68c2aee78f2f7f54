#![doc = include_str!("README.md")]

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError, web};
use base64ct::{Base64UrlUnpadded, Encoding};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;

use crate::system::clock::{Clock, Timestamp};
use crate::token::JWKS_KEPT;
use crate::token::feed::{Ended, LEEWAY, Page};
use crate::token::{Claims, Rejected};

/// Maximum age of the keys before they are fetched again.
const KEYS_MAX_AGE: Duration = JWKS_KEPT;
/// Minimum time between two fetches of the keys, whatever key ids tokens name.
const KEYS_MIN_AGE: Duration = Duration::from_secs(10);
/// Delay after a failed fetch.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The longest silence of the issuer after which tokens are still believed, unless the service sets another one.
const MAX_SILENCE: Duration = Duration::from_mins(1);

/// The most bytes of one answer of the issuer that a service keeps. A feed that is full has a third of them.
pub const ANSWER_BYTES_MAX: usize = 32 << 20;

/// The body of an answer, read in parts and never longer than [`ANSWER_BYTES_MAX`]: an issuer, or who sits on the way to
/// it, must not fill the memory with an answer that has no end.
#[derive(Debug, Default)]
pub struct AnswerBody(Vec<u8>);

impl AnswerBody {
    /// Appends the next part.
    ///
    /// Errors: the answer is too long. End the request then.
    pub fn push(&mut self, part: &[u8]) -> Result<(), AnswerTooLong> {
        if part.len() > ANSWER_BYTES_MAX - self.0.len() {
            return Err(AnswerTooLong);
        }
        self.0.extend_from_slice(part);
        Ok(())
    }
}

impl AsRef<[u8]> for AnswerBody {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// An answer of the issuer is longer than any answer of an issuer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the answer of the issuer does not end")]
pub struct AnswerTooLong;

/// Checks access tokens of one issuer offline.
#[derive(Debug)]
pub struct Verifier {
    issuer: String,
    audience: String,
    clock: Clock,
    max_silence: Duration,
    state: RwLock<State>,
    /// Whether a token has named an unknown key: the issuer may have a new one.
    keys_wanted: AtomicBool,
    /// Notified when `keys_wanted` is set.
    wakes: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct State {
    keys: JwkSet,
    /// When the keys were fetched last.
    keys_at: Timestamp,
    /// Whether the feed has named a key, so that the keys must be fetched again at once.
    keys_due: bool,
    /// Ended sessions and keys, each with when its last token expires, in seconds since 1970.
    ended: HashMap<String, u64>,
    /// Accounts whose tokens issued before a second are refused, each with that second and when the last of them expires.
    tokens_from: HashMap<String, (u64, u64)>,
    /// Position in the feed.
    next: u64,
    /// When the feed was last read. Zero before its first page.
    read_at: Timestamp,
    /// Tokens issued before this time are rejected, because the feed no longer held all endings before it.
    unknown_before: u64,
}

impl Verifier {
    /// Returns a verifier for tokens of `issuer` to `audience`. It has no keys yet and rejects every token.
    pub fn new(issuer: &str, audience: &str, clock: Clock) -> Self {
        // The provider is installed once per process; for a second verifier this fails and the first one stays.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        Self {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            clock,
            max_silence: MAX_SILENCE,
            state: RwLock::default(),
            keys_wanted: AtomicBool::new(false),
            wakes: tokio::sync::Notify::new(),
        }
    }

    /// Sets the longest silence of the issuer after which tokens are still believed. 60 seconds by default. It should be
    /// longer than a long poll, which takes up to 15 seconds.
    #[must_use]
    pub fn with_max_silence(self, max_silence: Duration) -> Self {
        Self { max_silence, ..self }
    }

    /// Checks form, key, type, signature, issuer, audience and time, and that the feed has not reported the end of the
    /// session or the key.
    ///
    /// Errors: [`Rejected::Silent`] before the first page of the feed was read, and once neither the feed nor the keys
    /// could be read for too long: a token whose session has ended would be believed.
    pub fn check(&self, token: &str) -> Result<Claims, Rejected> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Rejected::Form)?;
        let kid = header.kid.as_deref().ok_or(Rejected::Key)?;
        let state = self.state.read();
        if !self.is_heard(&state) {
            return Err(Rejected::Silent);
        }
        let now = self.clock.now().as_secs();
        let is_ended = |id: &str| state.ended.get(id).is_some_and(|until| now <= *until);
        let Some(key) = state.keys.find(kid) else {
            self.want_keys();
            return Err(Rejected::Key);
        };
        if is_ended(kid) {
            return Err(Rejected::Key);
        }
        // The algorithm is taken from the key, never from the token.
        let algorithm = algorithm_of(key).ok_or(Rejected::Key)?;
        if header.alg != algorithm || header.typ.as_deref() != Some("at+jwt") {
            return Err(Rejected::Key);
        }
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&[&self.audience]);
        validation.set_issuer(&[&self.issuer]);
        validation.validate_exp = false;
        let decoding = DecodingKey::from_jwk(key).map_err(|_| Rejected::Key)?;
        let decoded = jsonwebtoken::decode::<Claims>(token, &decoding, &validation);
        let claims = decoded.map_err(|_| Rejected::Signature)?.claims;
        let leeway = LEEWAY.as_secs();
        if now >= claims.exp.saturating_add(leeway) || claims.iat > now.saturating_add(leeway) {
            return Err(Rejected::Expired);
        }
        let is_too_old = |(from, until): &(u64, u64)| claims.iat < *from && now <= *until;
        if state.tokens_from.get(&claims.sub).is_some_and(is_too_old) {
            return Err(Rejected::Ended);
        }
        if is_ended(&claims.sid) || claims.iat < state.unknown_before {
            return Err(Rejected::Ended);
        }
        Ok(claims)
    }

    /// Checks a token like [`Verifier::check`], and reads its further claims as `T`: those that `token.claims` of the issuer
    /// names, such as `app_metadata`. `T` may leave out claims; one that a token need not have is an `Option`.
    ///
    /// Errors: as [`Verifier::check`]; [`Rejected::Form`] if the claims are no `T`.
    pub fn check_with<T: DeserializeOwned>(&self, token: &str) -> Result<(Claims, T), Rejected> {
        let claims = self.check(token)?;
        let part = token.split('.').nth(1).ok_or(Rejected::Form)?;
        let payload = Base64UrlUnpadded::decode_vec(part).map_err(|_| Rejected::Form)?;
        Ok((claims, serde_json::from_slice(&payload).map_err(|_| Rejected::Form)?))
    }

    /// Says whether the feed and the keys were read lately.
    fn is_heard(&self, state: &State) -> bool {
        let now = self.clock.now();
        let is_recent = |at: Timestamp, span: Duration| at > Timestamp::ZERO && now.since(at) <= span;
        is_recent(state.read_at, self.max_silence)
            && is_recent(state.keys_at, KEYS_MAX_AGE + KEYS_MIN_AGE + self.max_silence)
    }

    /// Says whether the feed was read within `span`, so that endings before that are known. A service that protects
    /// something more valuable than the rest checks this with a shorter span than that of
    /// [`Verifier::with_max_silence`].
    pub fn is_fresh(&self, span: Duration) -> bool {
        self.clock.now().since(self.state.read().read_at) <= span
    }

    /// Replaces the keys by the body of `/.well-known/jwks.json`.
    ///
    /// Errors: a body that is no key set, or a key in it that this version cannot use. The keys from before stay.
    pub fn set_keys(&self, body: &[u8]) -> Result<(), UnreadableKeys> {
        let keys: JwkSet =
            serde_json::from_slice(body).map_err(|error| UnreadableKeys::Json(error.to_string()))?;
        if keys.keys.is_empty() {
            return Err(UnreadableKeys::Empty);
        }
        for key in &keys.keys {
            let kid = key.common.key_id.as_deref().unwrap_or("without an id");
            let is_usable = key.common.key_id.is_some() && algorithm_of(key).is_some();
            if !is_usable || DecodingKey::from_jwk(key).is_err() {
                return Err(UnreadableKeys::Key(kid.to_owned()));
            }
        }
        let mut state = self.state.write();
        state.keys = keys;
        state.keys_at = self.clock.now();
        state.keys_due = false;
        Ok(())
    }

    /// Applies a page of the feed, the body of `/v1/revocations`.
    ///
    /// Errors: a body that is no page of the feed. Nothing is applied.
    pub fn apply(&self, body: &[u8]) -> Result<(), UnreadableFeed> {
        let page: Page = serde_json::from_slice(body).map_err(UnreadableFeed)?;
        let now = self.clock.now();
        let mut state = self.state.write();
        if !page.complete {
            state.unknown_before = now.as_secs();
        }
        for ending in page.items {
            if matches!(ending.ended, Ended::Kid(_)) {
                // Another key signs now. It may be new, so the keys are fetched at once.
                state.keys_due = true;
            }
            match ending.ended {
                Ended::Sid(id) | Ended::Kid(id) => {
                    state.ended.insert(id, ending.until);
                }
                Ended::TokensOf { sub, issued_before } => {
                    let held = state.tokens_from.entry(sub).or_default();
                    *held = (held.0.max(issued_before), held.1.max(ending.until));
                }
            }
        }
        state.tokens_from.retain(|_, (_, until)| now.as_secs() <= *until);
        state.ended.retain(|_, until| now.as_secs() <= *until);
        state.next = page.next;
        state.read_at = now;
        Ok(())
    }

    fn want_keys(&self) {
        self.keys_wanted.store(true, Ordering::Relaxed);
        self.wakes.notify_one();
    }

    /// Waits until keys are wanted, and then for `wait`, after which they may be fetched again.
    async fn keys_are_due(&self, wait: Duration) {
        while !self.keys_wanted.load(Ordering::Relaxed) {
            self.wakes.notified().await;
        }
        tokio::time::sleep(wait).await;
    }

    /// Keeps keys and feed up to date for ever. `fetch` takes a path of the issuer, such as
    /// `/v1/revocations?since=7&wait=15`, and returns status and body of the answer, whatever the status is. For the feed
    /// it must send an API key with the scope `revocations` as bearer token; an access token ends after minutes. Run it
    /// beside the server, and drop it to stop it. It must not read a body to its end that has none: collect the parts in an
    /// [`AnswerBody`].
    ///
    /// Every failure is logged as a warning and tried again: no answer, a status other than 200, a body that cannot be
    /// read. Until it is over, tokens are believed no longer than [`Verifier::with_max_silence`] says.
    pub async fn follow<F, B, E>(&self, mut fetch: impl FnMut(String) -> F)
    where
        F: Future<Output = Result<(u16, B), E>>,
        B: AsRef<[u8]>,
        E: std::fmt::Display,
    {
        loop {
            let (age, is_due, next) = {
                let state = self.state.read();
                (self.clock.now().since(state.keys_at), state.keys_due, state.next)
            };
            let mut keys_failed = false;
            let is_wanted = age >= KEYS_MIN_AGE && self.keys_wanted.load(Ordering::Relaxed);
            if age >= KEYS_MAX_AGE || is_due || is_wanted {
                self.keys_wanted.store(false, Ordering::Relaxed);
                let body = successful(fetch(String::from("/.well-known/jwks.json")).await);
                let set =
                    body.and_then(|body| self.set_keys(body.as_ref()).map_err(|error| error.to_string()));
                if let Err(error) = set {
                    tracing::warn!(%error, "cannot read the signing keys of the issuer, trying again");
                    keys_failed = true;
                }
                self.keys_wanted.fetch_or(keys_failed, Ordering::Relaxed);
            }
            // An unknown key id ends the long poll early, but not more often than every `KEYS_MIN_AGE`.
            let age = self.clock.now().since(self.state.read().keys_at);
            let wait = if keys_failed { KEYS_MIN_AGE } else { KEYS_MIN_AGE.saturating_sub(age) };
            let read = tokio::select! {
                read = fetch(format!("/v1/revocations?since={next}&wait=15")) => read,
                () = self.keys_are_due(wait) => continue,
            };
            let page = successful(read);
            let applied = page.and_then(|body| self.apply(body.as_ref()).map_err(|error| error.to_string()));
            if let Err(error) = applied {
                tracing::warn!(%error, "cannot read the revocation feed of the issuer, trying again");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// Returns the body of an answer with status 200.
///
/// Errors: no answer, or another status, in words.
fn successful<B, E: std::fmt::Display>(answer: Result<(u16, B), E>) -> Result<B, String> {
    match answer {
        Ok((200, body)) => Ok(body),
        Ok((401 | 403, _)) => Err(String::from(
            "the issuer refuses the API key: it must be alive and have the scope revocations",
        )),
        Ok((status, _)) => Err(format!("status {status}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns the algorithm that a key signs with; `None` if no key of the issuer is of that kind.
fn algorithm_of(key: &Jwk) -> Option<Algorithm> {
    match key.algorithm {
        AlgorithmParameters::EllipticCurve(_) => Some(Algorithm::ES256),
        AlgorithmParameters::OctetKeyPair(_) => Some(Algorithm::EdDSA),
        _ => None,
    }
}

/// A page of the feed cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UnreadableFeed(#[source] serde_json::Error);

/// The published keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableKeys {
    /// The body is no key set.
    #[error("the published keys are no key set: {0}")]
    Json(String),
    /// There is no key in it.
    #[error("the set of published keys is empty")]
    Empty,
    /// A key in it is of an unknown kind, or damaged.
    #[error("the published key {0} is of a kind that this version does not know, or damaged")]
    Key(String),
}

/// The claims of the request's bearer token after all checks. An extractor for handlers of actix-web, for which the
/// application data must hold a `web::Data<Verifier>`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified(pub Claims);

impl Deref for Verified {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        &self.0
    }
}

/// The request has no valid bearer token. Answered with 401; with 503 while tokens cannot be checked, because the issuer
/// is silent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no valid access token: {0}")]
pub struct Unauthenticated(Rejected);

impl ResponseError for Unauthenticated {
    fn status_code(&self) -> actix_web::http::StatusCode {
        if self.0 == Rejected::Silent {
            actix_web::http::StatusCode::SERVICE_UNAVAILABLE
        } else {
            actix_web::http::StatusCode::UNAUTHORIZED
        }
    }

    fn error_response(&self) -> HttpResponse {
        if self.0 == Rejected::Silent {
            return HttpResponse::ServiceUnavailable().insert_header(("retry-after", "1")).finish();
        }
        // The reason is for the log, not for the client.
        HttpResponse::Unauthorized().insert_header(("www-authenticate", "Bearer")).finish()
    }
}

impl FromRequest for Verified {
    type Error = Unauthenticated;
    type Future = Ready<Result<Self, Unauthenticated>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let verifier = request.app_data::<web::Data<Verifier>>();
        let claims =
            verifier.zip(token).ok_or(Rejected::Form).and_then(|(verifier, token)| verifier.check(token));
        ready(claims.map(Verified).map_err(Unauthenticated))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::access::Signer;
    use crate::token::signing_key::{Scheme, Signing, generate};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const ORIGIN: &str = "http://issuer.test";
    const EMPTY_PAGE: &[u8] = br#"{"complete":true,"next":7,"items":[]}"#;

    fn signer() -> Signer {
        let key = Signing { pkcs8: generate(Scheme::Es256).unwrap(), from: Timestamp::ZERO };
        Signer::new(&[key], ORIGIN, ORIGIN).unwrap()
    }

    fn token(signer: &Signer) -> String {
        let claims = serde_json::json!({
            "iss": ORIGIN, "sub": "0001", "aud": ORIGIN, "exp": NOW.as_secs() + 100_000, "iat": NOW.as_secs(),
            "jti": "j", "sid": "s", "roles": [], "auth_time": NOW.as_secs(), "amr": ["pwd"],
        });
        signer.sign(&serde_json::from_value(claims).unwrap(), NOW).unwrap()
    }

    fn keys(signer: &Signer) -> Vec<u8> {
        serde_json::to_vec(&signer.jwks(NOW)).unwrap()
    }

    #[test]
    fn nothing_is_believed_before_the_first_page_nor_after_a_long_silence() {
        let (clock, signer) = (Clock::manual(NOW), signer());
        let verifier = Verifier::new(ORIGIN, ORIGIN, clock.clone());
        let token = token(&signer);
        let check = || verifier.check(&token).map(drop);
        assert!(check().is_err());
        verifier.set_keys(&keys(&signer)).unwrap();
        assert_eq!(check(), Err(Rejected::Silent));
        verifier.apply(EMPTY_PAGE).unwrap();
        assert_eq!(check(), Ok(()));
        clock.advance(Duration::from_mins(1));
        assert_eq!(check(), Ok(()));
        clock.advance(Duration::from_secs(1));
        assert_eq!(check(), Err(Rejected::Silent));
        verifier.apply(EMPTY_PAGE).unwrap();
        assert_eq!(check(), Ok(()));
        // The feed is heard, but the keys are not: one of them may have left the set.
        for _ in 0..8 {
            clock.advance(Duration::from_mins(1));
            verifier.apply(EMPTY_PAGE).unwrap();
        }
        assert_eq!(check(), Err(Rejected::Silent));
        verifier.set_keys(&keys(&signer)).unwrap();
        assert_eq!(check(), Ok(()));
    }

    #[test]
    fn a_token_is_believed_for_half_a_minute_before_its_time_and_after_its_end() {
        let signer = signer();
        let token = token(&signer);
        for (at, is_believed) in [(-31, false), (-30, true), (100_029, true), (100_030, false)] {
            let now = Timestamp::from_secs(NOW.as_secs().checked_add_signed(at).unwrap());
            let verifier = Verifier::new(ORIGIN, ORIGIN, Clock::manual(now));
            verifier.set_keys(&keys(&signer)).unwrap();
            verifier.apply(EMPTY_PAGE).unwrap();
            let expected = if is_believed { Ok(()) } else { Err(Rejected::Expired) };
            assert_eq!(verifier.check(&token).map(drop), expected, "{at}");
        }
    }

    #[test]
    fn keys_that_cannot_be_used_are_an_error_and_replace_nothing() {
        let (clock, signer) = (Clock::manual(NOW), signer());
        let verifier = Verifier::new(ORIGIN, ORIGIN, clock);
        verifier.set_keys(&keys(&signer)).unwrap();
        verifier.apply(EMPTY_PAGE).unwrap();
        let mut unknown: serde_json::Value = serde_json::from_slice(&keys(&signer)).unwrap();
        unknown["keys"][0]["x"] = "no point".into();
        let symmetric = r#"{"keys":[{"kty":"oct","kid":"k","k":"AAAA"}]}"#;
        let without_id =
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        for body in ["", "{}", r#"{"keys":[]}"#, symmetric, without_id, &unknown.to_string()] {
            assert!(verifier.set_keys(body.as_bytes()).is_err(), "{body}");
        }
        assert!(verifier.check(&token(&signer)).is_ok());
    }

    #[test]
    fn a_status_other_than_200_is_no_page() {
        for status in [204, 302, 401, 403, 500] {
            assert!(successful::<_, String>(Ok((status, b"{}"))).is_err(), "{status}");
        }
        assert!(successful::<_, String>(Ok((200, b"{}"))).is_ok());
        assert_eq!(successful::<&[u8], _>(Err("no answer")), Err(String::from("no answer")));
    }
}
