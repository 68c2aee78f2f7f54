#![doc = include_str!("README.md")]

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError, web};
use jsonwebtoken::jwk::{AlgorithmParameters, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use parking_lot::RwLock;

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

/// Checks access tokens of one issuer offline.
#[derive(Debug)]
pub struct Verifier {
    issuer: String,
    audience: String,
    clock: Clock,
    state: RwLock<State>,
    /// Whether a token has named an unknown key: the issuer may have a new one.
    keys_wanted: AtomicBool,
    /// Notified when `keys_wanted` is set.
    wakes: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct State {
    keys: JwkSet,
    /// When the keys were fetched.
    keys_at: Timestamp,
    /// Ended sessions and keys, each with when its last token expires, in seconds since 1970.
    ended: HashMap<String, u64>,
    /// Accounts whose tokens issued before a second are refused, each with that second and when the last of them expires.
    tokens_from: HashMap<String, (u64, u64)>,
    /// Position in the feed.
    next: u64,
    /// When the feed was last read.
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
            state: RwLock::default(),
            keys_wanted: AtomicBool::new(false),
            wakes: tokio::sync::Notify::new(),
        }
    }

    /// Checks form, key, type, signature, issuer, audience and time, and that the feed has not reported the end of the
    /// session or the key.
    pub fn check(&self, token: &str) -> Result<Claims, Rejected> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Rejected::Form)?;
        let kid = header.kid.as_deref().ok_or(Rejected::Key)?;
        let state = self.state.read();
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
        let algorithm = match key.algorithm {
            AlgorithmParameters::EllipticCurve(_) => Algorithm::ES256,
            AlgorithmParameters::OctetKeyPair(_) => Algorithm::EdDSA,
            _ => return Err(Rejected::Key),
        };
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

    /// Says whether the feed was read within `span`, so that endings before that are known. A service that protects
    /// something valuable checks this; if it is false, it refuses the request or introspects the token at the issuer.
    pub fn is_fresh(&self, span: Duration) -> bool {
        self.clock.now().since(self.state.read().read_at) <= span
    }

    /// Replaces the keys by the body of `/.well-known/jwks.json`.
    pub fn set_keys(&self, body: &[u8]) -> Result<(), serde_json::Error> {
        let keys = serde_json::from_slice(body)?;
        let mut state = self.state.write();
        state.keys = keys;
        state.keys_at = self.clock.now();
        Ok(())
    }

    /// Applies a page of the feed, the body of `/v1/revocations`.
    pub fn apply(&self, body: &[u8]) -> Result<(), serde_json::Error> {
        let page: Page = serde_json::from_slice(body)?;
        let now = self.clock.now();
        let mut state = self.state.write();
        if !page.complete {
            state.unknown_before = now.as_secs();
        }
        for ending in page.items {
            if matches!(ending.ended, Ended::Kid(_)) {
                // Another key signs now. It may be new, so the keys are fetched at once.
                state.keys_at = Timestamp::ZERO;
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
    /// `/v1/revocations?since=7&wait=15`, and returns the body of a successful answer. For the feed it must send the
    /// bearer token of an account with the role `introspect`. Run it beside the server, and drop it to stop it.
    pub async fn follow<F, B, E>(&self, mut fetch: impl FnMut(String) -> F)
    where
        F: Future<Output = Result<B, E>>,
        B: AsRef<[u8]>,
        E: std::fmt::Display,
    {
        loop {
            let (age, next) = {
                let state = self.state.read();
                (self.clock.now().since(state.keys_at), state.next)
            };
            let mut keys_failed = false;
            if age >= KEYS_MAX_AGE || (age >= KEYS_MIN_AGE && self.keys_wanted.load(Ordering::Relaxed)) {
                self.keys_wanted.store(false, Ordering::Relaxed);
                match fetch(String::from("/.well-known/jwks.json")).await {
                    Ok(body) => keys_failed = self.set_keys(body.as_ref()).is_err(),
                    Err(error) => {
                        tracing::warn!(%error, "cannot fetch the signing keys of the issuer, retrying");
                        keys_failed = true;
                    }
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
            let has_failed = match read {
                Ok(body) => self.apply(body.as_ref()).is_err(),
                Err(error) => {
                    tracing::warn!(%error, "cannot read the revocation feed of the issuer, retrying");
                    true
                }
            };
            if has_failed {
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
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

/// The request has no valid bearer token. Answered with 401.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no valid access token: {0}")]
pub struct Unauthenticated(Rejected);

impl ResponseError for Unauthenticated {
    fn status_code(&self) -> actix_web::http::StatusCode {
        actix_web::http::StatusCode::UNAUTHORIZED
    }

    fn error_response(&self) -> HttpResponse {
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
