//! Known and unknown names, and taken and free addresses, cause the same work: as many hashes of as much memory, messages
//! to actors and journal entries, and as many bytes unless one side makes something new. `cargo bench --bench equal_work` measures
//! that they also take equally long.

use std::time::Duration;

use crate::support::pairs::{PAIRS, Pair, World};

const TRIES: usize = 12;

/// What one side of a pair has caused.
#[derive(Debug, Eq, PartialEq)]
struct Work {
    hashes: u64,
    filled_kib: u64,
    foreign_kib: u64,
    calls: u64,
    entries: u64,
    /// Questions to a hook.
    questions: u64,
    /// Written bytes; `None` where the sides may differ.
    bytes: Option<u64>,
}

/// Runs every try of one side of `pair`, and returns the work.
async fn work_of(world: &World, pair: Pair, known: bool) -> Work {
    // A free address gets an account, which a taken one has already. A new token that proves an address ends the one
    // before it.
    let writes_differ = matches!(
        pair,
        Pair::SignUp | Pair::SignUpReserved | Pair::SignUpKept | Pair::SignUpWithHook | Pair::Resend
    );
    let before = world.engine.work();
    let asked = world.asked();
    for n in 0..TRIES {
        world.run(pair, known, n).await;
    }
    let after = world.engine.work();
    Work {
        hashes: after.hashes - before.hashes,
        filled_kib: after.filled_kib - before.filled_kib,
        foreign_kib: after.foreign_kib - before.foreign_kib,
        calls: after.calls - before.calls,
        entries: after.entries - before.entries,
        questions: world.asked() - asked,
        bytes: (!writes_differ).then(|| after.bytes - before.bytes),
    }
}

#[test]
fn both_sides_of_every_pair_pass_the_same_queue_actors_and_commits() {
    for pair in PAIRS {
        actix_web::rt::System::new().block_on(async {
            // Without the thread that sends mails, whose work comes after the answer.
            let world = World::start(pair, false);
            for n in 0..TRIES {
                world.prepare(pair, n).await;
            }
            let world = world.ready(pair, false).await;
            let known = work_of(&world, pair, true).await;
            let unknown = work_of(&world, pair, false).await;
            assert_eq!(known, unknown, "{pair:?}: {:?}", pair.sides());
            assert!(known.calls >= TRIES as u64, "{pair:?} asked no actor");
            let questions = if pair == Pair::SignUpWithHook { TRIES as u64 } else { 0 };
            assert_eq!(known.questions, questions, "{pair:?}");
            world.stop();
        });
    }
}

/// An address without an account is handled as if a mail left: the mail is written, then removed, and never sent.
#[test]
fn a_mail_to_an_unknown_address_is_written_and_removed_but_not_sent() {
    actix_web::rt::System::new().block_on(async {
        let world = World::start(Pair::Forgot, true);
        world.prepare(Pair::Forgot, 0).await;
        for known in [true, false] {
            let before = world.engine.work().entries;
            world.run(Pair::Forgot, known, 0).await;
            // Three entries: the token, the mail, and the removal of the mail.
            for _ in 0..100 {
                if world.engine.work().entries == before + 3 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert_eq!(world.engine.work().entries, before + 3, "known: {known}");
        }
        assert_eq!(world.sent(), ["user000000@with.forgot.test"]);
        world.stop();
    });
}

/// A request to move one's account to an address causes the same work whether the address has an account, is kept for one or
/// is free: a mail of the same length is written, to the reader of the address or to the user who asks.
#[test]
fn a_change_of_address_costs_the_same_for_a_taken_a_kept_and_a_free_one() {
    for pair in [Pair::SignUp, Pair::SignUpKept] {
        actix_web::rt::System::new().block_on(async {
            let world = World::start(Pair::LogIn, false);
            for n in 0..TRIES {
                world.prepare(pair, n).await;
            }
            let world = world.ready(pair, false).await;
            let mut works = Vec::new();
            for is_taken in [true, false] {
                let mut work = Work {
                    hashes: 0,
                    filled_kib: 0,
                    foreign_kib: 0,
                    calls: 0,
                    entries: 0,
                    questions: 0,
                    bytes: Some(0),
                };
                for n in 0..TRIES {
                    let identity = world.identity(Pair::LogIn, n, is_taken).await;
                    let before = world.engine.work();
                    world.ask_for_address(&identity, pair, n, is_taken).await;
                    let after = world.engine.work();
                    work.hashes += after.hashes - before.hashes;
                    work.filled_kib += after.filled_kib - before.filled_kib;
                    work.foreign_kib += after.foreign_kib - before.foreign_kib;
                    work.calls += after.calls - before.calls;
                    work.entries += after.entries - before.entries;
                    work.bytes = work.bytes.map(|bytes| bytes + after.bytes - before.bytes);
                }
                works.push(work);
            }
            assert_eq!(works[0], works[1], "{:?}", pair.sides());
            assert!(works[0].calls >= TRIES as u64 * 4);
            world.stop();
        });
    }
}

#[test]
fn all_that_a_log_in_writes_shares_a_sync() {
    actix_web::rt::System::new().block_on(async {
        let world = World::start(Pair::LogIn, false);
        for n in 0..TRIES {
            world.prepare(Pair::LogIn, n).await;
        }
        let before = world.engine.journal_stats();
        for n in 0..TRIES {
            world.log_in_rightly(Pair::LogIn, n).await;
        }
        let after = world.engine.journal_stats();
        let entries = after.assigned - before.assigned;
        let frames = after.frames - before.frames;
        // An attempt charged, an attempt settled, and a family opened. A machine that pauses between two of them may
        // part them into two syncs.
        assert_eq!(entries, 3 * TRIES as u64);
        assert!(frames <= TRIES as u64 * 3 / 2, "{frames} syncs for {entries} entries of {TRIES} log-ins");
        world.stop();
    });
}
