//! Passwords that are typed at the terminal, without an echo.
//!
//! A process that a signal ends leaves its terminal as it is: without an echo, the next command line is invisible. So the
//! signals are watched from before the echo goes until the process ends. The watcher puts the terminal back, and the
//! process dies by the signal that came, so that a script of a shell ends with it.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use zeroize::Zeroizing;

/// The device of the terminal, also where standard input or output is another one.
const DEVICE: &str = "/dev/tty";
/// Maximum length of a line, as the kernel bounds it.
const LINE_BYTES_MAX: usize = 4096;

/// The terminal without an echo. Dropping it brings the echo back.
pub(super) struct Terminal(Arc<Silenced>);

struct Silenced {
    device: File,
    before: Termios,
}

impl Silenced {
    fn restore(&self) {
        // Where the terminal is gone, there is nothing to put back.
        let _ = tcsetattr(&self.device, OptionalActions::Now, &self.before);
    }
}

impl Terminal {
    /// Opens the terminal and switches its echo off. What was typed before is dropped, since it was shown.
    pub(super) fn open() -> io::Result<Self> {
        let device = File::options().read(true).write(true).open(DEVICE)?;
        let before = tcgetattr(&device)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        // Lines, with the keys that mend them and those that send a signal. The end of a line is shown.
        silent.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG | LocalModes::ECHONL);
        // Suspended, it would leave the shell without an echo. 0 is the value of no key.
        silent.special_codes[SpecialCodeIndex::VSUSP] = 0;
        let terminal = Self(Arc::new(Silenced { device, before }));
        watch(Arc::clone(&terminal.0))?;
        tcsetattr(&terminal.0.device, OptionalActions::Flush, &silent)?;
        Ok(terminal)
    }

    /// Shows `prompt` and returns the line that is typed, without its line end.
    pub(super) fn ask(&self, prompt: &str) -> io::Result<Zeroizing<String>> {
        let mut device = &self.0.device;
        device.write_all(prompt.as_bytes())?;
        let mut line = Zeroizing::new(Vec::with_capacity(LINE_BYTES_MAX));
        let mut read = Zeroizing::new([0; LINE_BYTES_MAX]);
        while line.last() != Some(&b'\n') {
            let count = match device.read(&mut *read) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                count => count?,
            };
            let room = LINE_BYTES_MAX - line.len();
            let part = read.get(..count).unwrap_or_default();
            if count == 0 || count > room {
                let what = if count == 0 { "no password was typed" } else { "the line is too long" };
                return Err(io::Error::new(ErrorKind::UnexpectedEof, what));
            }
            line.extend_from_slice(part);
        }
        line.pop();
        let text = std::str::from_utf8(&line).map_err(|_| io::Error::other("what was typed is not UTF-8"))?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.0.restore();
    }
}

/// Watches the signals that end a process, on a thread of its own. One that comes puts `terminal` back, and ends the
/// process as it would have without this.
fn watch(terminal: Arc<Silenced>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let kind = runtime.block_on(signals.next());
        terminal.restore();
        let number = kind.as_raw_value();
        let _ = signal_hook::low_level::emulate_default_handler(number);
        // Where the signal could not be sent: the exit code by which shells name it.
        std::process::exit(128 + number);
    })?;
    Ok(())
}

/// The signals that end a process from its terminal.
struct Signals {
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.quit.recv() => SignalKind::quit(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hangup.recv() => SignalKind::hangup(),
        }
    }
}
