//! `portcullis init`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, chown, fchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use portcullis::config::commented;
use portcullis::storage::local::LocalStorage;
use portcullis::system::file_error::at;
use serde_json::json;

use super::doctor::ownership::run_as;
use super::{Cli, Failure, shown};

/// Where to write the configuration file, and for whom.
#[derive(Args, Debug)]
pub struct Init {
    /// File to write. It must not exist yet.
    #[arg(default_value = "portcullis.toml")]
    file: PathBuf,
    /// Give the file to this user, whom the server will run as: a name or a number. Needs root.
    ///
    /// With --data-dir, also the data directory, which is created if it is not there.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

impl Init {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let path = self.file.display();
        // Before anything is written.
        let owner = self.user.as_deref().map(owner).transpose()?;
        let text = match &cli.data_dir {
            None => commented(),
            Some(dir) => {
                let Some(text) = dir.to_str() else {
                    let what = "a configuration holds paths in UTF-8 alone: leave --data-dir out here, and give it to each \
                                command";
                    return Err(Failure::usage(format!("{}: {what}", dir.display())));
                };
                commented().replacen("#data_dir = \"data\"", &format!("data_dir = {}", json!(text)), 1)
            }
        };
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.file)
            .map_err(at(&self.file))
            .map_err(|error| Failure::refused(format!("cannot create {error}")))?;
        let written = file.write_all(text.as_bytes()).and_then(|()| match owner {
            Some((user, group)) => fchown(&file, Some(user), Some(group)),
            None => Ok(()),
        });
        if let Err(error) = written {
            // It is ours, and half of one is of no use.
            let _ = fs::remove_file(&self.file);
            return Err(Failure::refused(format!(
                "cannot write {path}{}: {error}",
                for_user(self.user.as_deref())
            )));
        }
        if let (Some(dir), Some(owner)) = (&cli.data_dir, owner) {
            give_directory(dir, owner).map_err(|error| {
                let user = for_user(self.user.as_deref());
                Failure::refused(format!("wrote {path}, but cannot make {}{user}: {error}", dir.display()))
            })?;
        }
        // Root would leave files in the directory that the user of the server cannot use.
        let run_as = owner.map_or_else(String::new, |(user, group)| run_as(user, group) + " ");
        let said = format!(
            "wrote {path}{}; edit it, then run: {run_as}portcullis --config {path} serve",
            for_user(self.user.as_deref())
        );
        let dir = cli.data_dir.as_deref().map(shown);
        cli.answer(&said, &json!({"file": shown(&self.file), "user": self.user, "data_dir": dir}));
        Ok(())
    }
}

fn for_user(user: Option<&str>) -> String {
    user.map_or_else(String::new, |user| format!(" for {user}"))
}

/// Creates the data directory, if it is not there, and gives it to `owner`. What is in it stays as it is.
fn give_directory(dir: &Path, (user, group): (u32, u32)) -> io::Result<()> {
    LocalStorage::open(dir)?;
    chown(dir, Some(user), Some(group))
}

/// Returns the numbers of a user and of its group, as the system knows them.
fn owner(user: &str) -> Result<(u32, u32), Failure> {
    let number = |flag: &str| -> Result<u32, Failure> {
        // It also knows the users that are in no file, such as those of a directory service.
        let output = Command::new("id").args([flag, "--", user]).output();
        let output = output
            .map_err(|error| Failure::refused(format!("cannot run id, to look for {user}: {error}")))?;
        let unknown = || Failure::usage(format!("there is no user {user}"));
        String::from_utf8_lossy(&output.stdout).trim().parse().map_err(|_| unknown())
    };
    Ok((number("-u")?, number("-g")?))
}
