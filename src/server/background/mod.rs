//! What goes on beside requests: mails leave, snapshots are taken, the limiter is saved. A thread each, so that no file holds up an actor.

pub mod alerts;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::engine::Engine;
use crate::journal::context::JournalContext;
use crate::mail::transport::Transport;
use crate::registry::throttle::file::Saver;

mod limiter;
mod mailer;
mod snapshots;

/// How often a task looks for work.
const TICK: Duration = Duration::from_millis(100);
/// Any error of a background task.
type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The threads.
pub struct Background {
    ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts them. Without a transport mails wait for [`Engine`]'s owner to drain them.
    pub fn start(
        engine: &Arc<Engine>,
        life: JournalContext,
        transport: Option<Transport>,
    ) -> std::io::Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let saver = Saver::new(life.clone());
        let mut threads = vec![worker("snapshot", engine, &ending, move |engine, ending| async move {
            snapshots::run(&engine, &life, &ending).await;
        })?];
        threads.push(worker("limiter", engine, &ending, move |engine, ending| async move {
            limiter::run(&engine, saver, &ending).await;
        })?);
        if let Some(transport) = transport {
            threads.push(worker("mail", engine, &ending, move |engine, ending| async move {
                mailer::run(&engine, &transport, &ending).await;
            })?);
        }
        threads.push(worker("alert", engine, &ending, move |engine, ending| async move {
            alerts::run(&engine, &ending).await;
        })?);
        Ok(Self { ending, threads })
    }

    /// Lets them finish what they are at, and a last snapshot be taken.
    pub fn stop(self) {
        self.ending.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

fn worker<F: Future<Output = ()>>(
    name: &str,
    engine: &Arc<Engine>,
    ending: &Arc<AtomicBool>,
    work: impl FnOnce(Arc<Engine>, Arc<AtomicBool>) -> F + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (engine, ending) = (Arc::clone(engine), Arc::clone(ending));
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        runtime.block_on(work(engine, ending));
        // A name that is still being looked up must not keep the thread.
        runtime.shutdown_background();
    })
}
