//! The order in which passwords are checked: lanes by weight, account names or networks in turn within a lane, no job
//! after its budget. It knows no thread, clock or lock.
//!
//! In the lane of known devices the names that they log in to take turns, and the networks within each name: whoever
//! sends log-ins to an account of their own from many networks has one turn. In the other lanes any name can be typed, so
//! there the networks take turns.
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

/// Declares [`Lane`], its list, its names and its weights from one table.
macro_rules! lanes {
    ($($(#[$doc:meta])* $lane:ident = $name:literal, weight $weight:literal;)+) => {
        /// A class in the queue, in descending order of weight.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Lane {
            $($(#[$doc])* $lane,)+
        }

        impl Lane {
            /// All lanes, in the order of their weights.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$lane),+];

            /// Returns how many passwords of this lane run while all lanes are busy, relative to the others.
            const fn weight(self) -> u32 {
                match self {
                    $(Self::$lane => $weight,)+
                }
            }

            /// Returns the name of the lane in metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$lane => $name,)+
                }
            }
        }
    };
}

lanes! {
    /// Clients that have logged in to this name before, or that hold a mailed token or a session.
    Known = "known", weight 8;
    /// Clients from a network without recent failures.
    Quiet = "quiet", weight 4;
    /// Clients from a network with recent failures.
    Failing = "failing", weight 1;
}

/// Virtual time of one password in a lane of weight 1. It is divisible by every weight.
const STRIDE: u64 = 8;

/// Whoever takes turns in a lane.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Group {
    /// An account name to which known devices log in. Its networks take turns within it.
    Name([u8; 16]),
    /// A network, where no name is known or any name can be typed.
    Network(IpNet),
}

impl Group {
    /// Security: only a device cookie shows that a client belongs to a name. By typed names an attacker would have as
    /// many turns as names.
    fn of(key: QueueKey) -> Self {
        match key.name {
            Some(name) if key.lane == Lane::Known => Self::Name(name),
            _ => Self::Network(key.network),
        }
    }
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

    /// Returns how many jobs `group` has in this lane.
    fn held(&self, group: Group) -> usize {
        self.by_group.get(&group).map_or(0, |jobs| jobs.len)
    }

    fn push(&mut self, group: Group, network: IpNet, waiting: Waiting<J>) {
        let held = self.held(group);
        if held == 0 {
            self.turns.push_back(group);
        }
        self.by_weight.remove(&(held, group));
        self.by_weight.insert((held + 1, group));
        self.arrivals.push_back((waiting.number, group, network));
        let empty = || GroupJobs { by_network: VecDeque::new(), len: 0 };
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
        let held = jobs.len;
        let taken = which(jobs)?;
        self.by_weight.remove(&(held, group));
        if held > 1 {
            self.by_weight.insert((held - 1, group));
        } else {
            self.by_group.remove(&group);
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
        if wait <= self.budget || queue.held(Group::of(key)) + 1 < heaviest {
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
        let group = Group::of(key);
        let is_full = self.predicted_wait(lane, self.queue(lane).len, hash_time) > self.budget;
        self.last_number += 1;
        let number = self.last_number;
        let clock = self.clock;
        let queue = self.queue_mut(lane);
        let heaviest = queue.by_weight.last().filter(|_| is_full).map(|(_, group)| *group);
        let displaced = heaviest.and_then(|group| queue.take(group, GroupJobs::pop_newest_of_heaviest));
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: Duration = Duration::from_millis(10);
    const BUDGET: Duration = Duration::from_secs(2);

    fn network(number: u32) -> IpNet {
        IpNet::new(std::net::Ipv4Addr::from(number << 8).into(), 24).unwrap()
    }

    fn key(lane: Lane, of: u32) -> QueueKey {
        QueueKey::new(lane, network(of))
    }

    fn fill(scheduler: &mut Scheduler<u32>, lane: Lane, of: u32, jobs: u32) -> u32 {
        (0..jobs).filter(|_| scheduler.admit(key(lane, of), of, HASH, Duration::ZERO).is_ok()).count() as u32
    }

    /// Six hundred connections, each from a network of its own, log in to the attacker's account with its cookies.
    #[test]
    fn one_name_from_many_networks_has_one_turn_among_known_devices() {
        let name = |number: u8| [number; 16];
        let mut scheduler = Scheduler::new(2, BUDGET);
        let mut now = Duration::ZERO;
        let mut served = 0;
        let mut asked = 0;
        for step in 0..2000_u32 {
            for connection in 0..3 {
                let from = key(Lane::Known, 1 + (step * 3 + connection) % 600).of_name(name(1));
                let _ = scheduler.admit(from, 0, HASH, now);
            }
            if step % 10 == 0 {
                asked += 1;
                let owner = key(Lane::Known, 9999).of_name(name(2));
                assert!(scheduler.admit(owner, step, HASH, now).is_ok(), "{step}");
            }
            for _ in 0..2 {
                let next = scheduler.next(HASH, now);
                assert!(next.expired.iter().all(|job| *job == 0), "the owner's log-in expired");
                if let Some((_, waited, job)) = next.run
                    && job > 0
                {
                    assert!(waited <= 2 * HASH, "{waited:?}");
                    served += 1;
                }
            }
            now += HASH;
        }
        assert!(served + 2 >= asked, "{served} of {asked}");
    }

    #[test]
    fn within_a_name_its_networks_take_turns() {
        let mut scheduler = Scheduler::new(2, BUDGET);
        let of = |network| key(Lane::Known, network).of_name([1; 16]);
        for job in 0..20 {
            scheduler.admit(of(1), job, HASH, Duration::ZERO).unwrap();
        }
        scheduler.admit(of(2), 100, HASH, Duration::ZERO).unwrap();
        let next: Vec<u32> = (0..3).map(|_| scheduler.next(HASH, Duration::ZERO).run.unwrap().2).collect();
        assert_eq!(next, [0, 100, 1]);
        // In another lane a name is only typed, and gives no turn.
        for name in 0..20 {
            let typed = key(Lane::Quiet, 1).of_name([name; 16]);
            scheduler.admit(typed, u32::from(name), HASH, Duration::ZERO).unwrap();
        }
        assert_eq!(scheduler.queue(Lane::Quiet).by_group.len(), 1);
    }

    #[test]
    fn lanes_that_stay_busy_are_served_by_their_weights() {
        let mut scheduler = Scheduler::new(1000, BUDGET);
        for lane in Lane::ALL {
            assert_eq!(fill(&mut scheduler, lane, 1, 200), 200);
        }
        let lanes: Vec<Lane> =
            (0..130).map(|_| scheduler.next(HASH, Duration::ZERO).run.unwrap().0).collect();
        let served = |lane| lanes.iter().filter(|served| **served == lane).count();
        assert_eq!(Lane::ALL.map(served), [80, 40, 10]);
        // In every window of that many passwords each lane is served.
        for (lane, at_most) in [(Lane::Known, 3), (Lane::Quiet, 4), (Lane::Failing, 13)] {
            assert!(lanes.windows(at_most).all(|window| window.contains(&lane)), "{lane:?}");
        }
    }

    #[test]
    fn an_idle_lane_gains_no_credit() {
        let mut scheduler = Scheduler::new(1000, BUDGET);
        fill(&mut scheduler, Lane::Quiet, 1, 200);
        (0..100).for_each(|_| drop(scheduler.next(HASH, Duration::ZERO)));
        fill(&mut scheduler, Lane::Failing, 2, 50);
        let lanes: Vec<Lane> = (0..10).map(|_| scheduler.next(HASH, Duration::ZERO).run.unwrap().0).collect();
        assert_eq!(lanes.iter().filter(|lane| **lane == Lane::Failing).count(), 2);
    }

    #[test]
    fn a_full_lane_admits_a_newcomer_instead_of_the_heaviest_network() {
        let mut scheduler = Scheduler::new(2, BUDGET);
        // 2 s on two threads of 10 ms each.
        assert_eq!(fill(&mut scheduler, Lane::Quiet, 1, 1000), 401);
        let (full, job) = scheduler.admit(key(Lane::Quiet, 1), 1, HASH, Duration::ZERO).unwrap_err();
        assert_eq!(full.clear_in, Duration::from_millis(2005));
        assert_eq!(job, 1);
        let admitted = scheduler.admit(key(Lane::Quiet, 2), 2, HASH, Duration::ZERO).unwrap();
        assert_eq!(admitted.displaced, Some(1));
        // The newcomer is second in turn, although 400 jobs came before.
        let next: Vec<u32> = (0..2).map(|_| scheduler.next(HASH, Duration::ZERO).run.unwrap().2).collect();
        assert_eq!(next, [1, 2]);
        // Another lane is not full.
        assert!(scheduler.has_room(key(Lane::Known, 1), HASH).is_ok());
    }

    #[test]
    fn withdrawn_jobs_leave_and_old_jobs_expire() {
        let mut scheduler = Scheduler::new(1, BUDGET);
        let mut tickets = Vec::new();
        for job in 0..3 {
            let at = Duration::from_secs(u64::from(job));
            tickets.push(scheduler.admit(key(Lane::Quiet, job % 2), job, HASH, at).unwrap().ticket);
        }
        assert_eq!(scheduler.withdraw(tickets[1]), Some(1));
        assert_eq!(scheduler.withdraw(tickets[1]), None);
        let next = scheduler.next(HASH, Duration::from_secs(3));
        assert_eq!(next.expired, [0]);
        assert_eq!(next.run.unwrap(), (Lane::Quiet, Duration::from_secs(1), 2));
        assert!(scheduler.next(HASH, Duration::from_secs(3)).run.is_none());
        assert_eq!(scheduler.withdraw(tickets[2]), None);
        assert!(scheduler.queues.iter().all(|queue| queue.by_group.is_empty() && queue.turns.is_empty()));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Admit(usize, u32),
        Next,
        Withdraw(usize),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0_usize..3, 0_u32..6).prop_map(|(lane, network)| Step::Admit(lane, network)),
            3 => Just(Step::Next),
            1 => (0_usize..200).prop_map(Step::Withdraw),
            1 => (0_u64..700).prop_map(Step::Pass),
        ]
    }

    proptest! {
        /// Invariant: every admitted job ends once: run within the budget, displaced, expired or withdrawn. The queues
        /// stay within what the budget allows. In a lane no network is served twice while another one that has waited
        /// all the time is not served at all.
        #[test]
        fn every_job_ends_once_and_in_its_turn(
            threads in 1_usize..4, steps in prop::collection::vec(step(), 1..400),
        ) {
            let mut scheduler = Scheduler::new(threads, BUDGET);
            let mut now = Duration::ZERO;
            let (mut tickets, mut open) = (Vec::new(), BTreeSet::new());
            // For each lane and waiting network: how often each other network was served since.
            let mut overtaken: HashMap<(Lane, u32), HashMap<u32, u32>> = HashMap::new();
            for step in steps {
                match step {
                    Step::Admit(lane, of) => {
                        let lane = Lane::ALL[lane];
                        let job = (tickets.len(), of);
                        let room = scheduler.has_room(key(lane, of), HASH);
                        match scheduler.admit(key(lane, of), job, HASH, now) {
                            Ok(admitted) => {
                                prop_assert!(room.is_ok());
                                open.insert(job);
                                tickets.push(admitted.ticket);
                                if let Some(displaced) = admitted.displaced {
                                    prop_assert!(open.remove(&displaced));
                                }
                                overtaken.entry((lane, of)).or_default();
                            }
                            Err((full, back)) => {
                                prop_assert_eq!(back, job);
                                prop_assert!(full.clear_in > BUDGET);
                                prop_assert_eq!(room, Err(full));
                            }
                        }
                    }
                    Step::Next => {
                        let Next { run, expired } = scheduler.next(HASH, now);
                        for job in expired {
                            prop_assert!(open.remove(&job));
                        }
                        if let Some((lane, waited, job)) = run {
                            prop_assert!(waited <= BUDGET + HASH);
                            prop_assert!(open.remove(&job));
                            for ((_, other), seen) in overtaken.iter_mut().filter(|((of, _), _)| *of == lane) {
                                if *other != job.1 && scheduler.queue(lane).held(Group::Network(network(*other))) > 0 {
                                    *seen.entry(job.1).or_default() += 1;
                                    prop_assert!(seen[&job.1] <= 1, "{lane:?}: {other} overtaken by {}", job.1);
                                }
                            }
                            overtaken.insert((lane, job.1), HashMap::new());
                        }
                        now += HASH / threads as u32;
                    }
                    Step::Withdraw(at) => {
                        if let Some(ticket) = tickets.get(at) && let Some(job) = scheduler.withdraw(*ticket) {
                            prop_assert!(open.remove(&job));
                        }
                    }
                    Step::Pass(millis) => now += Duration::from_millis(millis),
                }
                overtaken.retain(|(lane, of), _| scheduler.queue(*lane).held(Group::Network(network(*of))) > 0);
                let waiting: usize = scheduler.waiting().iter().map(|(_, len)| len).sum();
                prop_assert_eq!(waiting, open.len());
                for queue in &scheduler.queues {
                    prop_assert_eq!(queue.by_group.len(), queue.turns.len());
                    prop_assert_eq!(queue.by_group.len(), queue.by_weight.len());
                    prop_assert!(queue.len <= BUDGET.as_millis() as usize / HASH.as_millis() as usize * threads + 1);
                }
            }
        }
    }
}
