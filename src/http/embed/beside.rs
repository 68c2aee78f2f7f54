//! Routes of the embedding program beside the API, on a listener of ours.
//!
//! The guard of a connection must know when a request is served, or it would take a long answer for a connection without a
//! request, and the second large body for a head without an end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::HttpMessage;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::web::{self, Bytes};

use super::mount::{is_page, mount, mount_pages, normalised};
use crate::engine::Engine;
use crate::http::connection::{Connection, Serving};

/// Adds routes to an application.
type Configure = Arc<dyn Fn(&mut web::ServiceConfig) + Send + Sync>;

/// The API, and the routes that the embedding program has beside it. Cheap to clone.
#[derive(Clone, Default)]
pub struct BesideRoutes {
    prefix: Arc<str>,
    own: Vec<Configure>,
}

impl BesideRoutes {
    /// Puts the API below `prefix`.
    pub fn set_prefix(&mut self, prefix: &str) {
        self.prefix = normalised(prefix).into();
    }

    /// Adds routes of the program.
    pub fn add(&mut self, own: impl Fn(&mut web::ServiceConfig) + Send + Sync + 'static) {
        self.own.push(Arc::new(own));
    }

    /// Says whether there is nothing but the API at the root.
    pub fn is_plain(&self) -> bool {
        self.prefix.is_empty() && self.own.is_empty()
    }

    /// Says whether `path` is one of the API, which notes by itself what its connection must know. At the root this is not known.
    pub(in crate::http) fn is_of_api(&self, path: &str) -> bool {
        let rest = path.strip_prefix(&*self.prefix);
        let is_below = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        // A page that mailed links lead to may be the program's.
        !self.prefix.is_empty() && is_below && !is_page(&self.prefix, path)
    }

    /// Adds everything to an application. The API is found first, unless it is at the root, where it would hide the rest.
    pub fn configure(&self, config: &mut web::ServiceConfig, engine: &Arc<Engine>) {
        config.app_data(web::Data::new(self.clone()));
        if !self.prefix.is_empty() {
            mount(&self.prefix, engine)(config);
        }
        for own in &self.own {
            own(config);
        }
        if self.prefix.is_empty() {
            mount("", engine)(config);
        }
        mount_pages(&self.prefix, engine, config);
    }
}

/// Lets the connection of a request know that it is being served, until the guard is dropped, and how its body arrives.
pub(in crate::http) fn note_serving(mut request: ServiceRequest) -> (ServiceRequest, Option<Serving>) {
    let Some(connection) = request.conn_data::<Arc<Connection>>().cloned() else { return (request, None) };
    let serving = Serving::on(&connection);
    match request.take_payload() {
        Payload::None => serving.body_is_read(),
        payload => {
            let watched = WatchedBody { payload, serving: Serving::on(&connection) };
            request.set_payload(Payload::Stream { payload: Box::pin(watched) });
        }
    }
    (request, Some(serving))
}

/// A body whose progress its connection learns of.
struct WatchedBody {
    payload: Payload,
    serving: Serving,
}

impl futures_core::Stream for WatchedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.payload).poll_next(context);
        match &polled {
            Poll::Ready(Some(Ok(_))) => self.serving.read(),
            Poll::Ready(None) => self.serving.body_is_read(),
            _ => {}
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::BesideRoutes;

    #[test]
    fn a_path_is_of_the_api_by_whole_segments() {
        let mut routes = BesideRoutes::default();
        assert!(routes.is_plain());
        assert!(!routes.is_of_api("/v1/login"));
        routes.set_prefix("/auth/");
        for (path, is_of_api) in [
            ("/auth", true),
            ("/auth/v1/login", true),
            ("/authors", false),
            ("/", false),
            ("/x/auth", false),
            ("/auth/verify", false),
        ] {
            assert_eq!(routes.is_of_api(path), is_of_api, "{path}");
        }
        assert!(!routes.is_plain());
    }
}
