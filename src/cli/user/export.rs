//! `portcullis user export`.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use clap::Args;
use portcullis::server::operator::operation::Operation;
use serde_json::Value;

use crate::cli::operate::converse;
use crate::cli::{Cli, Failure, counted, ended_output, note, try_write_out};

/// Write all accounts as lines that an import takes.
#[derive(Debug, Args)]
pub struct Export {
    /// The file to write, which must not exist; - is standard output.
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Write the hashes of the passwords as well. Whoever reads them can guess at the passwords.
    #[arg(long)]
    hashes: bool,
}

impl Export {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let config = cli.load()?;
        let file = match self.file.as_os_str().to_str() {
            Some("-") => None,
            _ => Some(self.create()?),
        };
        let (hashes, path) = (self.hashes, self.file.clone());
        let done = converse(config, move |stream| {
            let at = |error| Failure::at(&path, &error);
            match file {
                None => {
                    copy(stream, hashes, |line| try_write_out(line).map_err(|error| ended_output(&error)))
                }
                Some(file) => {
                    let mut file = BufWriter::new(file);
                    let done = copy(stream, hashes, |line| file.write_all(line).map_err(at))?;
                    let file = file.into_inner().map_err(|error| at(error.into_error()))?;
                    file.sync_all().map_err(at)?;
                    Ok(done)
                }
            }
        })?;
        let count = |name: &str| done.get(name).and_then(Value::as_u64).unwrap_or(0);
        if self.file.as_os_str() != "-" {
            let text = format!("exported {}", counted(count("exported"), "account", "accounts"));
            cli.answer(&text, &done);
        }
        let peppered = count("with_pepper");
        if peppered > 0 {
            note(&format!(
                "{} made with a pepper: they match nothing on a server whose password.pepper_file does not have it",
                counted(peppered, "hash was", "hashes were")
            ));
        }
        Ok(())
    }

    fn create(&self) -> Result<File, Failure> {
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file);
        created.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                Failure::refused(format!("{} exists; choose another name", self.file.display()))
            }
            _ => Failure::at(&self.file, &error),
        })
    }
}

/// Asks for all accounts, and hands each line to `write`. Returns the answer that ends them.
fn copy(
    mut stream: UnixStream,
    hashes: bool,
    mut write: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<Value, Failure> {
    let lost =
        |error: &dyn std::fmt::Display| Failure::no_answer(format!("the server does not answer: {error}"));
    let request = serde_json::to_string(&Operation::UserExport { hashes }).map_err(Failure::fault)? + "\n";
    stream.write_all(request.as_bytes()).map_err(|error| lost(&error))?;
    let mut read = BufReader::with_capacity(64 * 1024, stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        read.read_until(b'\n', &mut line).map_err(|error| lost(&error))?;
        if line.starts_with(b"{\"id\":") && line.ends_with(b"\n") {
            write(&line)?;
            continue;
        }
        let last: Value = serde_json::from_slice(&line)
            .map_err(|_| lost(&"it has stopped in the middle; what was written is not complete"))?;
        return match last.get("error").and_then(Value::as_str) {
            Some(error) => Err(Failure::refused(error)),
            None => Ok(last.get("ok").cloned().unwrap_or(Value::Null)),
        };
    }
}
