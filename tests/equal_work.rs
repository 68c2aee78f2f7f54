//! Known and unknown names, taken and free addresses pass the same queue, actors and journal equally often, and where
//! nothing was there before as many bytes are written down. That they also take equally long is measured by
//! `cargo bench --bench equal_work`.

use crate::pairs::{PAIRS, Pair, World};

const TRIES: usize = 12;

#[test]
fn both_sides_of_every_pair_pass_the_same_queue_actors_and_commits() {
    for pair in PAIRS {
        actix_web::rt::System::new().block_on(async {
            // Without the thread that sends mails: what it does is done after the answer.
            let world = World::start(World::failures_for(pair), false);
            // A free address gets an account, a taken one has it; a new token to prove an address ends the one of before.
            let writes_alike = !matches!(pair, Pair::SignUp | Pair::SignUpReserved | Pair::Resend);
            let mut seen = Vec::new();
            for n in 0..TRIES {
                world.prepare(pair, n).await;
            }
            for known in [true, false] {
                let before = world.engine.work();
                for n in 0..TRIES {
                    world.run(pair, known, n).await;
                }
                let after = world.engine.work();
                seen.push([
                    ("hashes", after.hashes - before.hashes),
                    ("calls", after.calls - before.calls),
                    ("entries", after.entries - before.entries),
                    ("bytes", if writes_alike { after.bytes - before.bytes } else { 0 }),
                ]);
            }
            assert_eq!(seen[0], seen[1], "{pair:?}: {:?}", pair.sides());
            assert!(seen[0][1].1 >= TRIES as u64, "nothing was asked");
            world.stop();
        });
    }
}

#[test]
fn what_is_mailed_to_nobody_reaches_nobody_and_is_gone_like_a_mail_that_was_sent() {
    actix_web::rt::System::new().block_on(async {
        let world = World::start(World::failures_for(Pair::Forgot), true);
        world.prepare(Pair::Forgot, 0).await;
        for known in [true, false] {
            let before = world.engine.work().entries;
            world.run(Pair::Forgot, known, 0).await;
            // The token, the mail, and that it is gone.
            for _ in 0..100 {
                if world.engine.work().entries == before + 3 {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            assert_eq!(world.engine.work().entries, before + 3, "known: {known}");
        }
        assert_eq!(world.sent(), ["user000000@with.forgot.test"]);
        world.stop();
    });
}

#[test]
fn all_that_a_log_in_writes_down_shares_a_sync() {
    actix_web::rt::System::new().block_on(async {
        let world = World::start(World::failures_for(Pair::LogIn), false);
        for n in 0..TRIES {
            world.prepare(Pair::LogIn, n).await;
        }
        let before = world.engine.journal_stats();
        for n in 0..TRIES {
            world.log_in_rightly(Pair::LogIn, n).await;
        }
        let after = world.engine.journal_stats();
        let (entries, frames) = (after.assigned - before.assigned, after.frames - before.frames);
        // Charged, settled, and a family opened. A machine that stands still between two of them may part them.
        assert_eq!(entries, 3 * TRIES as u64);
        assert!(frames <= TRIES as u64 * 3 / 2, "{frames} syncs for {entries} entries of {TRIES} log-ins");
        world.stop();
    });
}
