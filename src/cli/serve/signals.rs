//! The signals of a server, watched on a thread of their own: it answers while another thread recovers a directory or
//! waits for a disk.
//!
//! ```text
//!              SIGTERM, SIGINT, SIGQUIT
//!   starting ─────────────────────────────▶ the process ends with 0: recovery may be cut anywhere
//!      │ started
//!      ▼
//!   serving ──────────────────────────────▶ stopping ──── once more ────▶ the process ends with 1
//!
//!   SIGHUP, SIGUSR1, SIGUSR2: a line in the log, and nothing else
//! ```
//!
//! Handlers stand before anything else is done. A process that is PID 1 of a container does not even get a signal for
//! which it has none.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::cli::log::ProcessLog;

/// How long a process that ends at once may take for its last lines.
const END_WITHIN: Duration = Duration::from_secs(3);

/// How often a server without a parent looks whether its start is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a signal to stop means now.
enum Phase {
    Starting(Option<Arc<ProcessLog>>),
    Serving { log: Arc<ProcessLog>, stop: oneshot::Sender<&'static str> },
    Stopping(Arc<ProcessLog>),
}

/// The thread that watches signals, and what it does with one.
pub(super) struct Signals(Arc<Mutex<Phase>>);

impl Signals {
    /// Installs the handlers and starts the thread. Once this returns, no signal ends the process by itself.
    pub(super) fn watch() -> io::Result<Self> {
        let phase = Arc::new(Mutex::new(Phase::Starting(None)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let mut listener = {
            let _inside = runtime.enter();
            Listener::new()?
        };
        let watched = Arc::clone(&phase);
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                loop {
                    match listener.next().await {
                        (name, Wish::Stop) => take(&watched, name),
                        (name, Wish::Nothing) => pass_over(name),
                    }
                }
            });
        })?;
        Ok(Self(phase))
    }

    /// Stops the server when standard input ends, as it does when the process that started this one has ended, however that
    /// happened. A start is not cut: it would leave files behind.
    pub(super) fn stop_without_parent(&self) -> io::Result<()> {
        let watched = Arc::clone(&self.0);
        std::thread::Builder::new().name("parent".into()).spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            while matches!(&*watched.lock(), Phase::Starting(_)) {
                std::thread::sleep(LOOK_EVERY);
            }
            take(&watched, "the end of its parent");
        })?;
        Ok(())
    }

    /// Hands over the log, for the last line of a start that is cut.
    pub(super) fn log_to(&self, log: &Arc<ProcessLog>) {
        *self.0.lock() = Phase::Starting(Some(Arc::clone(log)));
    }

    /// Says that the server serves. The answer resolves to the name of the signal that asks it to stop.
    pub(super) fn started(&self, log: &Arc<ProcessLog>) -> oneshot::Receiver<&'static str> {
        let (stop, stopped) = oneshot::channel();
        *self.0.lock() = Phase::Serving { log: Arc::clone(log), stop };
        stopped
    }
}

/// What whoever sent a signal wishes.
#[derive(Clone, Copy)]
enum Wish {
    Stop,
    Nothing,
}

/// The handlers of every signal that would end the process.
struct Listener {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user_1: Signal,
    user_2: Signal,
}

impl Listener {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> (&'static str, Wish) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", Wish::Stop),
            _ = self.interrupt.recv() => ("SIGINT", Wish::Stop),
            _ = self.quit.recv() => ("SIGQUIT", Wish::Stop),
            _ = self.hangup.recv() => ("SIGHUP", Wish::Nothing),
            _ = self.user_1.recv() => ("SIGUSR1", Wish::Nothing),
            _ = self.user_2.recv() => ("SIGUSR2", Wish::Nothing),
        }
    }
}

fn pass_over(name: &str) {
    tracing::warn!(
        "received {name}, and passed it over: nothing is read again while the server runs; restart it to change settings"
    );
}

/// Begins the stop for which the signal `name` asks, or ends the process if there is nothing to wait for.
fn take(phase: &Mutex<Phase>, name: &'static str) {
    let mut now = phase.lock();
    let log = match &*now {
        Phase::Starting(log) => log.clone(),
        Phase::Serving { log, .. } | Phase::Stopping(log) => Some(Arc::clone(log)),
    };
    match std::mem::replace(&mut *now, Phase::Starting(None)) {
        Phase::Starting(_) => {
            tracing::info!("received {name} during the start: stopped; the next start begins anew");
            end_process(log.as_deref(), 0);
        }
        Phase::Stopping(_) => {
            tracing::warn!("received {name} again: ending at once, without finishing what is open");
            end_process(log.as_deref(), 1);
        }
        Phase::Serving { log, stop } => {
            *now = Phase::Stopping(log);
            // Nobody waits if the server has ended by itself meanwhile.
            let _ = stop.send(name);
        }
    }
}

/// Ends the process after the last lines of its log. Every answer that was given is durable, so nothing is lost.
fn end_process(log: Option<&ProcessLog>, code: i32) -> ! {
    // Whoever reads the lines may have stopped reading; the process must end nevertheless.
    let _ = std::thread::Builder::new().name("watchdog".into()).spawn(move || {
        std::thread::sleep(END_WITHIN);
        super::abort();
    });
    if let Some(log) = log {
        log.end();
    }
    std::process::exit(code)
}
