//! An engine and what runs beside it, started and stopped together.

use std::sync::Arc;

use super::background::Background;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::start::{RunningEngine, StartError};
use crate::journal::recovery::report::RecoveryReport;
use crate::mail::transport::Transport;
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;

/// Keeps an engine and its background threads going. Held by the program that started them.
pub struct Running {
    engine: RunningEngine,
    background: Background,
}

/// Starts an engine over `config.data_dir` and the threads that run beside it. Call it in an actix system.
///
/// Without a transport, mails wait in the journal.
///
/// Errors: those of [`Engine::start`], and threads that cannot be started.
pub fn start(
    config: Config,
    clock: Clock,
    accept_clock_floor: bool,
    transport: Option<Transport>,
    fail_stop: &FailStop,
) -> Result<(Arc<Engine>, Running), StartError> {
    let (engine, running) = Engine::start(config, clock, accept_clock_floor, fail_stop)?;
    let background = Background::start(&engine, running.journal_context().clone(), transport)?;
    Ok((engine, Running { engine: running, background }))
}

impl Running {
    /// Returns what recovery found.
    pub const fn found(&self) -> &RecoveryReport {
        &self.engine.found
    }

    /// Stops in order: background threads with a last snapshot, then the engine.
    pub fn stop(self) {
        self.background.stop();
        self.engine.stop();
    }
}
