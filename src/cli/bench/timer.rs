//! Waits to some ten microseconds: the timers of the runtime know milliseconds, which is as long as a whole answer takes.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::mpsc as to_tasks;

/// A thread that sleeps for one waiter. It ends with its owner.
pub(super) struct Timer {
    sleeps: mpsc::Sender<Duration>,
    over: to_tasks::UnboundedReceiver<()>,
}

impl Timer {
    pub(super) fn start() -> io::Result<Self> {
        let (sleeps, asked) = mpsc::channel::<Duration>();
        let (wake, over) = to_tasks::unbounded_channel();
        std::thread::Builder::new().name("storm-timer".into()).spawn(move || {
            for time in asked {
                std::thread::sleep(time);
                if wake.send(()).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { sleeps, over })
    }

    /// Waits for so long.
    pub(super) async fn sleep(&mut self, time: Duration) -> io::Result<()> {
        let ended = || io::Error::other("the thread that keeps the time has ended");
        self.sleeps.send(time).map_err(|_| ended())?;
        self.over.recv().await.ok_or_else(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_waits_again_and_again_and_never_less_than_it_was_told() {
        let mut timer = Timer::start().unwrap();
        let clock = portcullis::system::clock::Clock::system();
        for time in [0, 1, 300, 0, 1_700].map(Duration::from_micros) {
            let begin = clock.steady();
            timer.sleep(time).await.unwrap();
            assert!(clock.steady().duration_since(begin) >= time);
        }
    }
}
