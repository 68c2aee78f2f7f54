//! `portcullis bench`: measures from outside how a server behaves under load.

mod hashing;
mod plot;
mod report;
mod scene;
mod storm;
mod tally;
mod target;
mod timer;
mod wire;

use clap::Subcommand;

use super::{Cli, Failure};

/// The subcommands that measure.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Send a storm of log-ins, far more than can be hashed, among honest users.
    ///
    /// Starts a throw-away server with the same binary, unless --target names one. Reports how each kind of request was
    /// answered, and how fast.
    Storm(storm::Storm),
}

impl BenchCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        match self {
            Self::Storm(storm) => storm.run(cli.json),
        }
    }
}
