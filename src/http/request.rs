//! Extractors: the client of a request, its credentials, and the identity that signed in with them.

use std::future::{Future, Ready, ready};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::dev::Payload;
use actix_web::http::header::{
    AUTHORIZATION, COOKIE, FORWARDED, HeaderMap, HeaderValue, ORIGIN, REFERER, USER_AGENT, X_FORWARDED_FOR,
};
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use serde::de::DeserializeOwned;

use super::client_address::client_address;
use super::cookie::find;
use super::csrf::{Source, check_source, check_token};
use super::endpoint::Eng;
use super::header::{Unreadable, lossy, only_text};
use super::problem::Problem;
use super::rejection::{Outside, Rejection};
use super::request_id::{RequestId, request_id};
use super::response::CookieName;
use super::routes::is_probe;
use crate::audit::event::Event;
use crate::config::{ForwardedHeader, Origin};
use crate::engine::Engine;
use crate::flow::authenticate::{Credential, Identity, bearer, cached_bearer, cached_cookie, cookie};
use crate::flow::client::Client;
use crate::flow::refusal::{CsrfFault, Refusal};
use crate::token::opaque::TokenKind;

/// Returns the engine that serves a request.
///
/// Errors: 500, for a handler of an embedding program that has not said which; the log says what to write.
pub(super) fn engine_of(request: &HttpRequest) -> Result<&Eng, Rejection> {
    request.app_data::<Eng>().ok_or_else(|| {
        tracing::error!(
            path = request.path(),
            "no engine for this handler: add `.configure(portcullis::actix::mount(\"/auth\", &engine))` to the App, or \
             `.app_data(portcullis::actix::data(&engine))` to the App or scope of the handler"
        );
        Problem::new(500, "no_engine", "No engine serves this endpoint.").into()
    })
}

/// Returns `rejection` as the answer to `request`, which writes itself unless our middleware is around the handler.
pub(super) fn answering(request: &HttpRequest, rejection: Rejection) -> Rejection {
    match outside(request) {
        Some(outside) => rejection.outside(outside),
        None => rejection,
    }
}

/// Returns what a rejection of `request` needs, if the handler is one of the embedding program.
fn outside(request: &HttpRequest) -> Option<Outside> {
    let is_ours = request.extensions().contains::<RequestId>();
    (!is_ours).then(|| Outside::of(request, has_bearer(request.headers())))
}

impl FromRequest for Client {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let client = engine_of(request).map(|engine| client(request, engine));
        ready(client.map_err(|rejection| answering(request, rejection)))
    }
}

/// Returns the client of a request: its address, user agent and request id.
pub(super) fn client(request: &HttpRequest, engine: &Engine) -> Client {
    let address = client_address_of(request, engine);
    Client::new(address, &lossy(request.headers(), USER_AGENT)).with_request_id(request_id(request))
}

/// Returns the address of the peer of a request: of the client, or of a proxy.
fn peer_of(request: &HttpRequest) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip()).to_canonical()
}

/// Returns the address of the client of a request.
pub(super) fn client_address_of(request: &HttpRequest, engine: &Engine) -> IpAddr {
    let peer = peer_of(request);
    let headers = request.headers();
    let config = &engine.services.config;
    if is_trusted(peer, engine) {
        let header = config.http.forwarded_header;
        let name = if header == ForwardedHeader::Forwarded { FORWARDED } else { X_FORWARDED_FOR };
        // What a proxy appended counts, whatever bytes the client wrote before it.
        let forwarded: Vec<_> =
            headers.get_all(name).map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        client_address(peer, header, forwarded.iter().map(AsRef::as_ref), &config.http.trusted_proxies)
    } else {
        peer
    }
}

/// Says whether `peer` is a proxy whose forwarding header is believed.
fn is_trusted(peer: IpAddr, engine: &Engine) -> bool {
    engine.services.config.http.trusted_proxies.iter().any(|network| network.contains(&peer))
}

/// Notes whether a request was forwarded by a peer that is no trusted proxy. Probes are asked past a proxy, so they say
/// nothing.
pub(super) fn watch_for_proxy(request: &HttpRequest, engine: &Engine) {
    if is_probe(request.match_info().unprocessed()) || !engine.services.is_watching_for_proxy() {
        return;
    }
    let peer = peer_of(request);
    if !is_trusted(peer, engine) {
        let headers = request.headers();
        let is_forwarded = [X_FORWARDED_FOR, FORWARDED].iter().any(|name| headers.contains_key(name));
        engine.services.watch_for_proxy(peer, is_forwarded);
    }
}

/// Reads the query of a request.
///
/// Errors: 422 with `detail`, which names the parameters.
pub(super) fn query<T: DeserializeOwned>(request: &HttpRequest, detail: &'static str) -> Result<T, Problem> {
    web::Query::<T>::from_query(request.query_string())
        .map(web::Query::into_inner)
        .map_err(|_| Problem::new(422, "unprocessable", detail))
}

/// Returns how many items a page has: `asked`, or `usual` if the query asks for no number.
///
/// Errors: 422, if it asks for none or for more than `max`.
pub(super) fn limit_of_page(asked: Option<usize>, usual: usize, max: usize) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(usual);
    if (1..=max).contains(&limit) {
        return Ok(limit);
    }
    let detail = format!("`limit` must be from 1 to {max}; follow `next_cursor` for more.");
    Err(Problem::new(422, "unprocessable", detail))
}

/// The credentials that a request presents.
pub(super) enum Credentials {
    /// An access token.
    Bearer(String),
    /// A session cookie.
    Cookie(String),
    /// Nothing.
    None,
}

impl Credentials {
    /// Returns the credential, if there is one.
    pub(super) fn presented(&self) -> Option<Credential<'_>> {
        match self {
            Self::Bearer(token) => Some(Credential::Bearer(token)),
            Self::Cookie(token) => Some(Credential::Cookie(token)),
            Self::None => None,
        }
    }
}

/// Returns the credentials of a request. An `Authorization` of another scheme is not ours: a proxy in front may ask for
/// one, and browsers then send it along with the cookie.
///
/// Errors: more than one credential.
pub(super) fn credentials(request: &HttpRequest, engine: &Engine) -> Result<Credentials, Refusal> {
    match (bearer_token(request.headers())?, cookie_of(request, engine, CookieName::Session)?) {
        (Some(_), Some(_)) => Err(Refusal::AmbiguousCredentials),
        (Some(token), None) => Ok(Credentials::Bearer(token.to_owned())),
        (None, Some(cookie)) => Ok(Credentials::Cookie(cookie.to_owned())),
        (None, None) => Ok(Credentials::None),
    }
}

/// Says whether a request presents a bearer token.
pub(super) fn has_bearer(headers: &HeaderMap) -> bool {
    matches!(bearer_token(headers), Ok(Some(_)))
}

/// Returns the bearer token of a request. One that is no text is returned as an empty one, which is never valid.
fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::AmbiguousCredentials);
    }
    let value = value.as_bytes();
    let at = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let Some((scheme, token)) = value.split_at_checked(at) else { return Ok(None) };
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    Ok(Some(std::str::from_utf8(token).unwrap_or_default().trim()))
}

/// Returns the value of a cookie of ours.
///
/// Errors: [`Refusal::AmbiguousCredentials`] if it is there twice, since one of them may be planted.
pub(super) fn cookie_of<'a>(
    request: &'a HttpRequest,
    engine: &Engine,
    name: CookieName,
) -> Result<Option<&'a str>, Refusal> {
    let lines = request.headers().get_all(COOKIE).map(HeaderValue::as_bytes);
    find(lines, name.text(engine)).map_err(|_| Refusal::AmbiguousCredentials)
}

/// Returns the tokens by which a request shows its device: that of the cookie and that of `X-Device-Token`.
///
/// Errors: [`Refusal::AmbiguousCredentials`] if one of them is there twice.
pub(super) fn device_tokens<'a>(
    request: &'a HttpRequest,
    engine: &Engine,
) -> Result<impl Iterator<Item = &'a str>, Refusal> {
    let cookie = cookie_of(request, engine, CookieName::Device)?;
    let header = match only_text(request.headers(), "x-device-token") {
        Ok(header) => header,
        Err(Unreadable::NotText) => None,
        Err(Unreadable::Repeated) => return Err(Refusal::AmbiguousCredentials),
    };
    Ok(cookie.into_iter().chain(header))
}

/// The identity that a request has signed in with: an extractor for handlers, also for those of an embedding program.
///
/// A request that changes something (any method but GET, HEAD, OPTIONS and TRACE) with a session cookie has passed the CSRF
/// checks: it comes from a page of this site, with the token of the session in `X-CSRF-Token`.
///
/// A request without a valid credential is refused with 401, one that fails the CSRF checks with 403, each with a problem
/// document and the headers of the API. `Option<SignedIn>` takes all of these for nobody; [`MaybeSignedIn`] takes only a request
/// without any credential for nobody.
///
/// [`MaybeSignedIn`]: crate::MaybeSignedIn
#[derive(Clone, Debug)]
pub struct SignedIn(Arc<Identity>);

impl SignedIn {
    /// Returns the identity.
    pub(super) fn into_identity(self) -> Arc<Identity> {
        self.0
    }
}

impl Deref for SignedIn {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.0
    }
}

impl FromRequest for SignedIn {
    type Error = Rejection;
    type Future = SigningIn;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> SigningIn {
        let signing_in = engine_of(request).and_then(|engine| SigningIn::begin(request, engine));
        let signing_in = signing_in.unwrap_or_else(|rejection| SigningIn::Known(ready(Err(rejection))));
        match outside(request) {
            None => signing_in,
            Some(outside) => SigningIn::Asking(Box::pin(async move {
                signing_in.await.map_err(|rejection| rejection.outside(outside))
            })),
        }
    }
}

/// The future of the [`SignedIn`] extractor. Only a credential that the cache does not know costs an allocation.
#[doc(hidden)]
pub enum SigningIn {
    /// The answer is known.
    Known(Ready<Result<SignedIn, Rejection>>),
    /// The actors are being asked.
    Asking(Pin<Box<dyn Future<Output = Result<SignedIn, Rejection>>>>),
}

impl Future for SigningIn {
    type Output = Result<SignedIn, Rejection>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Known(answer) => Pin::new(answer).poll(context),
            Self::Asking(answer) => answer.as_mut().poll(context),
        }
    }
}

impl SigningIn {
    /// Checks what needs no actor: the form of the credentials, the CSRF source, the credential cache.
    fn begin(request: &HttpRequest, engine: &Eng) -> Result<Self, Rejection> {
        match credentials(request, engine)? {
            Credentials::Bearer(token) => {
                if let Some(identity) = cached_bearer(engine, &token) {
                    return Ok(Self::known(identity));
                }
                let client = client(request, engine);
                let engine = Eng::clone(engine);
                Ok(Self::Asking(Box::pin(async move {
                    Ok(SignedIn(bearer(&engine, &token, Some(&client)).await?))
                })))
            }
            Credentials::Cookie(token) if request.method().is_safe() => {
                let client = client(request, engine);
                if let Some(identity) = cached_cookie(engine, &token, &client) {
                    return Ok(Self::known(identity));
                }
                let engine = Eng::clone(engine);
                Ok(Self::Asking(Box::pin(
                    async move { Ok(SignedIn(cookie(&engine, &token, &client).await?)) },
                )))
            }
            Credentials::Cookie(token) => {
                csrf_source(request, engine)?;
                let client = client(request, engine);
                let request = request.clone();
                let engine = Eng::clone(engine);
                Ok(Self::Asking(Box::pin(async move {
                    let identity = cookie(&engine, &token, &client).await?;
                    csrf_token(&request, &engine, &identity)?;
                    Ok(SignedIn(identity))
                })))
            }
            Credentials::None => Err(Refusal::Unauthenticated.into()),
        }
    }

    fn known(identity: Arc<Identity>) -> Self {
        Self::Known(ready(Ok(SignedIn(identity))))
    }
}

/// Returns the identity that a request has signed in with; `None` if its credential is not accepted, for an endpoint that
/// may know that it was accepted a short while ago. A cookie comes with the CSRF token of its session in both cases.
pub(super) async fn signed_in_lately(
    request: &HttpRequest,
    engine: &Engine,
    credential: Credential<'_>,
) -> Result<Option<SignedIn>, Rejection> {
    let rejection = match SignedIn::extract(request).await {
        Ok(identity) => return Ok(Some(identity)),
        Err(rejection) if rejection.is_unauthenticated() => rejection,
        Err(rejection) => return Err(rejection),
    };
    if let Credential::Cookie(cookie) = credential {
        let read = engine.services.edge.read(TokenKind::Session, cookie);
        if !read.is_ok_and(|read| has_csrf_token(request, engine, read.id)) {
            return Err(rejection);
        }
    }
    Ok(None)
}

/// Checks that a request comes from a page of this site.
pub(super) fn csrf_source(request: &HttpRequest, engine: &Engine) -> Result<(), Refusal> {
    let headers = request.headers();
    // A header that cannot be read refuses the request; it must not pass for one that the browser did not send.
    let source = || {
        Ok::<_, Unreadable>(Source {
            fetch_site: only_text(headers, "sec-fetch-site")?,
            fetch_mode: only_text(headers, "sec-fetch-mode")?,
            origin: only_text(headers, ORIGIN)?,
            referer: only_text(headers, REFERER)?,
        })
    };
    let config = &engine.services.config;
    let own = config.http.public_origin.origin().as_str();
    let allowed = config.http.allowed_origins.iter().map(Origin::as_str);
    let source = source().map_err(|_| CsrfFault::OtherOrigin);
    let checked = source.and_then(|source| check_source(source, own, allowed));
    checked.map_err(|fault| rejected(request, engine, fault))
}

/// Checks that a request carries the CSRF token of its session.
fn csrf_token(request: &HttpRequest, engine: &Engine, identity: &Identity) -> Result<(), Refusal> {
    if has_csrf_token(request, engine, identity.sid()) {
        return Ok(());
    }
    let presented = only_text(request.headers(), "x-csrf-token").unwrap_or_default();
    let fault = if presented.is_some() { CsrfFault::OtherToken } else { CsrfFault::NoToken };
    Err(rejected(request, engine, fault))
}

/// Says whether a request carries the CSRF token of the session `sid`.
fn has_csrf_token(request: &HttpRequest, engine: &Engine, sid: [u8; 16]) -> bool {
    let presented = only_text(request.headers(), "x-csrf-token").unwrap_or_default();
    engine.services.keys.csrf.find_map(|key| check_token(key, sid, presented).ok()).is_some()
}

fn rejected(request: &HttpRequest, engine: &Engine, fault: CsrfFault) -> Refusal {
    let client = client(request, engine);
    let note = client.note(Event::CsrfRejected).with_reason(&fault.to_string());
    engine.reject(&client, note, Refusal::CsrfRejected(fault))
}
