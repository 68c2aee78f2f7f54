//! Sleeps with a precision of some ten microseconds. The runtime's timers have one of a millisecond, which is as long
//! as a whole answer takes.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::mpsc as to_tasks;

/// A thread that sleeps for one task. It ends when the timer is dropped.
pub(super) struct Timer {
    requests: mpsc::Sender<Duration>,
    wake_ups: to_tasks::UnboundedReceiver<()>,
}

impl Timer {
    pub(super) fn start() -> io::Result<Self> {
        let (requests, times) = mpsc::channel::<Duration>();
        let (wake, wake_ups) = to_tasks::unbounded_channel();
        std::thread::Builder::new().name("storm-timer".into()).spawn(move || {
            for time in times {
                std::thread::sleep(time);
                if wake.send(()).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { requests, wake_ups })
    }

    /// Sleeps for `time`, or a little longer.
    pub(super) async fn sleep(&mut self, time: Duration) -> io::Result<()> {
        let ended = || io::Error::other("the timer thread has ended");
        self.requests.send(time).map_err(|_| ended())?;
        self.wake_ups.recv().await.ok_or_else(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_sleeps_repeatedly_and_never_too_short() {
        let mut timer = Timer::start().unwrap();
        let clock = portcullis::system::clock::Clock::system();
        for time in [0, 1, 300, 0, 1_700].map(Duration::from_micros) {
            let begin = clock.steady();
            timer.sleep(time).await.unwrap();
            assert!(clock.steady().duration_since(begin) >= time);
        }
    }
}
