//! `portcullis alert`.

use super::super::{Cli, Failure};
use clap::Subcommand;

/// The subcommands for alerts.
#[derive(Debug, Subcommand)]
pub enum AlertCommand {
    /// Send a test alert to alert.webhook, signed like every alert, and say what became of it.
    ///
    /// Needs no running server. Exits with 1 if the receiver does not take it. It is tried once; a real alert is tried six
    /// times.
    Test,
}

impl AlertCommand {
    pub(in crate::cli) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let Self::Test = self;
        test(cli, &cli.load()?)
    }
}

#[cfg(feature = "alert")]
mod calls {
    use portcullis::config::Config;
    use portcullis::server::background::webhook::Webhook;
    use portcullis::system::clock::Clock;
    use serde_json::json;

    use super::super::run_async;
    use crate::cli::{Cli, Failure};

    /// Sends a test alert.
    pub(super) fn test(cli: &Cli, config: &Config) -> Result<(), Failure> {
        let webhook = Webhook::from_config(config).map_err(Failure::usage)?;
        let webhook = webhook.ok_or_else(|| {
            Failure::usage(
                "alert.webhook is not set: alerts are in the log alone, and there is nothing to test",
            )
        })?;
        let sent = run_async(webhook.send_test(&config.service_name, Clock::system().now()))?;
        let status = sent.map_err(|error| Failure::refused(format!("the alert was not taken: {error}")))?;
        let host = webhook.host();
        cli.answer(
            &format!("test alert: taken by {host}, which answered {status}"),
            &json!({"host": host, "status": status}),
        );
        Ok(())
    }
}

#[cfg(feature = "alert")]
use calls::test;

#[cfg(not(feature = "alert"))]
fn test(_: &Cli, _: &portcullis::Config) -> Result<(), Failure> {
    Err(Failure::usage("this build sends no alerts: build it with the feature alert"))
}
