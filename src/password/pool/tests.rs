use super::*;
use base64ct::Encoding;

use crate::password::foreign::{EqualForeign, ForeignCost, StoredHash, read_text};
use crate::password::{EqualCost, KnownBad};

fn pool(threads: usize, cost: Cost, budget_ms: u64) -> HashPool {
    let wait_budget = Duration::from_millis(budget_ms);
    let memory_kib = u64::from(cost.memory_kib);
    let options = Options { threads, wait_budget, cost, implementation: Choice::Auto, memory_kib };
    let fail_stop = FailStop::new(|why| panic!("{why}"));
    HashPool::start(options, &Clock::system(), &Arc::new(Random::seeded(1)), &fail_stop).unwrap()
}

fn key(lane: Lane) -> QueueKey {
    QueueKey::new(lane, "192.0.2.0/24".parse().unwrap())
}

const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
const SLOW: Cost = Cost { memory_kib: 19_456, passes: 4, lanes: 1 };
const QUIET: Lane = Lane::Quiet;

#[tokio::test]
async fn many_passwords_are_checked_at_once_and_each_against_its_own() {
    let pool = pool(2, CHEAP, 60_000);
    let strings = (0..20).map(|n| pool.hash(key(QUIET), Password::for_login(&format!("password {n}"))));
    let mut hashed = Vec::new();
    for string in strings {
        hashed.push(string.await.unwrap());
    }
    for (n, string) in hashed.iter().enumerate() {
        let right = pool
            .verify(
                key(QUIET),
                Password::for_login(&format!("password {n}")),
                Some(string),
                EqualWork::default(),
            )
            .await
            .unwrap();
        assert_eq!(right, Verified { matches: true, needs_rehash: false });
        assert!(
            !pool
                .verify(key(QUIET), Password::for_login("password"), Some(string), EqualWork::default())
                .await
                .unwrap()
                .matches
        );
    }
    assert!(
        !pool
            .verify(key(QUIET), Password::for_login("password"), None, EqualWork::default())
            .await
            .unwrap()
            .matches
    );
    let broken = pool
        .verify(key(QUIET), Password::for_login("password"), Some("garbage"), EqualWork::default())
        .await
        .unwrap();
    assert_eq!(broken, Verified { matches: false, needs_rehash: true });
}

#[tokio::test]
async fn a_client_that_is_gone_withdraws_a_job_that_waits_and_not_one_that_runs() {
    let pool = pool(1, SLOW, 60_000);
    let verify = |gone| {
        let password = Password::for_login("a password");
        pool.verify_unless(key(QUIET), password, None, EqualWork::default(), gone)
    };
    let (waits, gone) = oneshot::channel::<()>();
    let mut running = Box::pin(verify(gone));
    assert!(poll_once(&mut running).is_none());
    while pool.stats().running == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (other_waits, other_gone) = oneshot::channel::<()>();
    let mut waiting = Box::pin(verify(other_gone));
    assert!(poll_once(&mut waiting).is_none());
    drop((waits, other_waits));
    assert_eq!(waiting.await, Err(Unverified::Withdrawn));
    assert!(!running.await.unwrap().matches);
    assert_eq!(pool.stats().queued(), 0);
}

#[tokio::test]
async fn a_full_queue_sheds_at_once_and_a_dropped_job_frees_its_place() {
    let pool = pool(1, SLOW, 0);
    let mut waiting = Vec::new();
    let shed = loop {
        let mut job = Box::pin(pool.hash(key(QUIET), Password::for_login("a password")));
        match poll_once(&mut job) {
            Some(refused) => break refused.unwrap_err(),
            None => waiting.push(job),
        }
        assert!(waiting.len() < 3);
    };
    assert!(shed.retry_after >= Duration::from_secs(1));
    assert_eq!(pool.stats().shed(), 1);
    let mut refused = 0;
    for job in waiting {
        refused += u64::from(job.await.is_err());
    }
    // On a busy machine a job may wait longer than a budget of zero. Nothing else refuses one.
    assert_eq!(pool.stats().lanes.iter().map(|lane| lane.expired).sum::<u64>(), refused);
    assert_eq!(pool.stats().queued(), 0);
}

#[tokio::test]
async fn a_password_stored_with_foreign_blanks_matches_and_is_hashed_anew() {
    let pool = pool(1, CHEAP, 60_000);
    let typed = "correct\u{a0}horse battery";
    // Earlier versions hashed what was typed.
    let before = hash(typed.as_bytes(), CHEAP, [7; 16], &mut Implementation::reference()).unwrap();
    let now = pool.hash(key(QUIET), Password::parse(typed).unwrap()).await.unwrap();
    let mut filled = Vec::new();
    for (stored, text, expected) in [
        (Some(&before), typed, (true, true)),
        (Some(&now), typed, (true, false)),
        (Some(&now), "correct horse battery", (true, false)),
        (Some(&now), "wrong\u{a0}horse battery", (false, false)),
        (None, "wrong\u{a0}horse battery", (false, true)),
    ] {
        let earlier = pool.stats().filled_kib;
        let stored = stored.map(String::as_str);
        let verified =
            pool.verify(key(QUIET), Password::for_login(text), stored, EqualWork::default()).await.unwrap();
        assert_eq!((verified.matches, verified.needs_rehash), expected, "{text:?}");
        filled.push(pool.stats().filled_kib - earlier);
    }
    // The work depends on what was typed alone.
    assert_eq!(filled, [128, 128, 64, 128, 128]);
}

#[tokio::test]
async fn every_check_fills_as_much_memory_as_the_dearest_hash() {
    let pool = pool(1, CHEAP, 60_000);
    let dearest = Cost { memory_kib: 640, passes: 2, lanes: 1 };
    let cheap = pool.hash(key(QUIET), Password::for_login("a password")).await.unwrap();
    let dear = hash(b"a password", dearest, [7; 16], &mut Implementation::reference()).unwrap();
    for (stored, text, matches) in [
        (Some(&cheap), "a password", true),
        (Some(&cheap), "another", false),
        (Some(&dear), "a password", true),
        (Some(&dear), "another", false),
        (None, "a password", false),
    ] {
        for decoy in [CHEAP, dearest] {
            let earlier = pool.stats().filled_kib;
            let equal = EqualWork { native: Some(EqualCost { decoy, dearest }), ..EqualWork::default() };
            let stored = stored.map(String::as_str);
            let verified = pool.verify(key(QUIET), Password::for_login(text), stored, equal).await.unwrap();
            assert_eq!(verified.matches, matches, "{text:?}");
            assert_eq!(pool.stats().filled_kib - earlier, dearest.work());
        }
    }
}

/// Stored texts of other systems, all of "a password": `pbkdf2-sha256` with 1,000 and 4,000 iterations, and `bcrypt` of cost 4
/// and 6.
const OTHERS: [&str; 4] = [
    "$pbkdf2-sha256$i=1000$c2VhIHNhbHQ$x1fctS3JyjwSHz1tPk2YHX3ytel/C9qQzVlwv1tERBQ",
    "$pbkdf2-sha256$i=4000$c2VhIHNhbHQ$Bc++Bz6slFxuBj+9eMZUEOyYMVA1byIVLUuxElbbtd0",
    "$2b$04$S9ilWY4dIWqV0CrXWNqO3OZatHQ/vPVHWbFsKubrrXIBorXpCkxM6",
    "$2b$06$BgEVoyQwBYQWrWPK/MRQ6uxV.Y4T7oLkDdvCL8AO79wulqU3I5Q8y",
];

#[tokio::test]
async fn every_check_does_as_much_of_each_other_system_as_its_dearest_hash() {
    let pool = pool(1, CHEAP, 60_000);
    let native = pool.hash(key(QUIET), Password::for_login("a password")).await.unwrap();
    let Ok(StoredHash::Fast(digest)) = read_text("{SSHA}DZIdnapmr208TwSwz9vUpCzc6IxzYWx0") else {
        panic!("no digest")
    };
    let wrapped = pool.wrap(key(QUIET), digest).await.unwrap();
    let (pbkdf2, bcrypt) = (ForeignCost::Pbkdf2Sha256, ForeignCost::Bcrypt);
    let mut efforts = Vec::new();
    let known = [&native, &wrapped].map(String::as_str).into_iter().chain(OTHERS).map(Some);
    for stored in known.chain([None, Some("garbage")]) {
        for decoys in [[pbkdf2(1_000), bcrypt(4)], [pbkdf2(4_000), bcrypt(6)]] {
            for (text, is_right) in [("a password", true), ("another", false)] {
                let before = pool.stats();
                let foreign = [(decoys[0], pbkdf2(4_000)), (decoys[1], bcrypt(6))];
                let foreign = foreign.map(|(decoy, dearest)| EqualForeign { decoy, dearest });
                let native = Some(EqualCost::of(CHEAP));
                let equal = EqualWork { native, foreign: foreign.into(), tries_as_typed: true };
                let verified =
                    pool.verify(key(QUIET), Password::for_login(text), stored, equal).await.unwrap();
                let is_stored = stored.is_some_and(|stored| stored != "garbage");
                assert_eq!(verified.matches, is_right && is_stored, "{stored:?} with {text:?}");
                // Only what argon2id has made of the password itself stays as it is.
                assert_eq!(verified.needs_rehash, !stored.is_some_and(|text| text.starts_with("$argon2id")));
                let after = pool.stats();
                efforts.push((after.filled_kib - before.filled_kib, after.foreign_kib - before.foreign_kib));
            }
        }
    }
    let expected = (64, pbkdf2(4_000).as_kib() + bcrypt(6).as_kib());
    assert!(efforts.iter().all(|effort| *effort == expected), "{efforts:?}");
}

/// A password that is too long, or none, is checked as the empty one, so that it takes as long. An import must not make that
/// one right.
#[tokio::test]
async fn the_empty_password_matches_no_stored_text() {
    let pool = pool(1, CHEAP, 60_000);
    let native = hash(b"", CHEAP, [7; 16], &mut Implementation::reference()).unwrap();
    let mut of_nothing = [0; 32];
    pbkdf2::pbkdf2_hmac::<sha2::Sha256>(b"", b"sea salt", 1_000, &mut of_nothing);
    let encoded = base64ct::Base64Unpadded::encode_string(&of_nothing);
    let foreign = format!("$pbkdf2-sha256$i=1000$c2VhIHNhbHQ${encoded}");
    for stored in [native, foreign] {
        for typed in ["", &"a".repeat(2_000)] {
            let password = Password::for_login(typed);
            let verified = pool.verify(key(QUIET), password, Some(&stored), EqualWork::default()).await;
            assert!(!verified.unwrap().matches, "{stored}");
        }
    }
}

/// Other systems stop at a NUL, or pad with NULs: anything behind one would match.
#[tokio::test]
async fn a_password_with_a_nul_matches_no_hash_of_another_system() {
    let pool = pool(1, CHEAP, 60_000);
    for stored in OTHERS {
        for typed in ["a password\0", "a password\0and more"] {
            let password = Password::for_login(typed);
            let verified = pool.verify(key(QUIET), password, Some(stored), EqualWork::default()).await;
            assert!(!verified.unwrap().matches, "{stored}");
        }
    }
    // bcrypt of the empty password, by the library for Python.
    let StoredHash::Text(stored) =
        read_text("$2b$04$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq").unwrap()
    else {
        panic!("bcrypt is not fast")
    };
    for typed in ["\0", "\0anything"] {
        let password = Password::for_login(typed);
        let verified = pool.verify(key(QUIET), password, Some(&stored), EqualWork::default()).await;
        assert!(!verified.unwrap().matches);
    }
}

/// bcrypt reads 72 bytes. What somebody types behind them must not become a part of the password.
#[tokio::test]
async fn a_password_that_bcrypt_has_cut_is_not_hashed_anew() {
    let pool = pool(1, CHEAP, 60_000);
    let long = "x".repeat(72);
    // bcrypt of that, by the library for Python.
    let StoredHash::Text(stored) =
        read_text("$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i").unwrap()
    else {
        panic!("bcrypt is not fast")
    };
    for (typed, is_hashed_anew) in [(long.clone(), true), (format!("{long} and a typing error"), false)] {
        let password = Password::for_login(&typed);
        let verified = pool.verify(key(QUIET), password, Some(&stored), EqualWork::default()).await.unwrap();
        assert!(verified.matches, "{typed}");
        assert_eq!(verified.needs_rehash, is_hashed_anew, "{typed}");
    }
}

/// Such a password is not counted among the stored ones: that of before a change of address.
#[tokio::test]
async fn a_hash_of_another_system_is_checked_also_where_none_is_counted() {
    let pool = pool(1, CHEAP, 60_000);
    for stored in OTHERS {
        for (text, is_right) in [("a password", true), ("another", false)] {
            let password = Password::for_login(text);
            let verified = pool.verify(key(QUIET), password, Some(stored), EqualWork::default()).await;
            assert_eq!(verified.unwrap().matches, is_right, "{stored}");
        }
    }
}

/// A stranger who sends weak passwords must not make hashes look cheap, or too many would be admitted.
#[tokio::test]
async fn passwords_that_are_only_judged_do_not_count_as_hashes() {
    let pool = pool(1, SLOW, 60_000);
    let policy = Arc::new(Policy { chars_min: 15, service: "Portcullis".into(), known: KnownBad::default() });
    let before = pool.stats();
    for _ in 0..20 {
        let weak = Password::for_login("passwordpassword");
        let found = pool.accept(key(QUIET), &policy, weak.clone(), "ada@test.org").await.unwrap();
        assert_eq!(found, Err(vec![Weakness::KnownBad]));
        let advice = pool.advise(key(QUIET), &policy, weak, "ada@test.org").await.unwrap();
        assert_eq!(advice.reasons, [Weakness::KnownBad]);
    }
    let after = pool.stats();
    assert_eq!(after.hash_time, before.hash_time);
    assert_eq!(after.filled_kib, before.filled_kib);
    assert_eq!((after.checks.admitted, after.checks.done, after.admitted()), (20, 20, 20));
    let good = Password::for_login("correct horse battery staple");
    let text = pool.accept(key(QUIET), &policy, good.clone(), "ada@test.org").await.unwrap().unwrap();
    assert!(pool.verify(key(QUIET), good, Some(&text), EqualWork::default()).await.unwrap().matches);
}

/// Polls once: afterwards the job is in the queue, or refused.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}
