//! Hashing in this process: how much the machine can do, with and without other work on its cores.

use std::time::Duration;

use portcullis::password::Cost;
use portcullis::password::argon2id::{Choice, Implementation};
use portcullis::system::clock::Clock;
use portcullis::system::scheduling::{BackgroundPolicy, background};

/// Threads that hash for some time, each with memory of its own, like the threads of the server.
#[derive(Clone)]
pub(super) struct Hashing {
    pub(super) clock: Clock,
    /// How many threads hash.
    pub(super) threads: usize,
    /// The cost of one hash.
    pub(super) cost: Cost,
}

impl Hashing {
    /// Returns the hashes per second while nothing else runs. Takes two seconds.
    pub(super) fn alone(&self) -> f64 {
        self.rate(Duration::from_secs(2), || {})
    }

    /// Returns the hashes per second over `time` from threads of the lowest priority, like those of the server: they
    /// get only the time that other work leaves.
    pub(super) fn beside(&self, time: Duration) -> f64 {
        self.rate(time, || drop(background(BackgroundPolicy::Idle)))
    }

    fn rate(&self, time: Duration, give_way: fn()) -> f64 {
        let end = self.clock.steady() + time;
        let one = move |clock: Clock, cost| {
            let (mut implementation, _) = Implementation::choose(Choice::Auto);
            give_way();
            let mut out = [0; 32];
            let begin = clock.steady();
            let mut count = 0_u32;
            while clock.steady() < end {
                if implementation.fill(cost, b"raw", &[1; 16], &mut out).is_err() {
                    break;
                }
                count += 1;
            }
            f64::from(count) / clock.steady().duration_since(begin).as_secs_f64()
        };
        let start = |_| {
            let clock = self.clock.clone();
            let cost = self.cost;
            std::thread::spawn(move || one(clock, cost))
        };
        let threads: Vec<_> = (0..self.threads).map(start).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).sum()
    }
}
