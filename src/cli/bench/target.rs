//! The server that the storm hits: a throw-away one of this binary, or a running one.

use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portcullis::password::Cost;

use super::super::Failure;

/// The server that the storm hits.
pub(super) struct Target {
    /// Its address.
    pub(super) address: SocketAddr,
    /// Its address for operators, which shows metrics.
    pub(super) operators: Option<SocketAddr>,
    own: Option<Own>,
}

/// The process and directory of a throw-away server. Dropping it ends the one and deletes the other.
struct Own {
    child: Child,
    dir: std::path::PathBuf,
}

impl Drop for Own {
    fn drop(&mut self) {
        // The directory holds only what the bench put there.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Target {
    /// Starts a throw-away server in a temporary directory, whose name contains `named`.
    pub(super) fn start(threads: usize, cost: Cost, wait_budget: Duration, named: u128) -> io::Result<Self> {
        let dir = std::env::temp_dir().join(format!("portcullis-storm-{named:032x}"));
        // Bound to find a free port, and closed again: the system does not hand it out again that soon.
        let operators = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let setting = |command: &mut Command, key: &str, value: &str| {
            command.env(format!("PORTCULLIS__{}", key.replace('.', "__").to_uppercase()), value);
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg("--data-dir").arg(&dir);
        for (key, value) in [
            ("http.listen", "127.0.0.1:0"),
            ("http.trusted_proxies", "127.0.0.0/8"),
            ("signup.verify_email", "off"),
            ("mail.console", "false"),
            ("admin.listen", &operators.to_string()),
            ("password.threads", &threads.to_string()),
            ("password.memory_kib", &cost.memory_kib.to_string()),
            ("password.passes", &cost.passes.to_string()),
            ("password.lanes", &cost.lanes.to_string()),
            ("password.wait_budget_ms", &wait_budget.as_millis().to_string()),
        ] {
            setting(&mut command, key, value);
        }
        command.env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut own = Own { child: command.spawn()?, dir };
        let out = own.child.stdout.take().ok_or_else(|| io::Error::other("the server has no output"))?;
        let mut lines = BufReader::new(out).lines();
        let ready = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, address) = line.split_once("ready on ")?;
            address.split('"').next()?.trim().parse().ok()
        });
        let address = ready.ok_or_else(|| io::Error::other("the server did not start"))?;
        // Keep reading: a full pipe would block the server.
        std::thread::Builder::new()
            .name("storm-out".into())
            .spawn(move || lines.map_while(Result::ok).for_each(drop))?;
        Ok(Self { address, operators: Some(operators), own: Some(own) })
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
