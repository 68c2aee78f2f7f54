//! `portcullis config check` and `portcullis config show`.

use clap::Subcommand;

use super::{Cli, Failure, say};

/// The subcommands for the configuration.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Report every mistake at once, each with its file and line.
    ///
    /// Exits with 2 if there is one. Reads no data and needs no server.
    Check,
    /// Show the value of every key, and whether it is a default or from file, environment or flag.
    Show,
}

impl ConfigCommand {
    pub(super) fn run(self, cli: &Cli) -> Result<(), Failure> {
        match self {
            Self::Check => {
                cli.load()?;
                say("the configuration has no mistakes");
            }
            Self::Show => say(cli.reader()?.show().trim_end()),
        }
        Ok(())
    }
}
