//! The order in which passwords are checked: lanes by weight, account names or networks in turn within a lane, no job
//! after its budget. It knows no thread, clock or lock.
//!
//! In the lane of known devices the names that they log in to take turns, and the networks within each name: whoever
//! sends log-ins to an account of their own from many networks has one turn. Whoever has many accounts in one network has
//! few turns, too: a network has turns for eight names, and one more that all its further names share. In the other
//! lanes any name can be typed, so there the networks take turns.
//!
//! ```text
//!   admit ──▶ lane full? ──no──▶ queued ──▶ next ──▶ runs
//!               │yes                ├─ withdraw (client gone) ─▶ dropped
//!               ▼                   ├─ displaced by one that holds less ─▶ shed
//!     holds less than the heaviest? └─ older than the budget ─▶ shed
//!         no ─▶ shed
//! ```
//!
//! Invariant: lanes that stay busy are served 8 : 4 : 1, and each gets at least one of any 3, 4 and 13 consecutive
//! passwords.
//!
//! Invariant: of the names or networks of a lane that stay busy, none is served twice before each was served once.
//!
//! Invariant: a job that is handed out has waited for at most the budget plus the time of one password.
//!
//! Source: stride scheduling, Waldspurger and Weihl (1995).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use ipnet::IpNet;

use super::job::QueueKey;
use super::lane::Lane;
use crate::system::seeded_bug::{Bug, seeded};

/// Virtual time of one password in a lane of weight 1. It is divisible by every weight.
const STRIDE: u64 = 8;

/// The most names of one network that have turns of their own among known devices.
pub(super) const NAMES_MAX: u32 = 8;

/// The parties that take turns in a lane.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Group {
    /// An account name to which known devices log in. Its networks take turns within it.
    Name([u8; 16]),
    /// A network, where no name is known, any name can be typed, or enough names have turns of their own.
    Network(IpNet),
}

/// The place of a job in the queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ticket {
    lane: Lane,
    group: Group,
    network: IpNet,
    number: u64,
}

/// The lane has no room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full {
    /// The time in which the passwords that wait now will be done.
    pub clear_in: Duration,
}

/// The result of admitting a job.
#[derive(Debug, Eq, PartialEq)]
pub struct Admitted<J> {
    /// The place of the job.
    pub ticket: Ticket,
    /// The job that was removed for it: the newest one of the network that held most of the lane.
    pub displaced: Option<J>,
}

/// The result of asking for work.
#[derive(Debug)]
pub struct Next<J> {
    /// The job to run, with its lane and how long it has waited.
    pub run: Option<(Lane, Duration, J)>,
    /// Jobs removed because they waited longer than the budget.
    pub expired: Vec<J>,
}

#[derive(Debug)]
struct Waiting<J> {
    number: u64,
    since: Duration,
    job: J,
}

/// The jobs of one group.
#[derive(Debug)]
struct GroupJobs<J> {
    /// The jobs of each network, in the order of the networks' turns.
    by_network: VecDeque<(IpNet, VecDeque<Waiting<J>>)>,
    /// The network of the first job.
    began_in: IpNet,
    len: usize,
}

impl<J> GroupJobs<J> {
    fn push(&mut self, network: IpNet, waiting: Waiting<J>) {
        self.len += 1;
        if let Some((_, jobs)) = self.by_network.iter_mut().find(|(other, _)| *other == network) {
            jobs.push_back(waiting);
        } else {
            self.by_network.push_back((network, VecDeque::from([waiting])));
        }
    }

    /// Removes the job of `network` that `which` chooses.
    fn take(
        &mut self,
        network: IpNet,
        which: impl FnOnce(&mut VecDeque<Waiting<J>>) -> Option<Waiting<J>>,
    ) -> Option<Waiting<J>> {
        let at = self.by_network.iter().position(|(other, _)| *other == network)?;
        let (_, jobs) = self.by_network.get_mut(at)?;
        let taken = which(jobs)?;
        if jobs.is_empty() {
            self.by_network.remove(at);
        }
        self.len -= 1;
        Some(taken)
    }

    /// Removes the next job by turns.
    fn pop(&mut self) -> Option<Waiting<J>> {
        let (network, _) = self.by_network.front()?;
        let network = *network;
        self.by_network.rotate_left(1);
        self.take(network, VecDeque::pop_front)
    }

    /// Removes the newest job of the network that holds most.
    fn pop_newest_of_heaviest(&mut self) -> Option<Waiting<J>> {
        let (network, _) = self.by_network.iter().max_by_key(|(_, jobs)| jobs.len())?;
        let network = *network;
        self.take(network, VecDeque::pop_back)
    }
}

#[derive(Debug)]
struct Queue<J> {
    lane: Lane,
    by_group: HashMap<Group, GroupJobs<J>>,
    /// How many names have begun in each network.
    names: HashMap<IpNet, u32>,
    /// Groups with jobs, each once, in the order of their turns.
    turns: VecDeque<Group>,
    /// The same groups, sorted by how many jobs they hold.
    by_weight: BTreeSet<(usize, Group)>,
    /// Jobs in the order of arrival. Jobs that are no longer queued are skipped.
    arrivals: VecDeque<(u64, Group, IpNet)>,
    len: usize,
    /// Virtual time of the next password of this lane.
    pass: u64,
}

/// The queue of all lanes.
#[derive(Debug)]
pub struct Scheduler<J> {
    queues: [Queue<J>; 3],
    threads: u32,
    budget: Duration,
    /// Number of the newest job.
    last_number: u64,
    /// Virtual time of the password that was handed out last. A lane that becomes busy begins there.
    clock: u64,
}

impl<J> Queue<J> {
    fn new(lane: Lane) -> Self {
        Self {
            lane,
            by_group: HashMap::new(),
            names: HashMap::new(),
            turns: VecDeque::new(),
            by_weight: BTreeSet::new(),
            arrivals: VecDeque::new(),
            len: 0,
            pass: 0,
        }
    }

    fn stride(&self) -> u64 {
        STRIDE / u64::from(self.lane.weight())
    }

    /// Returns the group that a job of `key` would join.
    ///
    /// Security: only a device cookie shows that a client belongs to a name. By typed names an attacker would have as many
    /// turns as names; and by names of their own as many as they have accounts.
    fn group_of(&self, key: QueueKey) -> Group {
        let of_network = Group::Network(key.network);
        let by_name = self.lane == Lane::Known && !seeded(Bug::KnownLaneByNetwork);
        let Some(name) = key.name.filter(|_| by_name) else { return of_network };
        let has_turn = self.by_group.contains_key(&Group::Name(name));
        let is_crowded = self.names.get(&key.network).is_some_and(|names| *names >= NAMES_MAX);
        if has_turn || !is_crowded { Group::Name(name) } else { of_network }
    }

    /// Returns how many jobs `group` has in this lane.
    fn held(&self, group: Group) -> usize {
        self.by_group.get(&group).map_or(0, |jobs| jobs.len)
    }

    fn push(&mut self, group: Group, network: IpNet, waiting: Waiting<J>) {
        let held = self.held(group);
        if held == 0 {
            self.turns.push_back(group);
            if matches!(group, Group::Name(_)) {
                *self.names.entry(network).or_default() += 1;
            }
        }
        self.by_weight.remove(&(held, group));
        self.by_weight.insert((held + 1, group));
        self.arrivals.push_back((waiting.number, group, network));
        let empty = || GroupJobs { by_network: VecDeque::new(), began_in: network, len: 0 };
        self.by_group.entry(group).or_insert_with(empty).push(network, waiting);
        self.len += 1;
    }

    /// Removes the job of `group` that `which` chooses.
    fn take(
        &mut self,
        group: Group,
        which: impl FnOnce(&mut GroupJobs<J>) -> Option<Waiting<J>>,
    ) -> Option<Waiting<J>> {
        let jobs = self.by_group.get_mut(&group)?;
        let (held, began_in) = (jobs.len, jobs.began_in);
        let taken = which(jobs)?;
        self.by_weight.remove(&(held, group));
        if held > 1 {
            self.by_weight.insert((held - 1, group));
        } else {
            self.by_group.remove(&group);
            if let (Group::Name(_), Some(names)) = (group, self.names.get_mut(&began_in)) {
                *names -= 1;
                if *names == 0 {
                    self.names.remove(&began_in);
                }
            }
            // The group is nearly always at the front. Only one that is removed out of turn is searched for.
            if self.turns.front() == Some(&group) {
                self.turns.pop_front();
            } else {
                self.turns.retain(|other| *other != group);
            }
        }
        self.len -= 1;
        Some(taken)
    }

    /// Removes the next job by turns.
    fn pop(&mut self) -> Option<Waiting<J>> {
        let group = *self.turns.front()?;
        if self.held(group) > 1 {
            self.turns.rotate_left(1);
        }
        self.take(group, GroupJobs::pop)
    }

    /// Removes the oldest job, if it came before `before`. It is at the front of its network's queue, which is in order
    /// of arrival.
    fn pop_older_than(&mut self, before: Duration) -> Option<J> {
        loop {
            let (number, group, network) = *self.arrivals.front()?;
            let of_group = self.by_group.get(&group);
            let of_network = of_group.and_then(|jobs| jobs.by_network.iter().find(|(of, _)| *of == network));
            let front = of_network.and_then(|(_, jobs)| jobs.front());
            let Some(oldest) = front.filter(|waiting| waiting.number == number) else {
                self.arrivals.pop_front();
                continue;
            };
            if oldest.since >= before {
                return None;
            }
            self.arrivals.pop_front();
            let taken = self.take(group, |jobs| jobs.take(network, VecDeque::pop_front));
            return taken.map(|waiting| waiting.job);
        }
    }
}

impl<J> Scheduler<J> {
    /// Returns an empty queue for `threads` threads, in which a job may wait for `budget`.
    pub fn new(threads: usize, budget: Duration) -> Self {
        let threads = u32::try_from(threads).unwrap_or(u32::MAX).max(1);
        Self { queues: Lane::ALL.map(Queue::new), threads, budget, last_number: 0, clock: 0 }
    }

    /// Returns the number of jobs in each lane.
    pub fn waiting(&self) -> [(Lane, usize); 3] {
        self.queues.each_ref().map(|queue| (queue.lane, queue.len))
    }

    /// Predicts how long the last of `len` jobs in `lane` waits. It assumes that the lanes that are busy now stay busy,
    /// which gives the lane its share of the threads.
    fn predicted_wait(&self, lane: Lane, len: usize, hash_time: Duration) -> Duration {
        let busy = self.queues.iter().filter(|queue| queue.len > 0 || queue.lane == lane);
        let weights: u32 = busy.map(|queue| queue.lane.weight()).sum();
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        hash_time.saturating_mul(len).saturating_mul(weights) / (self.threads * lane.weight())
    }

    fn queue(&self, lane: Lane) -> &Queue<J> {
        let [known, quiet, failing] = &self.queues;
        match lane {
            Lane::Known => known,
            Lane::Quiet => quiet,
            Lane::Failing => failing,
        }
    }

    fn queue_mut(&mut self, lane: Lane) -> &mut Queue<J> {
        let [known, quiet, failing] = &mut self.queues;
        match lane {
            Lane::Known => known,
            Lane::Quiet => quiet,
            Lane::Failing => failing,
        }
    }

    /// Says whether [`Scheduler::admit`] would admit a job of `key` now.
    pub fn has_room(&self, key: QueueKey, hash_time: Duration) -> Result<(), Full> {
        let queue = self.queue(key.lane);
        let wait = self.predicted_wait(key.lane, queue.len, hash_time);
        let heaviest = queue.by_weight.last().map_or(0, |(held, _)| *held);
        if wait <= self.budget || queue.held(queue.group_of(key)) + 1 < heaviest {
            return Ok(());
        }
        Err(Full { clear_in: wait })
    }

    /// Queues a job if it would run within the budget. In a full lane it also queues a job whose name or network holds
    /// fewer places than another one; then the newest job of the one that holds most is removed.
    ///
    /// Units: `hash_time` is the time of one password on one thread; `now` is monotonic time since any fixed moment.
    ///
    /// Security: if a full lane refused every newcomer, one attacker could fill it and keep all other clients out.
    pub fn admit(
        &mut self,
        key: QueueKey,
        job: J,
        hash_time: Duration,
        now: Duration,
    ) -> Result<Admitted<J>, (Full, J)> {
        if let Err(full) = self.has_room(key, hash_time) {
            return Err((full, job));
        }
        let QueueKey { lane, network, .. } = key;
        let is_full = self.predicted_wait(lane, self.queue(lane).len, hash_time) > self.budget;
        self.last_number += 1;
        let number = self.last_number;
        let clock = self.clock;
        let queue = self.queue_mut(lane);
        let heaviest = queue.by_weight.last().filter(|_| is_full).map(|(_, group)| *group);
        let displaced = heaviest.and_then(|group| queue.take(group, GroupJobs::pop_newest_of_heaviest));
        // The one that was removed may have been the last of its name.
        let group = queue.group_of(key);
        if queue.len == 0 {
            queue.pass = queue.pass.max(clock + queue.stride());
        }
        queue.push(group, network, Waiting { number, since: now, job });
        Ok(Admitted {
            ticket: Ticket { lane, group, network, number },
            displaced: displaced.map(|waiting| waiting.job),
        })
    }

    /// Takes the job of `ticket` out of the queue and returns it. Returns `None` if it has left the queue: it runs, or was
    /// shed.
    pub fn withdraw(&mut self, ticket: Ticket) -> Option<J> {
        let taken = self.queue_mut(ticket.lane).take(ticket.group, |jobs| {
            jobs.take(ticket.network, |jobs| {
                let at = jobs.iter().position(|waiting| waiting.number == ticket.number)?;
                jobs.remove(at)
            })
        });
        taken.map(|waiting| waiting.job)
    }

    /// Removes the next job to run, and all jobs that have waited too long.
    pub fn next(&mut self, hash_time: Duration, now: Duration) -> Next<J> {
        // Waits are predicted in whole passwords, so one password more is within the prediction.
        let before = now.saturating_sub(self.budget + hash_time);
        let mut expired = Vec::new();
        for queue in &mut self.queues {
            while let Some(job) = queue.pop_older_than(before) {
                expired.push(job);
            }
        }
        let busy = self.queues.iter_mut().filter(|queue| queue.len > 0);
        // Among equal ones `min_by_key` takes the first, which has the largest weight.
        let run = busy.min_by_key(|queue| queue.pass).and_then(|queue| {
            let waiting = queue.pop()?;
            self.clock = queue.pass;
            queue.pass += queue.stride();
            Some((queue.lane, now.saturating_sub(waiting.since), waiting.job))
        });
        Next { run, expired }
    }
}

#[cfg(test)]
mod tests;
