//! Loops over seeds, and over the defences that are switched off.

use std::panic::resume_unwind;
use std::process::{Command, Stdio};

use super::act::People;
use super::ledger::{Broken, Promise};
use super::town::{Counts, Town};
use crate::system::clock::Clock;
use crate::system::seeded_bug::{Bug, VARIABLE};

/// Acts of one seed: about a year.
const ACTS_OF_A_SEED: u64 = 2000;
/// Bytes of the audit log for each request with a password, on average: strangers send most of them.
const AUDIT_BYTES: u64 = 400;

/// Returns the number in an environment variable, or `default`.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs `acts` acts of a seed.
///
/// # Panics
/// With the promise that was broken, and the acts before.
fn run(seed: u64, acts: u64) -> Counts {
    actix::System::new().block_on(async {
        let mut town = Town::start(seed);
        let kept = acts_of(&mut town, acts).await;
        let shown: Vec<String> = town.shown.iter().cloned().collect();
        let counts = town.counts;
        // Also after a broken promise: a directory is gone for good only once no thread writes into it.
        let audit = town.stop();
        if let Err(Broken { promise, what }) = kept {
            panic!(
                "broken promise: {promise:?}\nseed {seed}, act {}: {what}\n{}\nAgain: PORTCULLIS_PEOPLE_FROM={seed} \
                 PORTCULLIS_PEOPLE_ACTS={acts} cargo test --lib one_seed_of_people -- --ignored --nocapture",
                counts.acts,
                shown.join("\n"),
            );
        }
        assert!(audit <= counts.passwords * AUDIT_BYTES, "{audit} bytes of the audit log: {counts:?}");
        counts
    })
}

async fn acts_of(town: &mut Town, acts: u64) -> Result<(), Broken> {
    let mut people = People::arrive(town).await?;
    for _ in 0..acts {
        people.act(town).await?;
    }
    Ok(())
}

/// Runs seeds from `from` on until `acts` acts are done, `at_once` towns at a time, since each mostly waits. Prints what
/// was done after each `every` rounds.
fn search(from: u64, acts: u64, at_once: u64, every: u64) -> Counts {
    let clock = Clock::system();
    let begun = clock.steady();
    let mut counts = Counts::default();
    let mut next = from;
    for round in 1.. {
        let left = acts.saturating_sub(counts.acts);
        let seeds = next..next + left.div_ceil(ACTS_OF_A_SEED).min(at_once);
        next = seeds.end;
        let of_round = std::thread::scope(|scope| {
            let towns: Vec<_> =
                seeds.map(|seed| scope.spawn(move || run(seed, left.min(ACTS_OF_A_SEED)))).collect();
            let ended: Vec<_> = towns.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            ended
                .into_iter()
                .map(|counts| counts.unwrap_or_else(|panic| resume_unwind(panic)))
                .collect::<Vec<_>>()
        });
        for of_town in of_round {
            counts.add(of_town);
        }
        let is_done = counts.acts >= acts;
        if is_done || round % every == 0 {
            let secs = clock.steady().duration_since(begun).as_secs_f64();
            let rate = counts.acts as f64 / secs;
            eprintln!("seeds {from}..{next}: {counts:?}; {secs:.0} s, {rate:.0} acts/s");
        }
        if is_done {
            break;
        }
    }
    counts
}

#[test]
fn whatever_they_do_together_no_promise_is_broken() {
    let counts = search(0, 3 * ACTS_OF_A_SEED, 3, u64::MAX);
    assert!(counts.judged > 1000, "{counts:?}");
    assert!(counts.turns > 0, "{counts:?}");
    assert!(counts.days > 365, "{counts:?}");
}

/// Runs `PORTCULLIS_PEOPLE_ACTS` acts, from the seed `PORTCULLIS_PEOPLE_FROM` on.
#[test]
#[ignore = "long: see src/simulation/README.md"]
fn many_seeds_of_people() {
    let from = number("PORTCULLIS_PEOPLE_FROM", 1_000_000);
    let acts = number("PORTCULLIS_PEOPLE_ACTS", 10_000_000);
    search(from, acts, number("PORTCULLIS_PEOPLE_AT_ONCE", 8), number("PORTCULLIS_PEOPLE_EVERY", 10));
}

/// Runs the one seed `PORTCULLIS_PEOPLE_FROM`.
#[test]
#[ignore = "for looking at one seed, and for the table of defences that are switched off"]
fn one_seed_of_people() {
    let counts = run(number("PORTCULLIS_PEOPLE_FROM", 0), number("PORTCULLIS_PEOPLE_ACTS", ACTS_OF_A_SEED));
    eprintln!("{counts:?}");
}

/// The promises that may be seen to be broken while a defence is switched off.
const fn promises_of(bug: Bug) -> &'static [Promise] {
    match bug {
        Bug::DevicePushedOut => &[Promise::GuessesOfADay, Promise::GuessesEver],
        Bug::KnownLaneByNetwork => &[Promise::TurnsAreFair, Promise::HashesAreFew],
        Bug::SessionsWithoutNumber => &[Promise::SessionsAreFew],
        Bug::LiveLinkReplaced => &[Promise::LinksLive, Promise::OwnerGetsALink],
        Bug::HolderCharged => &[Promise::NoOracle],
        Bug::HangUpStaysCharged => &[Promise::OwnerGetsIn],
        _ => &[],
    }
}

/// Runs a seed in a process of its own in which `bug` is made. Returns what it printed if a promise was broken.
fn find(bug: Bug, seed: u64) -> Option<String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["simulation::people::search::one_seed_of_people", "--exact", "--ignored", "--nocapture"])
        .env(VARIABLE, format!("{bug:?}"))
        .env("PORTCULLIS_PEOPLE_FROM", seed.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    (!output.status.success()).then(|| printed.into_owned())
}

/// Returns how `bug` is found within `budget` seeds.
///
/// # Panics
/// If it is not, or if another promise is broken than those that the defence is for.
fn find_within(bug: Bug, budget: u64) -> String {
    let found = (0..budget).find_map(|seed| find(bug, seed).map(|printed| (seed, printed)));
    let Some((seed, printed)) = found else { panic!("{bug:?} is not found in {budget} seeds") };
    let line = |start: &str| printed.lines().find(|line| line.starts_with(start)).unwrap_or_default();
    let broken = line("broken promise: ").trim_start_matches("broken promise: ");
    let is_expected = promises_of(bug).iter().any(|promise| format!("{promise:?}") == broken);
    assert!(is_expected, "{bug:?} was found for another reason:\n{printed}");
    format!("{bug:?}: {broken}: {}", line(&format!("seed {seed}, ")))
}

#[test]
fn every_defence_that_is_switched_off_is_missed() {
    let budget = number("PORTCULLIS_PEOPLE_BUDGET", 3);
    let found = std::thread::scope(|scope| {
        let searches = Bug::OF_DEFENCES.map(|bug| scope.spawn(move || find_within(bug, budget)));
        searches.map(std::thread::ScopedJoinHandle::join)
    });
    for found in found {
        eprintln!("{}", found.unwrap_or_else(|panic| resume_unwind(panic)));
    }
}
