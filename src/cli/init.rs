//! `portcullis init`.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Args;
use portcullis::config::commented;
use portcullis::system::file_error::at;

use super::{Failure, say};

/// Where to write the configuration file.
#[derive(Args, Debug)]
pub struct Init {
    /// File to write. It must not exist yet.
    #[arg(default_value = "portcullis.toml")]
    file: PathBuf,
}

impl Init {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let path = self.file.display();
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.file)
            .map_err(at(&self.file))
            .map_err(|error| Failure::refused(format!("cannot create {error}")))?;
        file.write_all(commented().as_bytes()).map_err(at(&self.file)).map_err(|error| {
            // The next try would find a file, and half of one sets other keys than its owner thinks.
            let _ = std::fs::remove_file(&self.file);
            Failure::refused(format!("cannot write {error}"))
        })?;
        say(&format!("wrote {path}; edit it, then run: portcullis serve --config {path}"));
        Ok(())
    }
}
