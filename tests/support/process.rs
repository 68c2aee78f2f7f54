//! Runs the real binary: a server in a process of its own, and single commands.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::links::token_in;
use super::{PASSWORD, wait_until};

/// Path of the binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");

/// A running server and the URL at which it answers. Dropping it kills the process, so a failed test leaves none
/// behind.
pub struct Process {
    pub child: Child,
    pub url: String,
}

impl Process {
    /// Starts `portcullis serve` over the data directory `dir`.
    pub fn start(dir: &Path) -> Self {
        Self::spawn(serve(dir))
    }

    /// Runs `command`, which must end up as `portcullis serve`, with cheap passwords and no rate limit for this
    /// machine. Variables that `command` sets itself win.
    pub fn spawn(command: Command) -> Self {
        Self::spawn_with(command, Stdio::inherit())
    }

    /// Does the same as [`Process::spawn`], and writes standard error to `stderr`.
    pub fn spawn_with(mut command: Command, stderr: Stdio) -> Self {
        let mut child = cheap(&mut command).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let address = stdout.lines().map_while(Result::ok).find_map(|line| address_in(&line));
        Self { url: format!("http://{}", address.expect("the server did not start")), child }
    }

    /// Does the same as [`Process::spawn`], and writes standard output to the file `stdout` and standard error to the
    /// file `stderr`.
    pub fn spawn_into(mut command: Command, stdout: &Path, stderr: &Path) -> Self {
        let file = |path| Stdio::from(std::fs::File::create(path).unwrap());
        let child = cheap(&mut command).stdout(file(stdout)).stderr(file(stderr)).spawn().unwrap();
        let mut process = Self { child, url: String::new() };
        for _ in 0..200 {
            let text = std::fs::read_to_string(stdout).unwrap();
            if let Some(address) = text.lines().find_map(address_in) {
                process.url = format!("http://{address}");
                return process;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server did not start");
    }

    /// Returns the memory that the process holds, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Ends the process with SIGKILL and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the process to stop with SIGTERM and returns its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(asked.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Adds settings that make a server cheap to run, where `command` does not set them itself.
fn cheap(command: &mut Command) -> &mut Command {
    let settings = [
        ("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0"),
        ("PORTCULLIS__PASSWORD__MEMORY_KIB", "64"),
        ("PORTCULLIS__PASSWORD__PASSES", "1"),
        ("PORTCULLIS__SIGNUP__VERIFY_EMAIL", "off"),
        ("PORTCULLIS__THROTTLE__EXEMPT_NETWORKS", "127.0.0.0/8"),
        ("PORTCULLIS__THROTTLE__CELLS", "1000"),
        // A token whose answer was lost is presented again after the next start, however slow the machine is.
        ("PORTCULLIS__REFRESH__GRACE_SECS", "300"),
        // A lockout must not end before the name is tried again, however slow the machine is.
        ("PORTCULLIS__LOCKOUT__FIRST_LOCK_SECS", "3600"),
        ("PORTCULLIS__JOURNAL__SEGMENT_BYTES", "4194304"),
        ("PORTCULLIS__JOURNAL__SNAPSHOT_BYTES", "1048576"),
        ("RUST_LOG", "error"),
    ];
    for (name, value) in settings {
        if command.get_envs().all(|(set, _)| set != name) {
            command.env(name, value);
        }
    }
    command
}

/// Returns the address in the line by which a server says that it is ready: a line of text, or one of JSON.
pub fn address_in(line: &str) -> Option<String> {
    let (_, address) = line.split_once("ready on ")?;
    Some(address.split('"').next()?.trim().to_owned())
}

/// Returns the command `portcullis serve` over the data directory `dir`.
pub fn serve(dir: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["serve", "--data-dir"]).arg(dir).env("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0");
    command
}

/// What a finished command left: its exit code and both output streams, one after the other.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub text: String,
}

impl Ran {
    /// Runs `command` to its end. It would bind a free port if it served.
    pub fn of(command: &mut Command) -> Self {
        let output = command.env("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0").output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        Self { code: output.status.code().unwrap(), text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.text);
        self
    }

    /// Asserts that the output contains `part`.
    #[track_caller]
    pub fn says(self, part: &str) -> Self {
        assert!(self.text.contains(part), "no {part:?} in: {}", self.text);
        self
    }

    /// Asserts that the output does not contain `part`.
    #[track_caller]
    pub fn does_not_say(self, part: &str) -> Self {
        assert!(!self.text.contains(part), "{part:?} in: {}", self.text);
        self
    }
}

/// Runs the binary with `args` and the data directory `dir`.
pub fn run(args: &[&str], dir: &Path) -> Ran {
    Ran::of(Command::new(BINARY).args(args).arg("--data-dir").arg(dir))
}

/// Posts `body` and returns status and body of the answer; `None` if the server went away before it answered in full.
pub async fn post(http: &reqwest::Client, url: &str, path: &str, body: Value) -> Option<(u16, Value)> {
    let response = http.post(format!("{url}{path}")).json(&body).send().await.ok()?;
    let status = response.status().as_u16();
    let bytes = response.bytes().await.ok()?;
    Some((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
}

/// Signs up `email` with [`PASSWORD`].
pub async fn sign_up(http: &reqwest::Client, url: &str, email: &str) -> Option<(u16, Value)> {
    post(http, url, "/v1/signup", json!({"email": email, "password": PASSWORD})).await
}

/// Logs `email` in with `password` and returns the status.
pub async fn log_in(http: &reqwest::Client, url: &str, email: &str, password: &str) -> u16 {
    post(http, url, "/v1/login", json!({"email": email, "password": password})).await.unwrap().0
}

/// Waits for a mail in the directory `outbox` that links to `page`, and returns the token of the link.
pub async fn mailed_token(outbox: &Path, page: &str) -> String {
    let mark = format!("/{page}#token=");
    let find = || {
        let mails = std::fs::read_dir(outbox).into_iter().flatten();
        let texts = mails.map(|mail| std::fs::read_to_string(mail.unwrap().path()).unwrap_or_default());
        let mut links = texts.filter_map(|text| text.find(&mark).map(|at| token_in(&text[at..])));
        links.next()
    };
    wait_until(&format!("a mail links to {page}"), async || find().is_some()).await;
    find().unwrap()
}

/// Reports a skipped test on standard error. It bypasses the harness, which hides what a passing test prints.
pub fn skipped(name: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {why}");
}
