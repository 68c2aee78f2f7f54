//! The real binary, as the neighbours meet it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::program::wait_until;
use super::reply::{Reply, ask};
use super::support::PASSWORD;
use super::support::process::{BINARY, Process, Ran, serve};

/// A server with a folder of its own, and with cheap passwords.
pub struct Server {
    process: Process,
    is_stopped: bool,
    dir: tempfile::TempDir,
    settings: Vec<(String, String)>,
}

impl Server {
    /// Starts a server with `settings`: names as in the configuration file, and variables in capitals.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        Self::over(tempfile::tempdir().unwrap(), &[], settings)
    }

    /// Starts a server by `launcher`, a command that runs the one after its arguments. It finds the data directory in the
    /// variable `DATA`.
    pub fn run_by(launcher: &[&str], settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The launcher may run the server as anybody.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        Self::over(dir, launcher, settings)
    }

    fn over(dir: tempfile::TempDir, launcher: &[&str], settings: &[(&str, &str)]) -> Self {
        let data = dir.path().join("data");
        let served = serve(&data);
        let mut command = match launcher.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(served.get_program()).args(served.get_args()).env("DATA", &data);
                command
            }
            None => served,
        };
        // Cheap passwords are refused where others reach the server.
        set(command.arg("--development"), settings);
        let process = Process::spawn_into(command, &dir.path().join("stdout"), &dir.path().join("stderr"));
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { process, is_stopped: false, dir, settings: settings.collect() }
    }

    /// Asks the server to stop, and asserts that it does so in order.
    #[track_caller]
    pub fn stop(&mut self) {
        self.is_stopped = true;
        assert_eq!(self.process.stop(), Some(0), "{}", self.log());
    }

    /// Stops the server if it runs, and starts it again over the same data with `settings` in place of its own.
    pub fn restart_with(mut self, settings: &[(&str, &str)]) -> Self {
        if !self.is_stopped {
            self.stop();
        }
        Self::over(self.dir, &[], settings)
    }

    /// Waits until the process has ended by itself, and returns its exit code.
    pub fn ends(&mut self) -> Option<i32> {
        self.is_stopped = true;
        wait_until("the server ends", || self.process.child.try_wait().unwrap().is_some());
        self.process.child.wait().unwrap().code()
    }

    /// Returns the number of the process that was started: the launcher's, if it does not become the server.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Does the same with its own settings.
    pub fn restart(self) -> Self {
        let settings = self.settings.clone();
        self.restart_with(&borrowed(&settings))
    }

    /// Returns the URL at which the server answers itself.
    pub fn url(&self) -> &str {
        &self.process.url
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.url().rsplit(':').next().unwrap().parse().unwrap()
    }

    /// Returns its data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Returns a folder for files of the test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns what it has written.
    pub fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        read("stdout") + &read("stderr")
    }

    /// Runs a command of the operator, with the settings of the server.
    pub fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(BINARY);
        set(command.args(args).arg("--data-dir").arg(self.data()), &borrowed(&self.settings));
        Ran::of(&mut command)
    }

    pub fn get(&self, path: &str) -> Reply {
        ask(self.url(), "GET", path, &[], &Value::Null)
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        ask(self.url(), "POST", path, &[], body)
    }

    /// Signs up `email` with [`PASSWORD`].
    pub fn sign_up(&self, email: &str) -> Reply {
        self.post("/v1/signup", &json!({"email": email, "password": PASSWORD}))
    }

    /// Logs `email` in for tokens.
    #[track_caller]
    pub fn log_in(&self, email: &str) -> Reply {
        self.post("/v1/login", &json!({"email": email, "password": PASSWORD})).is(200)
    }
}

fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(name, value)| (&**name, &**value)).collect()
}

/// Adds `settings` to the variables of `command`.
pub fn set(command: &mut Command, settings: &[(&str, &str)]) {
    for (name, value) in settings {
        let is_variable = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        let variable = || format!("PORTCULLIS__{}", name.to_uppercase().replace('.', "__"));
        command.env(if is_variable { (*name).to_owned() } else { variable() }, value);
    }
}
