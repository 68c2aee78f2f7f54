//! A whole server: recover, actors, bind last; stopped in reverse.

pub mod background;
pub mod operator;
mod running;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, middleware, web};
use tokio::net::{TcpListener, TcpSocket};

use crate::config::Config;
use crate::engine::Engine;
use crate::engine::partition::StartError;
use crate::http;
use crate::mail::transport::Transport;
use crate::system::clock::Clock;
use crate::system::descriptors;
use crate::system::fail_stop::FailStop;
pub use running::{Running, start};

/// Connections that may wait to be taken.
const BACKLOG: u32 = 1024;
/// How long requests that are being served may take once a stop was asked for.
const DRAIN_SECS: u64 = 20;

/// A server that answers.
pub struct Server {
    /// Its engine.
    pub engine: Arc<Engine>,
    /// Where it answers: the port that was really bound.
    pub address: SocketAddr,
    handle: ServerHandle,
    served: tokio::task::JoinHandle<io::Result<()>>,
    admin: Option<ServerHandle>,
    operators: tokio::task::JoinHandle<()>,
    running: Running,
}

/// Builds a server and binds it. Call it in an actix system.
pub fn build(
    config: Config,
    clock: Clock,
    accept_clock_floor: bool,
    transport: Option<Transport>,
    fail_stop: &FailStop,
) -> Result<Server, StartError> {
    let limit = descriptors::raise();
    let listen = config.http.listen;
    // Ports are taken before anything is read, so that a second server fails at once; nobody is let in before all is.
    let socket = reserve(listen, "")?;
    let address = socket.local_addr()?;
    let admin = config.admin.listen.map(|listen| reserve(listen, " for operators")).transpose()?;
    let config = config.with_bound_address(address);
    let (engine, running) = start(config, clock, accept_clock_floor, transport, fail_stop)?;
    match serve(&engine, socket, admin, limit) {
        Ok((handle, served, admin, operators)) => {
            Ok(Server { engine, address, handle, served, admin, operators, running })
        }
        Err(error) => {
            // Nobody was let in. Whoever embeds this may try again, and two engines must not share a directory.
            running.stop();
            Err(error.into())
        }
    }
}

type Serving = (
    ServerHandle,
    tokio::task::JoinHandle<io::Result<()>>,
    Option<ServerHandle>,
    tokio::task::JoinHandle<()>,
);

/// `limit` is of descriptors.
fn serve(
    engine: &Arc<Engine>,
    socket: TcpSocket,
    admin: Option<TcpSocket>,
    limit: u64,
) -> io::Result<Serving> {
    let data = web::Data::from(Arc::clone(engine));
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let each = descriptors::connections(limit, workers);
    descriptors::make_room(descriptors::of(each, workers), limit);
    let connections = http::Connections::default();
    let watch = connections.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .wrap(middleware::Condition::new(
                !data.services.config.http.allowed_origins.is_empty(),
                cors(&data.services.config),
            ))
            .wrap(middleware::from_fn(http::middleware::wrap_request))
            .configure(http::configure)
    })
    .on_connect(move |stream, data| watch.opened(stream, data))
    .disable_signals()
    .workers(workers)
    .max_connections(each)
    .shutdown_timeout(DRAIN_SECS)
    .client_request_timeout(Duration::from_secs(10))
    .listen(taken(socket)?)?
    .run();
    let operators = crate::server::operator::socket::serve(engine)?;
    let admin = admin.map(|socket| operations(engine, socket)).transpose()?;
    let handle = server.handle();
    let served = async move {
        tokio::select! {
            ended = server => ended,
            () = connections.watch() => Ok(()),
        }
    };
    Ok((handle, tokio::task::spawn_local(served), admin, operators))
}

fn reserve(listen: SocketAddr, what_for: &str) -> io::Result<TcpSocket> {
    let reserved = || {
        let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(listen)?;
        Ok(socket)
    };
    reserved().map_err(|error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {listen}{what_for}: {error}"))
    })
}

/// Lets connections wait at a reserved port.
fn taken(socket: TcpSocket) -> io::Result<std::net::TcpListener> {
    let address = socket.local_addr()?;
    let listener = socket.listen(BACKLOG).and_then(TcpListener::into_std);
    listener.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}

/// Health and metrics for operators on an address of their own: whoever reaches it may read them.
fn operations(engine: &Arc<Engine>, socket: TcpSocket) -> io::Result<ServerHandle> {
    let data = web::Data::from(Arc::clone(engine));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .wrap(middleware::from_fn(http::middleware::wrap_request))
            .configure(http::api::operations::configure_for_operators)
    })
    .disable_signals()
    .workers(1)
    .max_connections(descriptors::OPERATORS_MAX)
    .listen(taken(socket)?)?
    .run();
    let handle = server.handle();
    tokio::task::spawn_local(server);
    Ok(handle)
}

/// Closed, but for the origins that are listed.
fn cors(config: &Config) -> actix_cors::Cors {
    let mut cors = actix_cors::Cors::default()
        .allowed_methods(["GET", "POST", "PATCH", "DELETE"])
        .allowed_headers(["authorization", "content-type", "x-csrf-token", "x-device-token"])
        .expose_headers(["x-request-id", "retry-after", "ratelimit", "ratelimit-policy", "x-device-token"])
        .supports_credentials()
        .block_on_origin_mismatch(false)
        .max_age(600);
    for origin in &config.http.allowed_origins {
        cors = cors.allowed_origin(origin.as_str());
    }
    cors
}

impl Server {
    /// What recovery found.
    pub const fn found(&self) -> &crate::journal::recovery::report::RecoveryReport {
        self.running.found()
    }

    /// Stops in order: not ready, no new connection, requests drained, mails and a last snapshot, the journal closed.
    pub async fn stop(self) {
        self.engine.services.begin_stop();
        self.handle.stop(true).await;
        let _ = self.served.await;
        if let Some(admin) = self.admin {
            admin.stop(false).await;
        }
        self.operators.abort();
        // A leftover is swept by the next start; a missing one only tells commands sooner that nobody serves.
        let _ = std::fs::remove_file(crate::server::operator::socket::path(
            &self.engine.services.config.data_dir,
        ));
        // Threads are joined, some of which wait for actors: not on this runtime.
        let running = self.running;
        let _ = tokio::task::spawn_blocking(move || running.stop()).await;
    }
}
