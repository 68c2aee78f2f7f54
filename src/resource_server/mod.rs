#![doc = include_str!("resource_servers.md")]

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

/// How old the keys may become before they are fetched anew.
const KEYS_FOR: Duration = JWKS_KEPT;
/// Whatever keys tokens name, those of the server are fetched at most this often.
const KEYS_AGAIN: Duration = Duration::from_secs(10);
/// After a fetch that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Checks access tokens of one issuer without asking it for each.
#[derive(Debug)]
pub struct Verifier {
    issuer: String,
    audience: String,
    clock: Clock,
    state: RwLock<State>,
    /// A token named a key that is not known: the server may have a new one.
    keys_wanted: AtomicBool,
    wakes: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct State {
    keys: JwkSet,
    keys_at: Timestamp,
    /// Ended sessions and keys, until no token of them lives.
    ended: HashMap<String, u64>,
    next: u64,
    /// When the feed was last read.
    read_at: Timestamp,
    /// Tokens made before this are not to be believed: the feed had forgotten what was ended before it.
    unknown_before: u64,
}

impl Verifier {
    /// For tokens of `issuer` to `audience`. Knows no keys yet, and so believes nobody.
    pub fn new(issuer: &str, audience: &str, clock: Clock) -> Self {
        // Installed once for the process: jsonwebtoken keeps it so.
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

    /// Checks form, key, type, signature, issuer, audience and time, and that the session was not ended as far as the feed
    /// has told.
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
        // The key says how it signs, never the token.
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
        if is_ended(&claims.sid) || claims.iat < state.unknown_before {
            return Err(Rejected::Ended);
        }
        Ok(claims)
    }

    /// Whether the feed was read within `span`: what is ended meanwhile is known. Whoever guards something dear asks, and
    /// refuses, or asks the server, when not.
    pub fn is_fresh(&self, span: Duration) -> bool {
        self.clock.now().since(self.state.read().read_at) <= span
    }

    /// Takes over the keys: the body of `/.well-known/jwks.json`.
    pub fn set_keys(&self, body: &[u8]) -> Result<(), serde_json::Error> {
        let keys = serde_json::from_slice(body)?;
        let mut state = self.state.write();
        (state.keys, state.keys_at) = (keys, self.clock.now());
        Ok(())
    }

    /// Takes over a page of the feed: the body of `/v1/revocations`.
    pub fn apply(&self, body: &[u8]) -> Result<(), serde_json::Error> {
        let page: Page = serde_json::from_slice(body)?;
        let now = self.clock.now();
        let mut state = self.state.write();
        if !page.complete {
            state.unknown_before = now.as_secs();
        }
        for ending in page.items {
            if matches!(ending.ended, Ended::Kid(_)) {
                // Another one signs now, which may be new: fetched at once.
                state.keys_at = Timestamp::ZERO;
            }
            let (Ended::Sid(id) | Ended::Kid(id)) = ending.ended;
            state.ended.insert(id, ending.until);
        }
        state.ended.retain(|_, until| now.as_secs() <= *until);
        (state.next, state.read_at) = (page.next, now);
        Ok(())
    }

    fn want_keys(&self) {
        self.keys_wanted.store(true, Ordering::Relaxed);
        self.wakes.notify_one();
    }

    /// Ends when keys are wanted and may be fetched again, which is in `wait`.
    async fn keys_are_due(&self, wait: Duration) {
        while !self.keys_wanted.load(Ordering::Relaxed) {
            self.wakes.notified().await;
        }
        tokio::time::sleep(wait).await;
    }

    /// Keeps keys and feed up to date for ever. `fetch` gets a path of the server, such as `/v1/revocations?since=7&wait=15`,
    /// and gives the body of a successful answer; for the feed it sends the bearer token of an account with the role
    /// `introspect`. Run it beside the server, and drop it to end it.
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
            let (mut failed, mut keys_failed) = (false, false);
            if age >= KEYS_FOR || (age >= KEYS_AGAIN && self.keys_wanted.load(Ordering::Relaxed)) {
                self.keys_wanted.store(false, Ordering::Relaxed);
                match fetch(String::from("/.well-known/jwks.json")).await {
                    Ok(body) => keys_failed = self.set_keys(body.as_ref()).is_err(),
                    Err(error) => {
                        tracing::warn!(%error, "the keys could not be fetched");
                        keys_failed = true;
                    }
                }
                self.keys_wanted.fetch_or(keys_failed, Ordering::Relaxed);
            }
            // Keys that are wanted end the wait, and so does the feed; but whatever tokens name, not too often.
            let age = self.clock.now().since(self.state.read().keys_at);
            let wait = if keys_failed { KEYS_AGAIN } else { KEYS_AGAIN.saturating_sub(age) };
            let read = tokio::select! {
                read = fetch(format!("/v1/revocations?since={next}&wait=15")) => read,
                () = self.keys_are_due(wait) => continue,
            };
            match read {
                Ok(body) => failed |= self.apply(body.as_ref()).is_err(),
                Err(error) => {
                    tracing::warn!(%error, "the feed of revocations could not be read");
                    failed = true;
                }
            }
            if failed {
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// The claims of a request's bearer token, checked: an extractor for handlers of actix-web. The [`Verifier`] stands in the
/// application as `web::Data<Verifier>`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified(pub Claims);

impl Deref for Verified {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        &self.0
    }
}

/// No good bearer token: 401.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no valid access token: {0}")]
pub struct Unauthenticated(Rejected);

impl ResponseError for Unauthenticated {
    fn status_code(&self) -> actix_web::http::StatusCode {
        actix_web::http::StatusCode::UNAUTHORIZED
    }

    fn error_response(&self) -> HttpResponse {
        // Why is for the log, not for the client.
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
