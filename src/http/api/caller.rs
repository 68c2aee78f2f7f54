//! The extractor of who calls an endpoint that services use too, and the check of an open stream.

use std::future::{Future, Ready, ready};
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, COOKIE};
use actix_web::{FromRequest, HttpRequest};
use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use crate::engine::Engine;
use crate::flow::authenticate::{bearer, cookie};
use crate::flow::client::Client;
use crate::flow::keys::api_key::{self, PREFIX};
use crate::flow::keys::caller::Caller;
use crate::flow::refusal::{FlowError, Refusal};
use crate::http::endpoint::Eng;
use crate::http::header::only_text;
use crate::http::rejection::Rejection;
use crate::http::request::{Credentials, SignedIn, SigningIn, client, credentials};
use crate::value::secret_text::SecretText;

/// The endpoints that take an API key by HTTP Basic.
const BASIC_AT: [&str; 2] = ["/v1/introspect", "/v1/revocations"];

/// The caller of a request.
pub(super) struct CalledBy(Caller);

impl Deref for CalledBy {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl FromRequest for CalledBy {
    type Error = Rejection;
    type Future = Calling;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Calling {
        let api_key = request.app_data::<Eng>().zip(api_key_of(request));
        let Some((engine, key)) = api_key else {
            let is_service = looks_like_service(request);
            return Calling::Person(SignedIn::from_request(request, payload), is_service);
        };
        match credentials(request, engine) {
            // Beside an API key by HTTP Basic there is neither.
            Ok(Credentials::Bearer(_) | Credentials::None) => {
                let client = client(request, engine);
                let engine = Eng::clone(engine);
                Calling::Service(Box::pin(async move {
                    Ok(Self(Caller::Service(api_key::authenticate(&engine, &key, Some(&client)).await?)))
                }))
            }
            Ok(Credentials::Cookie(_)) => Calling::Refused(ready(Err(Refusal::AmbiguousCredentials.into()))),
            Err(refusal) => Calling::Refused(ready(Err(refusal.into()))),
        }
    }
}

/// The future of the extractor. A person costs no more than by [`SignedIn`].
pub(super) enum Calling {
    /// A person, or a service whose key is none: then the second is true.
    Person(SigningIn, bool),
    /// A service.
    Service(Pin<Box<dyn Future<Output = Result<CalledBy, Rejection>>>>),
    /// The credentials have the wrong form.
    Refused(Ready<Result<CalledBy, Rejection>>),
}

impl Future for Calling {
    type Output = Result<CalledBy, Rejection>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Person(signing_in, is_service) => {
                let signed_in = Pin::new(signing_in).poll(context);
                signed_in.map(|signed_in| match signed_in {
                    Ok(signed_in) => Ok(CalledBy(Caller::Person(signed_in.into_identity()))),
                    Err(rejection) if *is_service && rejection.is_unauthenticated() => {
                        Err(Refusal::InvalidApiKey.into())
                    }
                    Err(rejection) => Err(rejection),
                })
            }
            Self::Service(answer) => answer.as_mut().poll(context),
            Self::Refused(answer) => Pin::new(answer).poll(context),
        }
    }
}

/// Returns the API key of a request: its bearer token, or its password of HTTP Basic, as clients of OAuth send their
/// secret (RFC 6749 §2.3.1). Any user name may stand beside it. The password of a site in front is no API key.
///
/// Security: a browser that was given the password once sends it along with what other sites make it ask. So it counts where
/// nothing changes.
fn api_key_of(request: &HttpRequest) -> Option<SecretText> {
    let (scheme, value) = only_text(request.headers(), AUTHORIZATION).ok().flatten()?.split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return value.starts_with(PREFIX).then(|| value.to_owned().into());
    }
    if !scheme.eq_ignore_ascii_case("basic") || !takes_basic(request) {
        return None;
    }
    let pair = Zeroizing::new(Base64::decode_vec(value).ok()?);
    let (_, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
    if !password.starts_with("pck") {
        return None;
    }
    // Some clients encode it as in a form, as that RFC says, also characters that need no escape.
    let encoded = Zeroizing::new(format!("key={password}"));
    let decoded: Vec<(String, SecretText)> = serde_urlencoded::from_str(&encoded).ok()?;
    let (_, key) = decoded.into_iter().next()?;
    key.starts_with(PREFIX).then_some(key)
}

/// Says whether an API key is taken by HTTP Basic where a request goes.
fn takes_basic(request: &HttpRequest) -> bool {
    request.match_name().is_some_and(|name| BASIC_AT.contains(&name))
}

/// Says whether a request has what a service sends, and no person: a password of HTTP Basic, or a bearer token that is no
/// JWT. A browser sends the password of a site in front along with all it asks, and would ask its user for another one.
fn looks_like_service(request: &HttpRequest) -> bool {
    let headers = request.headers();
    if headers.contains_key("sec-fetch-site") || headers.contains_key(COOKIE) {
        return false;
    }
    let header = only_text(headers, AUTHORIZATION).ok().flatten();
    let Some((scheme, value)) = header.and_then(|header| header.split_once(' ')) else { return false };
    scheme.eq_ignore_ascii_case("basic") && takes_basic(request)
        || scheme.eq_ignore_ascii_case("bearer") && !value.contains('.')
}

/// The credential of a request that stays open, so that it can be checked again and again.
pub(super) struct Standing {
    credential: Credential,
    client: Client,
}

enum Credential {
    OfService(SecretText),
    OfPerson(Credentials),
}

impl Standing {
    /// Returns the credential of `request`.
    pub(super) fn of(request: &HttpRequest, engine: &Engine, client: Client) -> Result<Self, Refusal> {
        let credential = match api_key_of(request) {
            Some(key) => Credential::OfService(key),
            None => Credential::OfPerson(credentials(request, engine)?),
        };
        Ok(Self { credential, client })
    }

    /// Returns who holds the credential now.
    ///
    /// Errors: it has ended.
    pub(super) async fn caller(&self, engine: &Engine) -> Result<Caller, FlowError> {
        let credentials = match &self.credential {
            Credential::OfService(key) => {
                return Ok(Caller::Service(api_key::authenticate(engine, key, None).await?));
            }
            Credential::OfPerson(credentials) => credentials,
        };
        match credentials {
            Credentials::Bearer(token) => Ok(Caller::Person(bearer(engine, token, None).await?)),
            Credentials::Cookie(token) => Ok(Caller::Person(cookie(engine, token, &self.client).await?)),
            Credentials::None => Err(Refusal::Unauthenticated.into()),
        }
    }
}
