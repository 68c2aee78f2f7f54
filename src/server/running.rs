//! An engine and what runs beside it, started and stopped together.

use std::sync::Arc;

use super::background::Background;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::partition::StartError;
use crate::engine::services::RunningServices;
use crate::engine::start::{RunningEngine, start_first};
use crate::journal::recovery::report::RecoveryReport;
use crate::mail::transport::Transport;
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;

/// Keeps an engine, its services and its background threads going. Held by the program that started them.
pub struct Running {
    engine: RunningEngine,
    services: RunningServices,
    background: Background,
}

/// Starts the services and one engine over `config.data_dir`, and the threads that run beside them. Call it in an actix
/// system.
///
/// Without a transport, mails wait in the journal. `fail_stop` ends the process: with one engine, nobody could go on after
/// it.
///
/// Errors: a directory that is held, damaged or of a newer version; keys that cannot be read; threads that cannot be started.
pub fn start(
    config: Config,
    clock: Clock,
    accept_clock_floor: bool,
    transport: Option<Transport>,
    fail_stop: &FailStop,
) -> Result<(Arc<Engine>, Running), StartError> {
    let (engine, running_engine, running_services) =
        start_first(config, clock, accept_clock_floor, fail_stop)?;
    match Background::start(&engine, running_engine.journal_context().clone(), transport) {
        Ok(background) => {
            Ok((engine, Running { engine: running_engine, services: running_services, background }))
        }
        Err(error) => {
            running_engine.stop();
            running_services.stop();
            Err(error.into())
        }
    }
}

impl Running {
    /// Returns what recovery found.
    pub const fn found(&self) -> &RecoveryReport {
        &self.engine.report
    }

    /// Stops in order: background threads with a last snapshot, the engine, the services.
    pub fn stop(self) {
        self.background.stop();
        self.engine.stop();
        self.services.stop();
    }
}
