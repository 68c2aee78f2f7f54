//! Background work beside requests: sending mails, taking snapshots, saving the rate limiter, looking
//! after keys, raising alerts, asking hooks, telling other programs of events. Each has
//! a thread of its own, so that its file access delays no actor.

pub mod alert;
pub mod alerts;
mod keys;
mod limiter;
mod mailer;
mod snapshots;
mod storage_watch;
mod task;
#[cfg(feature = "alert")]
pub mod webhook;
#[cfg(feature = "outbound")]
mod webhooks;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::engine::hooks::SetHooks;
use crate::engine::{Engine, hooks};
use crate::journal::context::JournalContext;
use crate::mail::transport::Transport;
use crate::registry::throttle::file::Saver;

/// The background threads.
pub struct Background {
    ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts the threads; `calls_webhooks` is false for a single command. Without a transport, mails stay in the outbox until the embedding program drains it.
    pub fn start(
        engine: &Arc<Engine>,
        context: JournalContext,
        transport: Option<Transport>,
        hooks: Option<SetHooks>,
        calls_webhooks: bool,
    ) -> std::io::Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let saver = Saver::new(context.clone());
        let mut threads = Vec::new();
        threads.push(start_thread("snapshot", engine, &ending, move |engine, ending| async move {
            snapshots::run(&engine, &context, &ending).await;
        })?);
        threads.push(start_thread("limiter", engine, &ending, move |engine, ending| async move {
            limiter::run(&engine, saver, &ending).await;
        })?);
        threads.push(start_thread("keys", engine, &ending, move |engine, ending| async move {
            keys::run(&engine, &ending).await;
        })?);
        if let Some(transport) = transport {
            threads.push(start_thread("mail", engine, &ending, move |engine, ending| async move {
                mailer::run(engine, transport, ending).await;
            })?);
        }
        threads.push(start_thread("alert", engine, &ending, move |engine, ending| async move {
            alerts::run(&engine, &ending).await;
        })?);
        if let Some(hooks) = hooks {
            let (door, questions) = hooks::open(hooks);
            threads.push(start_thread("hooks", engine, &ending, move |engine, ending| async move {
                drop(engine);
                questions.run(until(&ending)).await;
            })?);
            engine.services.set_hooks(door);
        }
        #[cfg(feature = "outbound")]
        if calls_webhooks && !engine.services.config.webhooks.is_empty() {
            threads.push(start_thread("webhooks", engine, &ending, move |engine, ending| async move {
                webhooks::run(engine, ending).await;
            })?);
        }
        #[cfg(not(feature = "outbound"))]
        let _ = calls_webhooks;
        Ok(Self { ending, threads })
    }

    /// Waits until the threads have finished their current work and taken a last snapshot.
    pub fn stop(self) {
        self.ending.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// Waits until `ending` is set.
async fn until(ending: &AtomicBool) {
    while !ending.load(Ordering::Relaxed) {
        tokio::time::sleep(task::TICK).await;
    }
}

/// Starts a thread that runs `work` on a tokio runtime of its own.
fn start_thread<F: Future<Output = ()>>(
    name: &str,
    engine: &Arc<Engine>,
    ending: &Arc<AtomicBool>,
    work: impl FnOnce(Arc<Engine>, Arc<AtomicBool>) -> F + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let engine = Arc::clone(engine);
    let ending = Arc::clone(ending);
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        runtime.block_on(work(engine, ending));
        // Do not wait for a DNS look-up that is still running.
        runtime.shutdown_background();
    })
}
