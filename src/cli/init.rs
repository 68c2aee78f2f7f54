//! `portcullis init`: a configuration file with every key, commented.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Args;
use portcullis::config::commented;

use super::{Cli, Failure, say};

/// Where to write it.
#[derive(Args, Debug)]
pub struct Init {
    /// The file, which must not exist yet.
    #[arg(default_value = "portcullis.toml")]
    file: PathBuf,
}

impl Init {
    pub(super) fn run(&self, _: &Cli) -> Result<(), Failure> {
        let path = self.file.display();
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.file)
            .map_err(|error| Failure::refused(format!("cannot make {path}: {error}")))?;
        file.write_all(commented().as_bytes())
            .map_err(|error| Failure::fault(format!("cannot write {path}: {error}")))?;
        say(&format!("wrote {path}; change it, then: portcullis serve --config {path}"));
        Ok(())
    }
}
