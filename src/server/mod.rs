#![doc = include_str!("README.md")]

pub mod background;
pub mod embed;
mod listener;
#[cfg(feature = "mail")]
pub mod mail_server;
pub mod operator;
#[cfg(feature = "outbound")]
pub mod outbound;
mod running;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use tokio::net::{TcpListener, TcpSocket};

use crate::config::Config;
use crate::engine::Engine;
use crate::engine::partition::StartError;
use crate::http;
use crate::http::embed::BesideRoutes;
use crate::mail::transport::Transport;
use crate::system::clock::Clock;
use crate::system::descriptors;
use crate::system::fail_stop::FailStop;
use listener::Routes;
pub use running::{Running, start, start_for_command};

/// Length of the kernel's queue of connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// A running server, in an actix system.
pub struct RunningServer {
    /// The engine that it serves.
    pub engine: Arc<Engine>,
    /// The bound address, with the port that the system chose if the configured one is 0.
    pub address: SocketAddr,
    /// The bound address for operators, if one is set.
    pub operators_address: Option<SocketAddr>,
    handle: ServerHandle,
    served: tokio::task::JoinHandle<io::Result<()>>,
    admin: Option<ServerHandle>,
    operators: tokio::task::JoinHandle<()>,
    running: Running,
}

/// Reserves the ports, recovers the data directory, starts everything and accepts connections. Call it inside an actix
/// system.
pub fn build(
    config: Config,
    clock: Clock,
    accept_clock_floor: bool,
    transport: Option<Transport>,
    fail_stop: &FailStop,
) -> Result<RunningServer, StartError> {
    build_with(config, clock, accept_clock_floor, transport, fail_stop, &BesideRoutes::default())
}

/// Does what [`build`] does, with routes of the embedding program beside the API.
fn build_with(
    config: Config,
    clock: Clock,
    accept_clock_floor: bool,
    transport: Option<Transport>,
    fail_stop: &FailStop,
    beside: &BesideRoutes,
) -> Result<RunningServer, StartError> {
    let routes =
        if beside.is_plain() { Routes::Ours(http::configure) } else { Routes::Beside(beside.clone()) };
    let limit = descriptors::raise();
    let workers = workers();
    if let Some(low) = descriptors::judge(limit, descriptors::connections(limit, workers) * workers)? {
        tracing::warn!("{low}");
    }
    operator::socket::check_path(&config.data_dir)?;
    let listen = config.http.listen;
    // Ports are bound before anything is read, so that a second server fails at once. They listen only after recovery.
    let socket = reserve(listen, "")?;
    let address = socket.local_addr()?;
    let admin = config.admin.listen.map(|listen| reserve(listen, " for operators")).transpose()?;
    let operators_address = admin.as_ref().map(TcpSocket::local_addr).transpose()?;
    let config = config.with_bound_address(address);
    let (engine, running) = start(config, clock, accept_clock_floor, transport, fail_stop)?;
    match serve(&engine, socket, admin, limit, &routes) {
        Ok((handle, served, admin, operators)) => Ok(RunningServer {
            engine,
            address,
            operators_address,
            handle,
            served,
            admin,
            operators,
            running,
        }),
        Err(error) => {
            // An embedding program may try again, and two engines must not share a directory.
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

/// Listens on the reserved ports and starts serving. `limit` is the limit of open files.
fn serve(
    engine: &Arc<Engine>,
    socket: TcpSocket,
    admin: Option<TcpSocket>,
    limit: u64,
    routes: &Routes,
) -> io::Result<Serving> {
    let workers = workers();
    let each = descriptors::connections(limit, workers);
    descriptors::make_room(descriptors::of(each, workers), limit);
    let connections = http::Connections::new(&engine.services.config, each * workers);
    let listener = start_listening(socket)?;
    let server = listener::serve(engine, listener, workers, each, &connections, routes)?;
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

/// Returns the number of event loops.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Binds an address without listening on it. `what_for` follows the address in an error.
fn reserve(listen: SocketAddr, what_for: &str) -> io::Result<TcpSocket> {
    let bind = || {
        let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(listen)?;
        Ok(socket)
    };
    bind().map_err(|error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {listen}{what_for}: {error}"))
    })
}

/// Listens on a reserved port.
fn start_listening(socket: TcpSocket) -> io::Result<std::net::TcpListener> {
    let address = socket.local_addr()?;
    let listener = socket.listen(BACKLOG).and_then(TcpListener::into_std);
    listener.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}

/// Serves health and metrics on an address of their own. They need no log-in: every client that reaches the address may
/// read them.
fn operations(engine: &Arc<Engine>, socket: TcpSocket) -> io::Result<ServerHandle> {
    // Every client here is the operators', so one network may hold them all.
    let most = descriptors::OPERATORS_MAX;
    let connections = http::Connections::new(&engine.services.config, most).with_unbounded_networks();
    let routes = Routes::Ours(http::api::operations::configure_for_operators);
    let server = listener::serve(engine, start_listening(socket)?, 1, most, &connections, &routes)?;
    let handle = server.handle();
    tokio::task::spawn_local(async move {
        tokio::select! {
            ended = server => ended,
            () = connections.watch() => Ok(()),
        }
    });
    Ok(handle)
}

impl RunningServer {
    /// Returns the report of recovery.
    pub const fn found(&self) -> &crate::journal::recovery::report::RecoveryReport {
        self.running.found()
    }

    /// Stops in order: report not ready, accept no connection, finish requests, send due mails, take a last snapshot,
    /// close the journal.
    pub async fn stop(self) {
        self.engine.services.begin_stop();
        self.handle.stop(true).await;
        let _ = self.served.await;
        if let Some(admin) = self.admin {
            admin.stop(false).await;
        }
        self.operators.abort();
        // The next start replaces a leftover. Without it commands see sooner that no server runs.
        let _ = std::fs::remove_file(crate::server::operator::socket::path(
            &self.engine.services.config.data_dir,
        ));
        // Joining blocks, and some of the threads wait for actors of this runtime, so it is done on another thread.
        let running = self.running;
        let _ = tokio::task::spawn_blocking(move || running.stop()).await;
    }
}
