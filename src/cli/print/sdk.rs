//! `portcullis sdk`: a client for other programs.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use portcullis::http::sdk;
use portcullis::system::file_error::at;
use serde_json::json;

use super::{Cli, Failure, shown, write_out};

/// The languages that there is a client for.
#[derive(Clone, Debug, Subcommand)]
pub enum SdkCommand {
    /// Print the client for JavaScript and TypeScript: one ES module without a dependency.
    ///
    /// For browsers, Node 20 and later, and React Native. It is that of this version of the server. `src/http/reference/sdk/`
    /// in the source has pages on its use.
    Ts {
        /// Write portcullis.js, and its types portcullis.d.ts, to this directory instead.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

impl SdkCommand {
    pub(in crate::cli) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let Self::Ts { out } = self;
        let Some(dir) = out else {
            write_out(sdk::module().as_bytes());
            return Ok(());
        };
        fs::create_dir_all(dir).map_err(|error| Failure::at(dir, &error))?;
        let written =
            [write(dir, "portcullis.js", &sdk::module())?, write(dir, "portcullis.d.ts", &sdk::types())?];
        cli.answer(&format!("wrote {}", written.join(" and ")), &json!({"written": written}));
        Ok(())
    }
}

/// Writes a file of the client, and returns its path as it is shown.
fn write(dir: &Path, name: &str, text: &str) -> Result<String, Failure> {
    let path = dir.join(name);
    fs::write(&path, text)
        .map_err(at(&path))
        .map_err(|error| Failure::refused(format!("cannot write {error}")))?;
    Ok(shown(&path))
}
