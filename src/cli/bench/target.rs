//! The server that the storm hits: a throw-away one of this binary, or a running one.

use std::fs::DirBuilder;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portcullis::password::Cost;
use portcullis::system::file_error;
use portcullis::system::random::Random;
use portcullis::value::id::hex;
use serde_json::Value;

use super::super::Failure;

/// How the names of variables begin that set something.
const PREFIX: &str = "PORTCULLIS__";

/// The server that the storm hits.
pub(super) struct Target {
    /// Its address.
    pub(super) address: SocketAddr,
    /// Its address for operators, which shows metrics.
    pub(super) operators: Option<SocketAddr>,
    own: Option<Own>,
}

/// A throw-away server. Dropping it ends the process, then deletes the directory.
///
/// If this process is killed first, the server does both itself: its standard input ends.
struct Own {
    child: Child,
    _dir: ThrowAwayDir,
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A new directory with a random name and mode 0700. Deleted when this is dropped.
struct ThrowAwayDir(PathBuf);

impl ThrowAwayDir {
    /// Errors: there is something of that name already, a symbolic link included.
    fn create() -> io::Result<Self> {
        let name: [u8; 16] = Random::system().bytes().map_err(io::Error::other)?;
        let dir = std::env::temp_dir().join(format!("portcullis-storm-{}", hex(&name)));
        DirBuilder::new().mode(0o700).create(&dir).map_err(file_error::at_dir(&dir))?;
        Ok(Self(dir))
    }
}

impl Drop for ThrowAwayDir {
    fn drop(&mut self) {
        // It holds only what the server has put there.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Target {
    /// Starts a throw-away server in a directory of its own. No setting of this process's environment reaches it, so that
    /// it never uses the keys or files of another server.
    pub(super) fn start(threads: usize, cost: Cost, wait_budget: Duration) -> io::Result<Self> {
        let dir = ThrowAwayDir::create()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--throw-away", "--data-dir"]).arg(&dir.0);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                command.env_remove(name);
            }
        }
        for (key, value) in [
            ("http.listen", "127.0.0.1:0"),
            ("http.trusted_proxies", "127.0.0.0/8"),
            ("signup.verify_email", "off"),
            ("mail.console", "false"),
            ("admin.listen", "127.0.0.1:0"),
            ("log.format", "json"),
            ("password.threads", &threads.to_string()),
            ("password.memory_kib", &cost.memory_kib.to_string()),
            ("password.passes", &cost.passes.to_string()),
            ("password.lanes", &cost.lanes.to_string()),
            ("password.wait_budget_ms", &wait_budget.as_millis().to_string()),
        ] {
            command.env(format!("{PREFIX}{}", key.replace('.', "__").to_uppercase()), value);
        }
        command.env("RUST_LOG", "warn").stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C on the terminal is for this process. The server ends with it, in order.
        command.process_group(0);
        let mut own = Own { child: command.spawn()?, _dir: dir };
        let out = own.child.stdout.take().ok_or_else(|| io::Error::other("the server has no output"))?;
        let mut lines = BufReader::new(out).lines();
        let ready = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let said: Value = serde_json::from_str(&line).ok()?;
            let address = said.get("message")?.as_str()?.strip_prefix("ready on ")?.parse().ok()?;
            Some((address, said.get("operators").and_then(Value::as_str).and_then(|at| at.parse().ok())))
        });
        let (address, operators) = ready.ok_or_else(|| io::Error::other("the server did not start"))?;
        // Keep reading: a full pipe would block the server.
        std::thread::Builder::new()
            .name("storm-out".into())
            .spawn(move || lines.map_while(Result::ok).for_each(drop))?;
        Ok(Self { address, operators, own: Some(own) })
    }

    /// Returns the running server at `url`. A host other than this machine must be repeated in `allowed_host`.
    pub(super) fn named(url: &str, allowed_host: Option<&str>) -> Result<Self, Failure> {
        let rest =
            url.strip_prefix("http://").ok_or_else(|| Failure::usage("--target must be http://host:port"))?;
        let authority = rest.split('/').next().unwrap_or_default();
        let with_port =
            if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        let host = with_port.rsplit_once(':').map_or("", |(host, _)| host);
        let address = with_port.to_socket_addrs().map_err(Failure::usage)?.next();
        let address = address.ok_or_else(|| Failure::usage(format!("{host} has no address")))?;
        if !address.ip().is_loopback() && allowed_host != Some(host) {
            return Err(Failure::usage(format!(
                "{host} is not this machine, and a storm also hits others on the same network. If the host is yours, \
                 confirm with --allow-host {host}"
            )));
        }
        Ok(Self { address, operators: None, own: None })
    }

    /// Returns the KiB of memory that a throw-away server holds.
    pub(super) fn resident_kib(&self) -> Option<u64> {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.own.as_ref()?.child.id())).ok()?;
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next()?.parse().ok())
    }
}
