//! A thread that runs an actix system, and something that lives in it.

use std::io;
use std::thread::JoinHandle;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::engine::partition::StartError;

/// The thread. What lives in it is ended in order by [`SystemThread::stop`], or when this is dropped.
pub(super) struct SystemThread {
    stop: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What ends the life in the thread, beside [`SystemThread::stop`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum EndsBy {
    /// Nothing else.
    Stop,
    /// The signals that ask a program to end: SIGINT and SIGTERM.
    Signal,
}

impl SystemThread {
    /// Runs `begin` in a system of its own. Its second value stays there until the end, and is then given to `end`. Returns the
    /// first one.
    ///
    /// Errors: those of `begin`, or the thread cannot be started.
    pub(super) async fn start<T: Send + 'static, L: 'static>(
        ends_by: EndsBy,
        begin: impl AsyncFnOnce() -> Result<(T, L), StartError> + Send + 'static,
        end: impl AsyncFnOnce(L) + Send + 'static,
    ) -> Result<(T, Self), StartError> {
        let (stop, stopped) = oneshot::channel();
        let (has_ended, ended) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel();
        let live = async move || {
            match begin().await {
                Ok((value, living)) => {
                    // If nobody waits any more, the sender of `stopped` is gone as well.
                    let _ = ready.send(Ok(value));
                    tokio::select! {
                        _ = stopped => {}
                        () = asked_to_end(), if ends_by == EndsBy::Signal => {}
                    }
                    end(living).await;
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        };
        let thread = std::thread::Builder::new().name("portcullis".into()).spawn(move || {
            actix::System::new().block_on(live());
            let _ = has_ended.send(());
        })?;
        let this = Self { stop: Some(stop), ended: Some(ended), thread: Some(thread) };
        match is_ready.await {
            Ok(started) => started.map(|value| (value, this)),
            Err(_) => Err(io::Error::other("the thread of the engine ended in a panic").into()),
        }
    }

    /// Ends what lives in the thread, and waits for the end.
    pub(super) async fn stop(mut self) {
        self.stop = None;
        self.wait().await;
    }

    /// Waits until what lives in the thread has ended.
    pub(super) async fn wait(mut self) {
        if let Some(ended) = self.ended.take() {
            // The thread is gone in either case.
            let _ = ended.await;
        }
    }
}

impl Drop for SystemThread {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) =
            self.thread.take().filter(|thread| thread.thread().id() != std::thread::current().id())
        {
            let _ = thread.join();
        }
    }
}

/// Waits for a signal that asks the program to end. Where signals cannot be watched, waits for ever.
async fn asked_to_end() {
    let watched = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = watched else {
        tracing::warn!("cannot watch for signals, so none ends the server in order");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
