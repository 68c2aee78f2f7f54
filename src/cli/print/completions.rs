//! `portcullis completions`.

use clap::{Args, CommandFactory};

use super::{Cli, write_out};

/// The shell to complete for.
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

impl Completions {
    pub(in crate::cli) fn run(&self) {
        // In one piece: the generator panics if an output fails.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "portcullis", &mut script);
        write_out(&script);
    }
}
