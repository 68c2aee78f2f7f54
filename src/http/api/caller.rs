//! The extractor of who calls an endpoint that services use too, and the check of an open stream.

use std::future::{Future, Ready, ready};
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest};

use crate::engine::Engine;
use crate::flow::authenticate::{bearer, cookie};
use crate::flow::client::Client;
use crate::flow::keys::api_key::{self, PREFIX};
use crate::flow::keys::caller::Caller;
use crate::flow::refusal::{FlowError, Refusal};
use crate::http::endpoint::Eng;
use crate::http::rejection::Rejection;
use crate::http::request::{Credentials, SignedIn, SigningIn, client, credentials};

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
        let api_key = request.app_data::<Eng>().filter(|_| presents_api_key(request));
        let Some(engine) = api_key else { return Calling::Person(SignedIn::from_request(request, payload)) };
        match credentials(request, engine) {
            Ok(Credentials::Bearer(token)) => {
                let client = client(request, engine);
                let engine = Eng::clone(engine);
                Calling::Service(Box::pin(async move {
                    Ok(Self(Caller::Service(api_key::authenticate(&engine, &token, Some(&client)).await?)))
                }))
            }
            Ok(_) => Calling::Refused(ready(Err(Refusal::Unauthenticated.into()))),
            Err(refusal) => Calling::Refused(ready(Err(refusal.into()))),
        }
    }
}

/// The future of the extractor. A person costs no more than by [`SignedIn`].
pub(super) enum Calling {
    /// A person.
    Person(SigningIn),
    /// A service.
    Service(Pin<Box<dyn Future<Output = Result<CalledBy, Rejection>>>>),
    /// The credentials have the wrong form.
    Refused(Ready<Result<CalledBy, Rejection>>),
}

impl Future for Calling {
    type Output = Result<CalledBy, Rejection>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Person(signing_in) => Pin::new(signing_in).poll(context).map(|signed_in| {
                signed_in.map(|signed_in| CalledBy(Caller::Person(signed_in.into_identity())))
            }),
            Self::Service(answer) => answer.as_mut().poll(context),
            Self::Refused(answer) => Pin::new(answer).poll(context),
        }
    }
}

/// Says whether the bearer token of a request has the form of an API key. Allocates nothing.
fn presents_api_key(request: &HttpRequest) -> bool {
    let value = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.split_once(' ')).map(|(_, token)| token.trim_start());
    token.is_some_and(|token| token.starts_with(PREFIX))
}

/// The credential of a request that stays open, so that it can be checked again and again.
pub(super) struct Standing {
    credentials: Credentials,
    client: Client,
}

impl Standing {
    /// Returns the credential of `request`.
    pub(super) fn of(request: &HttpRequest, engine: &Engine, client: Client) -> Result<Self, Refusal> {
        Ok(Self { credentials: credentials(request, engine)?, client })
    }

    /// Returns who holds the credential now.
    ///
    /// Errors: it has ended.
    pub(super) async fn caller(&self, engine: &Engine) -> Result<Caller, FlowError> {
        match &self.credentials {
            Credentials::Bearer(token) if token.starts_with(PREFIX) => {
                Ok(Caller::Service(api_key::authenticate(engine, token, None).await?))
            }
            Credentials::Bearer(token) => Ok(Caller::Person(bearer(engine, token, None).await?)),
            Credentials::Cookie(token) => Ok(Caller::Person(cookie(engine, token, &self.client).await?)),
            Credentials::None => Err(Refusal::Unauthenticated.into()),
        }
    }
}
