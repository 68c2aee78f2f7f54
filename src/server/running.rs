//! An engine, its services and its background threads, started and stopped together.

use std::sync::Arc;

use super::background::Background;
use super::hooks::chosen;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::hooks::SetHooks;
use crate::engine::partition::StartError;
use crate::engine::services::RunningServices;
use crate::engine::start::{RunningEngine, start_first};
use crate::journal::recovery::report::RecoveryReport;
use crate::mail::transport::Transport;
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;

/// Keeps an engine, its services and its background threads running. The program that started them holds it.
pub struct Running {
    engine: RunningEngine,
    services: RunningServices,
    background: Background,
}

/// Starts the services, one engine over `config.data_dir`, and the background threads. Call it inside an actix system.
///
/// Without a transport, mails wait in the journal. `fail_stop` ends the process, since nothing can continue without its
/// only engine.
///
/// Errors: a directory that is locked, damaged or of a newer version; keys that cannot be read; a thread that cannot be
/// started.
pub fn start(
    config: Config,
    clock: Clock,
    accept_clock_floor: bool,
    transport: Option<Transport>,
    fail_stop: &FailStop,
) -> Result<(Arc<Engine>, Running), StartError> {
    start_with(config, clock, accept_clock_floor, (transport, None), fail_stop)
}

/// Does what [`start`] does, with hooks of the embedding program in place of those that the configuration names.
pub(super) fn start_with(
    config: Config,
    clock: Clock,
    accept_clock_floor: bool,
    (transport, hooks): (Option<Transport>, Option<SetHooks>),
    fail_stop: &FailStop,
) -> Result<(Arc<Engine>, Running), StartError> {
    // Before anything is written.
    let hooks = chosen(&config, hooks, &clock)?;
    let first = start_first(config, clock, accept_clock_floor, fail_stop)?;
    let (engine, ..) = &first;
    engine.services.audit.log.note_start(&engine.clock);
    engine.services.audit.log.check_in_background();
    run(first, transport, hooks, true)
}

/// Does what [`start`] does for one command on the directory of a stopped server: mails wait, and no line of the log of
/// security events says that a server has started.
pub fn start_for_command(
    config: Config,
    clock: Clock,
    fail_stop: &FailStop,
) -> Result<(Arc<Engine>, Running), StartError> {
    run(start_first(config, clock, false, fail_stop)?, None, None, false)
}

fn run(
    (engine, running_engine, running_services): (Arc<Engine>, RunningEngine, RunningServices),
    transport: Option<Transport>,
    hooks: Option<SetHooks>,
    calls_webhooks: bool,
) -> Result<(Arc<Engine>, Running), StartError> {
    let context = running_engine.journal_context().clone();
    match Background::start(&engine, context, transport, hooks, calls_webhooks) {
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
    /// Returns the report of recovery.
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
