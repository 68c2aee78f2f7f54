//! Extractors for handlers of the embedding program, beside [`SignedIn`]: each lets a request pass or answers it as the API would.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use crate::flow::authenticate::Identity;
use crate::http::problem::Problem;
use crate::http::rejection::Rejection;
use crate::http::request::{Credentials, SignedIn, answering, credentials, engine_of};

type Extracting<T> = Pin<Box<dyn Future<Output = Result<T, Rejection>>>>;

/// Lets a request in whose identity passes `check`, with all checks of [`SignedIn`].
fn signed_in<T: 'static>(
    request: &HttpRequest,
    payload: &mut Payload,
    check: impl FnOnce(&HttpRequest, SignedIn) -> Result<T, Rejection> + 'static,
) -> Extracting<T> {
    let signing_in = SignedIn::from_request(request, payload);
    let request = request.clone();
    Box::pin(async move {
        let signed_in = signing_in.await?;
        check(&request, signed_in).map_err(|rejection| answering(&request, rejection))
    })
}

/// Who has signed in, or nobody: an extractor for pages that look different for their user.
///
/// A request without a credential is nobody's. One with a credential that is not valid, or that fails the CSRF checks, is refused
/// as by [`SignedIn`], so that the client learns that it must refresh its token. `Option<SignedIn>` takes both for nobody.
#[derive(Clone, Debug)]
pub struct MaybeSignedIn(Option<SignedIn>);

impl MaybeSignedIn {
    /// Returns the identity, if somebody has signed in.
    pub fn identity(&self) -> Option<&Identity> {
        self.0.as_deref()
    }
}

impl FromRequest for MaybeSignedIn {
    type Error = Rejection;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_nobody =
            engine_of(request).map(|engine| matches!(credentials(request, engine), Ok(Credentials::None)));
        if matches!(is_nobody, Ok(true)) {
            return Box::pin(std::future::ready(Ok(Self(None))));
        }
        signed_in(request, payload, |_, signed_in| Ok(Self(Some(signed_in))))
    }
}

/// A role, as a type.
///
/// ```
/// use portcullis::Role;
///
/// struct Editor;
///
/// impl Role for Editor {
///     const ROLE: &'static str = "editor";
/// }
/// ```
pub trait Role: 'static {
    /// The name of the role.
    const ROLE: &'static str;
}

/// Who has signed in and has the role `R`: an extractor. Everybody else is refused with 403 `insufficient_role`, and who has not
/// signed in as by [`SignedIn`].
pub struct HasRole<R: Role>(SignedIn, PhantomData<fn() -> R>);

impl<R: Role> Deref for HasRole<R> {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.0
    }
}

impl<R: Role> fmt::Debug for HasRole<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HasRole").field("role", &R::ROLE).field("identity", &*self.0).finish()
    }
}

impl<R: Role> FromRequest for HasRole<R> {
    type Error = Rejection;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        signed_in(request, payload, |_, signed_in| {
            signed_in.check_role(&[R::ROLE])?;
            Ok(Self(signed_in, PhantomData))
        })
    }
}

/// Who has signed in and proved who they are within the last `SECS` seconds: an extractor for acts that a stolen session must not
/// be able to do. Everybody else is refused with 401 `step_up_required`, which says how old the proof may be: the client asks for
/// the password by `/v1/reauthenticate` and repeats the request. Who has no password, since the program opens their sessions, is
/// recognised by it again: [`issue`](crate::flow::issue) opens a session that is recent.
#[derive(Clone, Debug)]
pub struct Recent<const SECS: u64>(SignedIn);

impl<const SECS: u64> Deref for Recent<SECS> {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.0
    }
}

impl<const SECS: u64> FromRequest for Recent<SECS> {
    type Error = Rejection;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        signed_in(request, payload, |request, signed_in| {
            let age = engine_of(request)?.clock.now().since(signed_in.proved());
            if age < Duration::from_secs(SECS) {
                Ok(Self(signed_in))
            } else {
                Err(Problem::step_up(Duration::from_secs(SECS)).into())
            }
        })
    }
}
