//! The two queues in front of the hashing threads: passwords to hash, and passwords to judge without a hash. Each is a
//! [`Scheduler`] with lanes, turns and budget. It knows no thread, clock or lock.
//!
//! A judgement takes a fraction of a hash. In one queue either would be mispredicted: a hundred judgements would count
//! as a hundred hashes, or log-ins would wait behind judgements that anybody may ask for.
//!
//! Invariant: while both queues are busy, judgements take an eighth of the threads' time, and hashes the rest.

use std::time::Duration;

use super::job::QueueKey;
use super::lane::Lane;
use super::schedule::{Admitted, Full, Scheduler, Ticket};

/// The part of the threads' time for judgements while passwords wait to be hashed: one of so many.
const CHECK_SHARE: u32 = 8;

/// Which queue a job waits in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Queue {
    /// Passwords to hash, or to check against a hash.
    Hashes,
    /// Passwords to judge.
    Checks,
}

/// The times that jobs take on one thread.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// A hash.
    pub hash: Duration,
    /// A judgement.
    pub check: Duration,
}

/// The result of asking for work.
#[derive(Debug)]
pub struct Next<J> {
    /// The job to run, with its queue, its lane and how long it has waited.
    pub run: Option<(Queue, Lane, Duration, J)>,
    /// Jobs removed because they waited longer than the budget.
    pub expired: Vec<J>,
}

/// Both queues.
#[derive(Debug)]
pub struct Queues<J> {
    hashes: Scheduler<J>,
    checks: Scheduler<J>,
    /// Virtual time at which each queue is served next: the time it has used, divided by its share.
    hashes_pass: Duration,
    checks_pass: Duration,
}

impl<J> Queues<J> {
    /// Returns empty queues for `threads` threads, in which a job may wait for `budget`.
    pub fn new(threads: usize, budget: Duration) -> Self {
        Self {
            hashes: Scheduler::new(threads, budget),
            checks: Scheduler::new(threads, budget),
            hashes_pass: Duration::ZERO,
            checks_pass: Duration::ZERO,
        }
    }

    /// Returns the number of jobs in each lane of `queue`.
    pub fn waiting(&self, queue: Queue) -> [(Lane, usize); 3] {
        match queue {
            Queue::Hashes => self.hashes.waiting(),
            Queue::Checks => self.checks.waiting(),
        }
    }

    fn is_busy(&self, queue: Queue) -> bool {
        self.waiting(queue).iter().any(|(_, waiting)| *waiting > 0)
    }

    /// Returns the time after which a thread has done one more job of `queue`, with the share that the other queue takes
    /// meanwhile. For judgements the other one counts as busy, since log-ins must not wait for them.
    fn time(&self, queue: Queue, times: Times) -> Duration {
        match queue {
            Queue::Hashes if self.is_busy(Queue::Checks) => times.hash * CHECK_SHARE / (CHECK_SHARE - 1),
            Queue::Hashes => times.hash,
            Queue::Checks => times.check * CHECK_SHARE,
        }
    }

    /// Says whether a password to be hashed would be admitted now.
    pub fn has_room(&self, key: QueueKey, times: Times) -> Result<(), Full> {
        self.hashes.has_room(key, self.time(Queue::Hashes, times))
    }

    /// Queues a job like [`Scheduler::admit`].
    pub fn admit(
        &mut self,
        queue: Queue,
        key: QueueKey,
        job: J,
        times: Times,
        now: Duration,
    ) -> Result<Admitted<J>, (Full, J)> {
        let time = self.time(queue, times);
        if !self.is_busy(queue) {
            // An idle queue gains no credit.
            let (own, other) = match queue {
                Queue::Hashes => (&mut self.hashes_pass, self.checks_pass),
                Queue::Checks => (&mut self.checks_pass, self.hashes_pass),
            };
            *own = other.max(*own);
        }
        match queue {
            Queue::Hashes => self.hashes.admit(key, job, time, now),
            Queue::Checks => self.checks.admit(key, job, time, now),
        }
    }

    /// Takes a job out of `queue` like [`Scheduler::withdraw`].
    pub fn withdraw(&mut self, queue: Queue, ticket: Ticket) -> Option<J> {
        match queue {
            Queue::Hashes => self.hashes.withdraw(ticket),
            Queue::Checks => self.checks.withdraw(ticket),
        }
    }

    /// Removes the next job to run, and jobs that have waited too long.
    pub fn next(&mut self, times: Times, now: Duration) -> Next<J> {
        let mut expired = Vec::new();
        let order = if self.checks_pass <= self.hashes_pass {
            [Queue::Checks, Queue::Hashes]
        } else {
            [Queue::Hashes, Queue::Checks]
        };
        for queue in order.into_iter().filter(|queue| self.is_busy(*queue)).collect::<Vec<_>>() {
            let time = self.time(queue, times);
            let next = match queue {
                Queue::Hashes => self.hashes.next(time, now),
                Queue::Checks => self.checks.next(time, now),
            };
            expired.extend(next.expired);
            if let Some((lane, waited, job)) = next.run {
                match queue {
                    Queue::Hashes => self.hashes_pass += times.hash * CHECK_SHARE / (CHECK_SHARE - 1),
                    Queue::Checks => self.checks_pass += times.check * CHECK_SHARE,
                }
                return Next { run: Some((queue, lane, waited, job)), expired };
            }
        }
        Next { run: None, expired }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { hash: Duration::from_millis(14), check: Duration::from_millis(1) };
    const BUDGET: Duration = Duration::from_secs(2);

    fn key(network: u32) -> QueueKey {
        let network = std::net::Ipv4Addr::from(network << 8);
        QueueKey::new(Lane::Quiet, ipnet::IpNet::new(network.into(), 24).unwrap())
    }

    fn fill(queues: &mut Queues<u32>, queue: Queue, of: u32, jobs: u32) -> u32 {
        let admit = |_: &u32| queues.admit(queue, key(of), of, TIMES, Duration::ZERO).is_ok();
        (0..jobs).filter(admit).count() as u32
    }

    #[test]
    fn judgements_take_an_eighth_of_the_time_while_hashes_wait() {
        let mut queues = Queues::new(2, BUDGET);
        fill(&mut queues, Queue::Hashes, 1, 100);
        fill(&mut queues, Queue::Checks, 2, 400);
        let mut took = [Duration::ZERO; 2];
        for _ in 0..150 {
            match queues.next(TIMES, Duration::ZERO).run.unwrap().0 {
                Queue::Hashes => took[0] += TIMES.hash,
                Queue::Checks => took[1] += TIMES.check,
            }
        }
        assert!(took[1] * 7 >= took[0] && took[1] * 7 <= took[0] + TIMES.hash * 2, "{took:?}");
    }

    #[test]
    fn either_queue_has_all_threads_while_the_other_is_empty_and_gains_no_credit() {
        let mut queues = Queues::new(2, BUDGET);
        fill(&mut queues, Queue::Checks, 1, 100);
        (0..100).for_each(|_| assert_eq!(queues.next(TIMES, Duration::ZERO).run.unwrap().0, Queue::Checks));
        assert!(queues.next(TIMES, Duration::ZERO).run.is_none());
        fill(&mut queues, Queue::Hashes, 1, 50);
        (0..20).for_each(|_| assert_eq!(queues.next(TIMES, Duration::ZERO).run.unwrap().0, Queue::Hashes));
        fill(&mut queues, Queue::Checks, 1, 100);
        let of_checks = |queues: &mut Queues<u32>| {
            let next = |_: &u32| queues.next(TIMES, Duration::ZERO).run.unwrap().0 == Queue::Checks;
            (0..9).filter(next).count()
        };
        // Two milliseconds for every hash of fourteen.
        assert!((4..=7).contains(&of_checks(&mut queues)));
    }

    #[test]
    fn a_flood_of_judgements_takes_places_from_judgements_alone() {
        let mut queues = Queues::new(2, BUDGET);
        // 2 s of two threads, of which an eighth is for judgements of 1 ms.
        assert_eq!(fill(&mut queues, Queue::Checks, 1, 10_000), 501);
        assert!(queues.has_room(key(1), TIMES).is_ok());
        // 2 s of two threads, of which seven eighths are for hashes of 14 ms.
        assert_eq!(fill(&mut queues, Queue::Hashes, 2, 10_000), 251);
        // Another network is judged all the same.
        let admitted = queues.admit(Queue::Checks, key(3), 3, TIMES, Duration::ZERO).unwrap();
        assert_eq!(admitted.displaced, Some(1));
        assert_eq!(queues.withdraw(Queue::Checks, admitted.ticket), Some(3));
        let next = queues.next(TIMES, BUDGET * 2);
        assert!(next.run.is_none());
        assert_eq!(next.expired.len(), 751);
    }
}
