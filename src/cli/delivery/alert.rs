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
    use std::net::{TcpStream, ToSocketAddrs};
    use std::time::Duration;

    use portcullis::config::Config;
    use portcullis::server::background::webhook::Webhook;
    use portcullis::system::clock::Clock;
    use serde_json::json;

    use super::super::run_async;
    use crate::cli::{Cli, Failure};

    /// How long a connection for a check may take.
    const CONNECT_WITHIN: Duration = Duration::from_secs(5);
    /// The variables by which a proxy for requests is set, which the webhook is then called through.
    const PROXIES: [&str; 3] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"];

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
    /// webhook that can be used, or where a proxy is between.
    pub(in crate::cli) fn probe(config: &Config) -> Option<(String, io::Result<()>)> {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if PROXIES.iter().any(|name| is_set(name) || is_set(&name.to_lowercase())) {
            return None;
        }
        let host = Webhook::from_config(config).ok()??.host();
        let connected = connect(&host);
        Some((host, connected))
    }

    fn connect(host: &str) -> io::Result<()> {
        let mut failed = io::Error::other("the host has no address");
        for address in host.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
                Ok(_) => return Ok(()),
                Err(error) => failed = error,
            }
        }
        Err(failed)
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
