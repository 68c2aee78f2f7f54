//! A whole server inside the program: the API with everything that the binary has below HTTP, and routes of the program beside it.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use actix_web::{Route, web};

use super::options::Options;
use super::system_thread::{EndsBy, SystemThread};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::hooks::{Hooks, SetHooks};
use crate::engine::partition::StartError;
use crate::http::embed::BesideRoutes;
use crate::mail::deliver::Deliver;
use crate::server::{RunningServer, build_with};
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;

/// A server on a thread of its own, which listens on `http.listen`. It stops in order by [`Server::stop`], or when this is
/// dropped, which then blocks the thread that drops it.
///
/// Beside what [`mount`] brings it has all that protects the binary below HTTP: bounds and deadlines of connections, one request
/// read at a time, whole answers to what is no request, the socket of `portcullis` commands in the data directory.
///
/// [`mount`]: crate::actix::mount
pub struct Server {
    engine: Arc<Engine>,
    address: SocketAddr,
    thread: SystemThread,
}

/// Builds a [`Server`].
#[must_use]
pub struct ServerBuilder {
    options: Options,
    routes: BesideRoutes,
}

impl Server {
    /// Begins a server with this configuration.
    pub fn builder(config: Config) -> ServerBuilder {
        ServerBuilder { options: Options::new(config), routes: BesideRoutes::default() }
    }

    /// Returns the engine that it serves.
    pub fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine)
    }

    /// Returns the address that it listens on, with the port that the system chose if the configured one is 0.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops in order: reports not ready, accepts no connection, finishes requests, sends due mails, takes a last snapshot, closes
    /// the journal.
    pub async fn stop(self) {
        self.thread.stop().await;
    }
}

impl ServerBuilder {
    /// Puts the API below `prefix`, such as `/auth`. Name it in `http.public_origin` too, unless a proxy takes it away.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.routes.set_prefix(prefix);
        self
    }

    /// Adds a route of the program beside the API. `route` makes it once for each event loop: `|| web::get().to(page)`.
    pub fn route(self, path: &str, route: impl Fn() -> Route + Send + Sync + 'static) -> Self {
        let path = path.to_owned();
        self.configure(move |config| {
            config.route(&path, route());
        })
    }

    /// Adds routes, scopes and application data of the program beside the API. `configure` is called once for each event loop.
    ///
    /// The middleware of the API is not around them. The extractors work in them. A request of theirs may take as long as it likes,
    /// so give bodies a deadline of your own; their answers have the headers that the program gives them.
    pub fn configure(mut self, configure: impl Fn(&mut web::ServiceConfig) + Send + Sync + 'static) -> Self {
        self.routes.add(configure);
        self
    }

    /// Hands mails to the program, in place of the way that the configuration says.
    pub fn deliver(mut self, deliver: impl Deliver) -> Self {
        self.options.set_delivery(deliver);
        self
    }

    /// Asks `hooks` before somebody signs up, logs in or refreshes, in place of those that the configuration names.
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.options.hooks = Some(SetHooks::all(hooks));
        self
    }

    /// Takes the time from `clock`.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.options.set_clock(clock);
        self
    }

    /// Calls `fail_stop` after a fault, in place of ending the process with exit code 70.
    pub fn fail_stop(mut self, fail_stop: FailStop) -> Self {
        self.options.fail_stop = fail_stop;
        self
    }

    /// Recovers the data directory, starts everything and accepts connections. Works on every runtime.
    ///
    /// Errors: a port that is taken; a directory that is held by another process, damaged, or of a newer version; keys that cannot
    /// be read.
    pub async fn build(self) -> Result<Server, StartError> {
        self.start(EndsBy::Stop).await
    }

    /// Does what [`ServerBuilder::build`] does, serves until the process receives SIGINT or SIGTERM, and stops in order.
    ///
    /// Errors: as [`ServerBuilder::build`].
    pub async fn run(self) -> Result<(), StartError> {
        let server = self.start(EndsBy::Signal).await?;
        tracing::info!("ready on {}", server.address);
        server.thread.wait().await;
        Ok(())
    }

    async fn start(self, ends_by: EndsBy) -> Result<Server, StartError> {
        let Self { options, routes } = self;
        options.warn();
        let begin = async move || {
            let transport = options.transport()?;
            let Options { config, clock, accepts_clock_floor, fail_stop, hooks, .. } = options;
            let server =
                build_with(config, clock, accepts_clock_floor, (transport, hooks), &fail_stop, &routes)?;
            Ok(((Arc::clone(&server.engine), server.address), server))
        };
        let end = async |server: RunningServer| server.stop().await;
        let ((engine, address), thread) = SystemThread::start(ends_by, begin, end).await?;
        Ok(Server { engine, address, thread })
    }
}

impl Deref for Server {
    type Target = Arc<Engine>;

    fn deref(&self) -> &Arc<Engine> {
        &self.engine
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerBuilder(..)")
    }
}
