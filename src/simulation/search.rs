//! Loops over seeds, and over the table of seeded bugs.

use super::run::{Counts, Violation, run};
use crate::system::clock::Clock;
use crate::system::seeded_bug::{self, Bug};

/// Returns the number in an environment variable, or `default`.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs seeds and prints the counts after each `every` of them; each violation is printed with its seed.
fn search(seeds: std::ops::Range<u64>, every: u64) -> Counts {
    let clock = Clock::system();
    let begun = clock.steady();
    let mut counts = Counts::default();
    let mut losses = 0;
    let mut refusals = 0;
    for seed in seeds.clone() {
        let (counted, done) = run(seed);
        counts.add(&counted);
        match done {
            Ok(()) => {}
            Err(Violation::Loss(what)) => {
                losses += 1;
                assert!(losses < 20, "enough");
                eprintln!("seed {seed}: LOSS: {what}");
            }
            Err(Violation::WrongRefusal(what)) => {
                refusals += 1;
                assert!(refusals < 20, "enough");
                eprintln!("seed {seed}: WRONG REFUSAL: {what}");
            }
        }
        let last = seed + 1 == seeds.end;
        if last || (seed + 1 - seeds.start).is_multiple_of(every) {
            let secs = clock.steady().duration_since(begun).as_secs_f64();
            eprintln!(
                "seeds {}..{}: {} crash points ({} in recovery), {} facts told and checked, {} entries, {} snapshots, {} \
                 faults; {} damaged directories: {} refused, {} cut as documented; {losses} losses, {refusals} wrong \
                 refusals; {:.0} seeds/s, {:.0} crash points/s",
                seeds.start,
                seed + 1,
                counts.crash_points,
                counts.in_recovery,
                counts.facts,
                counts.entries,
                counts.snapshots,
                counts.faults,
                counts.damages,
                counts.refused,
                counts.cut,
                counts.seeds as f64 / secs,
                counts.crash_points as f64 / secs,
            );
        }
    }
    assert_eq!(losses, 0);
    assert_eq!(refusals, 0);
    counts
}

#[test]
fn a_fixed_set_of_seeds_loses_nothing_and_refuses_nothing_that_is_sound() {
    let counts = search(0..600, u64::MAX);
    assert!(counts.crash_points >= 20_000, "{counts:?}");
}

/// Runs `PORTCULLIS_SIM_SEEDS` seeds, from `PORTCULLIS_SIM_FROM` on.
#[test]
#[ignore = "long: see src/simulation/README.md"]
fn many_seeds() {
    let from = number("PORTCULLIS_SIM_FROM", 1_000_000);
    search(from..from + number("PORTCULLIS_SIM_SEEDS", 10_000), number("PORTCULLIS_SIM_EVERY", 100_000));
}

/// Every seeded bug, in the order of the table in the journal's README.
const BUGS: [Bug; 33] = [
    Bug::AnswerBeforeSync,
    Bug::RefusalNotSealed,
    Bug::ReadNotSealed,
    Bug::ApplyBeforeReserve,
    Bug::NoDirectorySync,
    Bug::RenameBeforeSync,
    Bug::StartReadLate,
    Bug::EndNotChecked,
    Bug::NamedBeforeEndIsDurable,
    Bug::BucketSkipped,
    Bug::RemovalNotReplayed,
    Bug::CarryLeftOut,
    Bug::UnprovenFrameCounted,
    Bug::StopAtFirstBadFrame,
    Bug::BodyNotChecked,
    Bug::ChainNotChecked,
    Bug::BatchCutInsideEntry,
    Bug::SyncTriedAgain,
    Bug::ShortWriteTaken,
    Bug::TwoFramesInFlight,
    Bug::FloorNotRaised,
    Bug::EvictionNotWritten,
    Bug::SnapshotNotReadBack,
    Bug::SwitchWithoutIdentity,
    Bug::ReserveOpenToAll,
    Bug::ReplayOneLate,
    Bug::OneSnapshotKept,
    Bug::SegmentsDroppedEarly,
    Bug::OlderSnapshotNotTried,
    Bug::IdentityInOneSlot,
    Bug::BornTakenForTorn,
    Bug::WaiterLetOutEarly,
    Bug::RoomFreedEarly,
];

/// Returns the first seed from `from` on that finds the bug, and how it shows.
fn find(bug: Bug, from: u64, budget: u64) -> Option<(u64, String)> {
    (from..from + budget).find_map(|seed| {
        let done = seeded_bug::with(Some(bug), || std::panic::catch_unwind(|| run(seed).1));
        match done {
            Ok(Ok(())) => None,
            Ok(Err(violation)) => Some((seed, format!("{violation:?}"))),
            // A violated assertion ends the process, which counts as found.
            Err(_) => Some((seed, String::from("the process ended"))),
        }
    })
}

#[test]
fn every_known_mistake_is_found() {
    let budget = number("PORTCULLIS_SIM_BUDGET", 10_000);
    let mut missed = Vec::new();
    for bug in BUGS {
        match find(bug, 0, budget) {
            Some((seed, how)) => eprintln!("{bug:?}: {} seeds: {how}", seed + 1),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found within {budget} seeds: {missed:?}");
}

/// Runs the one seed `PORTCULLIS_SIM_FROM`.
#[test]
#[ignore = "for looking at one seed"]
fn one_seed() {
    eprintln!("{:?}", run(number("PORTCULLIS_SIM_FROM", 0)));
}
