//! What an embedded engine and an embedded server are started with.

use std::io::Write;

use crate::config::Config;
use crate::config::checks::unsafe_settings;
use crate::engine::hooks::SetHooks;
use crate::engine::partition::StartError;
use crate::mail::deliver::{Deliver, OwnDelivery};
use crate::mail::transport::Transport;
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;

/// The exit code of a process whose only engine has failed.
const FAULT: i32 = 70;

/// The options.
pub(super) struct Options {
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) accepts_clock_floor: bool,
    pub(super) fail_stop: FailStop,
    delivery: Option<OwnDelivery>,
    pub(super) hooks: Option<SetHooks>,
}

impl Options {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            clock: Clock::system(),
            accepts_clock_floor: false,
            fail_stop: FailStop::new(end_process),
            delivery: None,
            hooks: None,
        }
    }

    /// Sets the clock. One that a test moves may be far behind the data, so the data are accepted whatever their time.
    pub(super) fn set_clock(&mut self, clock: Clock) {
        self.accepts_clock_floor = clock.is_manual();
        self.clock = clock;
    }

    pub(super) fn set_delivery(&mut self, deliver: impl Deliver) {
        self.delivery = Some(OwnDelivery::new(deliver));
    }

    /// Returns the way of mails: that of the program, or that of the configuration. Without feature `mail` and without a way of the
    /// program mails wait in the journal.
    pub(super) fn transport(&self) -> Result<Option<Transport>, StartError> {
        match &self.delivery {
            Some(delivery) => Ok(Some(Transport::Own(delivery.clone()))),
            None => of_config(&self.config),
        }
    }

    /// Warns of unsafe settings, if others than users of this machine reach the server.
    pub(super) fn warn(&self) {
        if self.config.http.is_public() {
            for finding in unsafe_settings(&self.config) {
                tracing::warn!("unsafe setting {}: {}; {}", finding.key, finding.why, finding.fix);
            }
        }
    }
}

#[cfg(feature = "mail")]
fn of_config(config: &Config) -> Result<Option<Transport>, StartError> {
    use crate::server::mail_server::{MailServerError, transport};
    match transport(config) {
        Ok(transport) => Ok(Some(transport)),
        Err(MailServerError::Setting(what)) => Err(std::io::Error::other(what).into()),
        Err(MailServerError::Outbox(error)) => Err(error.into()),
    }
}

#[cfg(not(feature = "mail"))]
fn of_config(_: &Config) -> Result<Option<Transport>, StartError> {
    Ok(None)
}

/// Ends the process after a fault, for the reason `why`: recovery at the next start is the only way on.
fn end_process(why: &str) {
    tracing::error!("portcullis: fault, the process ends: {why}");
    let _ = writeln!(std::io::stderr(), "portcullis: fault, the process ends: {why}");
    std::process::exit(FAULT);
}
