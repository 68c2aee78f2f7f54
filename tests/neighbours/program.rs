//! A neighbour as a process.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a test waits for a neighbour before it fails.
const PATIENCE: Duration = Duration::from_mins(2);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// A program in a process group of its own. Dropping it ends the whole group, and shows what it has written if the test
/// has failed.
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `command`, which writes both its outputs to the file `log`.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let file = File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log: log.to_owned() }
    }

    /// Waits until the program accepts connections at `port`.
    pub fn listens_at(mut self, port: u16) -> Self {
        let accepts = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        wait_until("the program listens", || {
            assert!(!self.has_ended(), "the program has ended: {}", self.said());
            accepts()
        });
        self
    }

    /// Waits until the program has ended by itself.
    pub fn ends(&mut self) -> ExitStatus {
        wait_until("the program ends", || self.has_ended());
        self.child.wait().unwrap()
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Says whether the program still runs.
    pub fn runs(&mut self) -> bool {
        !self.has_ended()
    }

    /// Returns what the program has written.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn signal_group(&self, signal: Signal) -> bool {
        kill_process_group(Pid::from_child(&self.child), signal).is_ok()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.signal_group(Signal::TERM);
        // Programs that have left the group, as a browser does, are ended by their parent.
        for _ in 0..250 {
            if self.has_ended() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        self.signal_group(Signal::KILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- {} ----\n{}", self.log.display(), self.said());
        }
    }
}

/// Returns a port of 127.0.0.1 that is free, and that no other call returns. The kernel gives it to nobody meanwhile: it lies below
/// those that connections get.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        // Two runs of the tests at once begin at different ports.
        let port =
            12_000 + (NEXT.fetch_add(1, Ordering::Relaxed) + (std::process::id() % 64) as u16 * 300) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until `is_so` says yes. `what` ends the sentence "waited in vain until …".
#[track_caller]
pub fn wait_until(what: &str, is_so: impl FnMut() -> bool) {
    assert!(is_so_within(PATIENCE, is_so), "waited in vain until {what}");
}

/// Returns whether `is_so` says yes within `patience`.
pub fn is_so_within(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    for _ in 0..patience.as_millis() / PAUSE.as_millis() {
        if is_so() {
            return true;
        }
        std::thread::sleep(PAUSE);
    }
    false
}

/// Runs `command` to its end, asserts that it succeeds, and returns what it wrote to standard output.
#[track_caller]
pub fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {} {}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
