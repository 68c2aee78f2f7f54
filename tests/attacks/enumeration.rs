//! Finding out who has an account by what an answer costs.
//!
//! Bound: a wrong password takes the same work for every name, also after the cost of hashes was changed, while some
//! hashes have the old cost and some the new one.

use serde_json::json;

use crate::api::foreign_hashes::import;
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

/// Hashes of "a password" that other programs have made, of two costs of bcrypt and two other programs.
const OTHERS: [&str; 5] = [
    "$2b$04$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
    "$2b$06$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
    "pbkdf2_sha256$2000$salt$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g",
    "pbkdf2_sha256$1000$salt$mSgVYre5QzY33ACYTOon3LwBG6YNOO1XFVIdHkZOEcQ=",
    "{SSHA}DZIdnapmr208TwSwz9vUpCzc6IxzYWx0",
];

/// Returns the work of a try, and whether it was a log-in.
async fn whole_work_of(server: &TestServer, name: &str, password: &str) -> ((u64, u64), bool) {
    let engine = server.engine.upgrade().unwrap();
    let before = engine.work();
    let answer = server.log_in(name, password).await;
    let after = engine.work();
    let work = (after.filled_kib - before.filled_kib, after.foreign_kib - before.foreign_kib);
    (work, answer.status.as_u16() == 200)
}

/// Accounts come from another program, whose hashes are dearer or cheaper than ours. The time of a wrong password must not
/// tell which names have an account, nor which came from there; also of a password that is tried in several forms.
#[tokio::test]
async fn a_hash_of_another_program_does_not_tell_who_has_an_account() {
    let server = TestServer::with(&[("lockout.failures", "100")]);
    let engine = server.engine.upgrade().unwrap();
    server.account("native@test.org").await;
    let before = whole_work_of(&server, "nobody@test.org", "a wrong password").await;
    assert_eq!(before, ((64, 0), false));
    for (n, hash) in OTHERS.iter().enumerate() {
        import(&engine, &format!("other{n}@test.org"), &json!(hash)).await;
    }
    let names = ["native@test.org", "nobody@test.org", "none@test.org"].map(str::to_owned);
    let names: Vec<String> =
        names.into_iter().chain((0..OTHERS.len()).map(|n| format!("other{n}@test.org"))).collect();
    // The dearest of each kind: bcrypt of cost 6, and 2,000 iterations of PBKDF2.
    let others = 64 * 200 + 2_000 * 2;
    for (wrong, forms) in [("a wrong password", 1), ("a wrong cafe\u{301}", 2), ("wrong\u{a0}cafe\u{301}", 3)]
    {
        for name in &names {
            let (work, is_in) = whole_work_of(&server, name, wrong).await;
            assert_eq!((work, is_in), ((64 * forms, others * forms), false), "{name} with {wrong:?}");
        }
    }
    drop(engine);
    // Also after a restart, when the hashes come from the journal.
    let server = server.restart();
    for name in &names {
        let (work, _) = whole_work_of(&server, name, "another wrong password").await;
        assert_eq!(work, (64, others), "{name}");
    }
    // A log-in costs the same, and our hash beside it, which replaces the other one.
    let (work, is_in) = whole_work_of(&server, "other3@test.org", "a password").await;
    assert_eq!((work, is_in), ((64 + 64, others), true));
    let (work, is_in) = whole_work_of(&server, "other3@test.org", "a password").await;
    assert_eq!((work, is_in), ((64, others), true));
}

/// Once the last hash of another program is replaced, nobody pays for it any more.
#[tokio::test]
async fn hashes_of_another_program_cost_nothing_once_all_are_replaced() {
    let server = TestServer::start();
    let engine = server.engine.upgrade().unwrap();
    import(&engine, "other@test.org", &json!(OTHERS[3])).await;
    let (work, is_in) = whole_work_of(&server, "nobody@test.org", "a wrong password").await;
    assert_eq!((work, is_in), ((64, 2_000), false));
    assert_eq!(whole_work_of(&server, "other@test.org", "a password").await, ((64 + 64, 2_000), true));
    assert_eq!(whole_work_of(&server, "other@test.org", "a password").await, ((64, 0), true));
    assert_eq!(whole_work_of(&server, "nobody@test.org", "a wrong password").await, ((64, 0), false));
}
