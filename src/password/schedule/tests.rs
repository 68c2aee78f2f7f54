//! Tests of the queue.

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

/// Five hundred accounts of the attacker, each with one log-in at a time from its own device, all in one network.
#[test]
fn many_names_of_one_network_have_few_turns_among_known_devices() {
    let name = |number: u32| {
        let mut name = [0; 16];
        name[..4].copy_from_slice(&number.to_le_bytes());
        name
    };
    let mut scheduler = Scheduler::new(2, BUDGET);
    let mut now = Duration::ZERO;
    let mut waiting = BTreeSet::new();
    let (mut asked, mut served, mut attackers) = (0, 0, 0);
    for step in 0..2000_u32 {
        for account in 1..=500 {
            let from = key(Lane::Known, 1).of_name(name(account));
            if !waiting.contains(&account) && scheduler.admit(from, account, HASH, now).is_ok() {
                waiting.insert(account);
            }
        }
        if step % 25 == 0 {
            asked += 1;
            let owner = key(Lane::Known, 9999).of_name(name(9999));
            let displaced = scheduler.admit(owner, 9999, HASH, now).unwrap().displaced;
            if let Some(account) = &displaced {
                assert!(waiting.remove(account));
            }
        }
        for _ in 0..2 {
            let next = scheduler.next(HASH, now);
            for account in next.expired {
                assert!(waiting.remove(&account), "the owner's log-in expired");
            }
            let Some((_, waited, account)) = next.run else { continue };
            if account == 9999 {
                assert!(waited <= HASH * NAMES_MAX, "{waited:?}");
                served += 1;
            } else {
                waiting.remove(&account);
                attackers += 1;
            }
        }
        now += HASH;
    }
    assert!(served + 1 >= asked, "{served} of {asked}");
    assert!(attackers > 3800, "{attackers}: the threads stood still");
    let known = scheduler.queue(Lane::Known);
    assert!(known.by_group.len() <= NAMES_MAX as usize + 2);
    while scheduler.next(HASH, now).run.is_some() {}
    assert!(scheduler.queue(Lane::Known).names.is_empty());
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
    let lanes: Vec<Lane> = (0..130).map(|_| scheduler.next(HASH, Duration::ZERO).run.unwrap().0).collect();
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
                let names = queue.by_group.keys().filter(|group| matches!(group, Group::Name(_))).count();
                prop_assert_eq!(queue.names.values().sum::<u32>() as usize, names);
                prop_assert!(queue.names.values().all(|names| (1..=NAMES_MAX).contains(names)));
                prop_assert!(queue.len <= BUDGET.as_millis() as usize / HASH.as_millis() as usize * threads + 1);
            }
        }
    }
}
