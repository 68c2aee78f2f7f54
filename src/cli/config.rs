//! `portcullis config check|show`.

use clap::Subcommand;

use super::{Cli, Failure, say};

/// What to do with the configuration.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Name every mistake at once.
    Check,
    /// Show every value that counts, and where it comes from.
    Show,
}

impl ConfigCommand {
    pub(super) fn run(self, cli: &Cli) -> Result<(), Failure> {
        match self {
            Self::Check => {
                cli.load()?;
                say("the configuration is sound");
            }
            Self::Show => say(cli.reader()?.show().trim_end()),
        }
        Ok(())
    }
}
