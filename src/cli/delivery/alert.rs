//! `portcullis alert`, and the webhook of the configuration.

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
    use std::io;
    use std::time::Duration;

    use portcullis::config::Config;
    use portcullis::server::background::webhook::Webhook;
    use portcullis::system::clock::Clock;
    use serde_json::json;

    use super::super::run_async;
    use crate::cli::{Cli, Failure};

    /// How long a connection for a check may take.
    const CONNECT_WITHIN: Duration = Duration::from_secs(5);
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

    /// Connects to the host of the webhook, and sends nothing. Returns the host with what came of it; `None` without a
    /// webhook that can be used.
    pub(in crate::cli) fn probe(config: &Config) -> Option<(String, io::Result<()>)> {
        let webhook = Webhook::from_config(config).ok()??;
        let within = async { tokio::time::timeout(CONNECT_WITHIN, webhook.connect()).await };
        let connected = run_async(within).ok()?.unwrap_or_else(|late| Err(late.into()));
        Some((webhook.host(), connected))
    }
}

#[cfg(feature = "alert")]
pub(in crate::cli) use calls::probe;
#[cfg(feature = "alert")]
use calls::test;

#[cfg(not(feature = "alert"))]
fn test(_: &Cli, _: &portcullis::Config) -> Result<(), Failure> {
    Err(Failure::usage("this build sends no alerts: build it with the feature alert"))
}

#[cfg(not(feature = "alert"))]
pub(in crate::cli) fn probe(_: &portcullis::Config) -> Option<(String, std::io::Result<()>)> {
    None
}
