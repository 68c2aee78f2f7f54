//! Finding out who has an account by what an answer costs.
//!
//! Bound: a wrong password takes the same work for every name, also after the cost of hashes was changed, while some
//! hashes have the old cost and some the new one.

use crate::support::{PASSWORD, TestServer};

/// Returns the KiB that hashes have filled while `name` was tried with `password`, and the status of the answer.
async fn work_of(server: &TestServer, name: &str, password: &str) -> (u64, u16) {
    let engine = server.engine.upgrade().unwrap();
    let before = engine.work().filled_kib;
    let answer = server.log_in(name, password).await;
    (engine.work().filled_kib - before, answer.status.as_u16())
}

/// Tries known and unknown names with a wrong password, and returns the work of each try, all of which must be equal.
async fn equal_work(server: &TestServer, round: u32) -> u64 {
    let mut all = Vec::new();
    for n in 0..8 {
        for name in [format!("ada{n}@test.org"), format!("nobody{round}.{n}@test.org")] {
            let (work, status) = work_of(server, &name, &format!("a wrong password {round}")).await;
            assert_eq!(status, 401);
            all.push((name, work));
        }
    }
    let first = all[0].1;
    assert!(all.iter().all(|(_, work)| *work == first), "a stranger can tell who has an account: {all:?}");
    first
}

#[tokio::test]
async fn a_changed_cost_does_not_tell_who_has_an_account() {
    let server = TestServer::with(&[("lockout.failures", "100")]);
    for n in 0..8 {
        server.account(&format!("ada{n}@test.org")).await;
    }
    assert_eq!(equal_work(&server, 1).await, 64);

    // The cost is raised. Nobody has a hash of the new cost yet, so nobody pays it.
    let server = server.restart_with(&[("password.memory_kib", "640"), ("password.passes", "2")]);
    assert_eq!(equal_work(&server, 2).await, 64);

    // The first owner logs in, and is hashed anew. From then on all pay the new cost.
    assert_eq!(work_of(&server, "ada0@test.org", PASSWORD).await, (64 + 1280, 200));
    assert_eq!(equal_work(&server, 3).await, 1280);
    assert_eq!(work_of(&server, "ada1@test.org", PASSWORD).await, (1280 + 1280, 200));

    // It is lowered again. Hashes of the dear cost are still there, also after a restart from the journal.
    let server = server.restart_with(&[("password.memory_kib", "128"), ("password.passes", "1")]);
    assert_eq!(equal_work(&server, 4).await, 1280);

    // Once the owners of the dear hashes have logged in, all pay what is left.
    for n in 0..8 {
        assert_eq!(work_of(&server, &format!("ada{n}@test.org"), PASSWORD).await.1, 200);
    }
    assert_eq!(equal_work(&server, 5).await, 128);
}
