//! One listener: the event loops that accept its connections and speak HTTP on them.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive, Request, Response};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, map_config};
use actix_web::HttpMessage;
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, Server, fn_service};
use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::{App, web};
use tokio::net::TcpStream;

use crate::engine::Engine;
use crate::http::embed::{BesideRoutes, serve_request};
use crate::http::{Connections, GuardedStream, announces_too_much};

/// How many seconds requests in progress may take after a stop was requested.
const DRAIN_SECS: u64 = 20;
/// How long a client that was answered before its body was read may take to notice.
const LINGER: Duration = Duration::from_secs(1);

/// What a listener serves.
#[derive(Clone)]
pub(super) enum Routes {
    /// Endpoints of ours alone.
    Ours(fn(&mut web::ServiceConfig)),
    /// The API below a prefix, and routes of the embedding program.
    Beside(BesideRoutes),
}

impl Routes {
    fn configure(&self, config: &mut web::ServiceConfig, engine: &Arc<Engine>) {
        match self {
            Self::Ours(configure) => configure(config),
            Self::Beside(routes) => routes.configure(config, engine),
        }
    }
}

/// Serves `routes` on `listener`. Each of `workers` event loops accepts `each` connections; further
/// clients wait in the kernel's queue.
///
/// Deadlines of heads and idle connections are kept by `connections`: the HTTP library knows none for the head of a second
/// request. A client that closes its side has gone: its request is dropped.
pub(super) fn serve(
    engine: &Arc<Engine>,
    listener: TcpListener,
    workers: usize,
    each: usize,
    connections: &Connections,
    routes: &Routes,
) -> io::Result<Server> {
    let engine = Arc::clone(engine);
    let connections = connections.clone();
    let routes = routes.clone();
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(each)
        .shutdown_timeout(DRAIN_SECS)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let builder = builder.listen("http", listener, move || {
        let stopping = stopping.clone();
        let app = App::new()
            .app_data(web::Data::from(Arc::clone(&engine)))
            .wrap(from_fn(serve_request))
            .configure(|config| routes.configure(config, &engine))
            .into_factory()
            .map_err(|error: actix_web::Error| error.error_response());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let signal = stopping.clone();
                async move { signal.notified().await }
            })
            .keep_alive(KeepAlive::Os)
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(LINGER)
            .h1_allow_half_closed(false)
            .expect(fn_service(|request| std::future::ready(before_body(request))))
            .on_connect_ext(GuardedStream::describe)
            .h1(map_config(app, |()| AppConfig::default()));
        let (engine, connections) = (Arc::clone(&engine), connections.clone());
        fn_service(move |stream: TcpStream| {
            let guarded = GuardedStream::open(stream, &connections, &engine);
            let with_peer = guarded.map(|guarded| {
                let peer = guarded.peer();
                (guarded, Some(peer))
            });
            std::future::ready(with_peer.map_err(DispatchError::Io))
        })
        .and_then(http)
    })?;
    Ok(builder.run())
}

/// Decides on a request whose client asks first whether to send the body (RFC 9110 §10.1.1): a body that is too large is
/// not asked for.
///
/// Errors: a bare 413, in whose place [`GuardedStream`] sends the whole answer.
fn before_body(request: Request) -> Result<Request, Response<BoxBody>> {
    if announces_too_much(request.headers()) {
        Err(Response::new(StatusCode::PAYLOAD_TOO_LARGE))
    } else {
        Ok(request)
    }
}
