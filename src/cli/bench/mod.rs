//! `portcullis bench`: what the server does under load, measured from outside.

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

/// What is measured.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// A storm of log-ins: far more than can be hashed, among honest users.
    Storm(storm::Storm),
}

impl BenchCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        match self {
            Self::Storm(storm) => storm.run(cli.json),
        }
    }
}
