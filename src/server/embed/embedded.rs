//! An engine without a listener: for a program that mounts the API in an application of its own.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::options::Options;
use super::system_thread::{EndsBy, SystemThread};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::hooks::{Hooks, SetHooks};
use crate::engine::partition::StartError;
use crate::mail::deliver::Deliver;
use crate::server::running::{Running, start_with};
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;

/// An engine that runs on a thread of its own. It stops in order by [`Embedded::stop`], or when this is dropped, which then blocks
/// the thread that drops it until everything is on disk.
///
/// Requests may go on while it stops, and are answered with 503: stop the HTTP server first.
pub struct Embedded {
    engine: Arc<Engine>,
    thread: SystemThread,
}

/// Builds an engine that runs inside the program: [`Engine::builder`].
#[must_use]
pub struct EngineBuilder {
    options: Options,
}

impl Engine {
    /// Starts an engine over the data directory of `config`, on a thread of its own. Works on every runtime: under
    /// `#[actix_web::main]`, `#[tokio::main]` and their tests. Mails take the way that the configuration says.
    ///
    /// Errors: a directory that is held by another process, damaged, or of a newer version; keys that cannot be read.
    pub async fn start(config: Config) -> Result<Embedded, StartError> {
        Self::builder(config).start().await
    }

    /// Begins an engine that is started with more than a configuration.
    pub fn builder(config: Config) -> EngineBuilder {
        EngineBuilder { options: Options::new(config) }
    }
}

impl EngineBuilder {
    /// Hands mails to the program.
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

    /// Calls `fail_stop` after a fault, in place of ending the process with exit code 70. The engine answers nothing from then on:
    /// stop it, and start another one.
    pub fn fail_stop(mut self, fail_stop: FailStop) -> Self {
        self.options.fail_stop = fail_stop;
        self
    }

    /// Starts the engine.
    ///
    /// Errors: as [`Engine::start`].
    pub async fn start(self) -> Result<Embedded, StartError> {
        let Self { options } = self;
        options.warn();
        let begin = async move || {
            let transport = options.transport()?;
            let Options { config, clock, accepts_clock_floor, fail_stop, hooks, .. } = options;
            start_with(config, clock, accepts_clock_floor, (transport, hooks), &fail_stop)
        };
        let (engine, thread) = SystemThread::start(
            EndsBy::Stop,
            async move || begin().await.map(|(engine, running)| (Arc::clone(&engine), (engine, running))),
            async |(engine, running): (Arc<Engine>, Running)| {
                engine.services.begin_stop();
                // Joining blocks, and some of the threads wait for actors of this system.
                let _ = tokio::task::spawn_blocking(move || running.stop()).await;
            },
        )
        .await?;
        Ok(Embedded { engine, thread })
    }
}

impl Embedded {
    /// Returns the engine, for a closure that builds applications.
    pub fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine)
    }

    /// Stops in order: sends due mails, takes a last snapshot, closes the journal.
    pub async fn stop(self) {
        self.thread.stop().await;
    }
}

impl Deref for Embedded {
    type Target = Arc<Engine>;

    fn deref(&self) -> &Arc<Engine> {
        &self.engine
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Embedded(..)")
    }
}

impl fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineBuilder(..)")
    }
}
