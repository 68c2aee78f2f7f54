//! Known and unknown names, taken and free addresses pass the same queue, actors and journal equally often. That they
//! also take equally long is measured by `cargo bench --bench equal_work`.

use crate::pairs::{PAIRS, World};

const TRIES: usize = 12;

#[test]
fn both_sides_of_every_pair_pass_the_same_queue_actors_and_commits() {
    for pair in PAIRS {
        actix_web::rt::System::new().block_on(async {
            // Without the thread that sends mails: what it does is done after the answer.
            let world = World::start(World::failures_for(pair), false);
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
                ]);
            }
            assert_eq!(seen[0], seen[1], "{pair:?}: {:?}", pair.sides());
            assert!(seen[0][1].1 >= TRIES as u64, "nothing was asked");
            world.stop();
        });
    }
}
