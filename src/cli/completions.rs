//! `portcullis completions`.

use clap::{Args, CommandFactory};

use super::Cli;

/// The shell to complete for.
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(&self) {
        clap_complete::generate(self.shell, &mut Cli::command(), "portcullis", &mut std::io::stdout());
    }
}
