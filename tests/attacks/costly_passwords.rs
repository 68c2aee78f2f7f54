//! Passwords as a weapon: texts that make the server work, or fail, more than they cost to send; and passwords with which
//! nobody could log in.
//!
//! Bound: every text is answered, whatever it contains; what it costs is measured in `tests/cost/`. Every field has a
//! maximum length that is checked before anything is done with it.

use serde_json::json;

use crate::api::foreign_hashes::vectors;
use crate::support::{PASSWORD, TestServer};

/// Walks over the keys that turn at each step overflowed the counters of the estimator: the server broke off instead of
/// answering, and wrote the place of its failure to standard error.
#[tokio::test]
async fn a_walk_over_the_keys_does_not_break_the_check() {
    let server = TestServer::start();
    // From 25 characters on only a repetition of four characters or fewer is refused.
    for (walk, is_acceptable) in [
        ("qw".repeat(24), false),
        ("25".repeat(16), false),
        ("qW".repeat(40), false),
        ("zaq1xsw2".repeat(12), true),
    ] {
        let body = json!({"password": walk, "email": "ada@test.org"});
        let answer = server.post("/v1/password/check", body).await;
        assert_eq!(answer.status.as_u16(), 200, "{walk}");
        assert_eq!(answer.body["acceptable"], json!(is_acceptable), "{walk}");
    }
}

#[tokio::test]
async fn a_long_address_is_refused_before_any_work() {
    let server = TestServer::start();
    let long = format!("{}@example.org", "a".repeat(14_000));
    let answer = server.post("/v1/password/check", json!({"password": PASSWORD, "email": long})).await;
    assert_eq!(answer.problem(), (422, "unprocessable"));
    assert_eq!(answer.body["errors"][0]["pointer"], json!("/email"));
    // A form checks while the user types, so an address need not be whole.
    for email in ["", "a", "ada@", "ada@example"] {
        let answer = server.post("/v1/password/check", json!({"password": PASSWORD, "email": email})).await;
        assert_eq!(answer.status.as_u16(), 200, "{email:?}");
    }
}

/// An operator who moves accounts here sends their old hashes as passwords. The owners could not log in, and a thief of the
/// old hashes could.
#[tokio::test]
async fn a_hash_does_not_become_a_password() {
    let server = TestServer::start();
    let hash = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    let signed_up = server.post("/v1/signup", json!({"email": "ada@test.org", "password": hash})).await;
    assert_eq!(signed_up.problem(), (422, "weak_password"));
    assert_eq!(signed_up.body["reasons"], json!(["looks_like_hash"]));
    let admin = server.operator_account("root@test.org", &["admin"]).await;
    let made =
        server.post_as("/v1/admin/users", &admin, json!({"email": "bob@test.org", "password": hash})).await;
    assert_eq!(made.body["reasons"], json!(["looks_like_hash"]));
}

/// The same for every form in which an import takes a hash.
#[tokio::test]
async fn no_hash_that_an_import_takes_becomes_a_password() {
    let server = TestServer::start();
    for vector in vectors() {
        let text = vector.hash.as_str().map_or_else(|| vector.hash.to_string(), str::to_owned);
        let body = json!({"password": text, "email": "ada@test.org"});
        let answer = server.post("/v1/password/check", body).await;
        let reasons = answer.body["reasons"].as_array().unwrap();
        assert!(reasons.contains(&json!("looks_like_hash")), "{}: {reasons:?}", vector.name);
    }
}

/// A phone types a no-break space, or a Japanese keyboard an ideographic one, and a desktop a plain one.
#[tokio::test]
async fn a_blank_of_another_keyboard_does_not_lock_the_owner_out() {
    let server = TestServer::start();
    for (n, [set, typed]) in [
        ["correct\u{a0}horse\u{3000}battery staple", "correct horse battery staple"],
        ["correct horse battery staple", "correct\u{2003}horse battery\u{202f}staple"],
        ["correct\u{a0}horse battery staple", "correct\u{3000}horse battery staple"],
    ]
    .into_iter()
    .enumerate()
    {
        let email = format!("ada{n}@test.org");
        let add = json!({"operation": "user_add", "email": email, "password": set, "roles": []});
        server.operated(add).await;
        assert_eq!(server.log_in(&email, typed).await.status.as_u16(), 200, "{set:?} typed as {typed:?}");
        assert_eq!(server.log_in(&email, set).await.status.as_u16(), 200, "{set:?}");
        let other = typed.replacen('c', "d", 1);
        assert_eq!(server.log_in(&email, &other).await.status.as_u16(), 401, "{other:?}");
    }
}

#[tokio::test]
async fn the_minimum_length_is_a_setting() {
    let server = TestServer::with(&[("password.min_length", "8")]);
    let check = async |password: &str| {
        let answer = server.post("/v1/password/check", json!({"password": password, "email": ""})).await;
        answer.body["reasons"].clone()
    };
    assert_eq!(check("vq7#Kd!x").await, json!([]));
    assert_eq!(check("vq7#Kd!").await, json!(["too_short"]));
    assert_eq!(check("barbarabarbara1").await, json!(["guessable"]));
    let server = TestServer::start();
    let answer = server.post("/v1/signup", json!({"email": "ada@test.org", "password": "vq7#Kd!x"})).await;
    assert_eq!(answer.body["reasons"], json!(["too_short"]));
    let message = answer.body["errors"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("use at least 15 characters"), "{message}");
}
