//! Passwords as a weapon: texts that make the server work, or fail, more than they cost to send; and passwords with which
//! nobody could log in.
//!
//! Bound: every text is answered, whatever it contains; what it costs is measured in `tests/cost/`. Every field has a
//! maximum length that is checked before anything is done with it.

use portcullis::flow::admin::{self, Admin, New};
use portcullis::flow::refusal::{FlowError, Refusal};
use portcullis::password::foreign;
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::foreign_hashes::{import, vectors};
use crate::support::{PASSWORD, TestServer, send};

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

/// Every log-in does the work of the dearest hash of each kind. So I bring one of each, all within their bounds: a log-in took a
/// minute.
#[tokio::test]
async fn four_imported_hashes_do_not_make_every_log_in_take_a_minute() {
    let (salt, hash) = ("c2FsdCBvZiAxNiBieXRlcw", "aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g");
    let hashes = [
        String::from("$2b$14$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"),
        format!("$argon2id$v=19$m=262144,t=10,p=1${salt}${hash}"),
        format!("$scrypt$ln=18,r=8,p=2${salt}${hash}"),
        format!("$pbkdf2-sha256$i=4000000${salt}${hash}"),
        // Each of these alone would be taken, and so are the first two.
        format!("$argon2i$v=19$m=65536,t=10,p=1${salt}${hash}"),
        format!("$scrypt$ln=17,r=8,p=1${salt}${hash}"),
        format!("$pbkdf2-sha256$i=600000${salt}${hash}"),
        format!("$pbkdf2-sha512$i=600000${salt}${hash}"),
    ];
    let lines: Vec<String> = (0..).zip(&hashes).map(|(n, hash)| line(n, hash)).collect();
    let body = lines.join("\n");
    for query in ["?dry_run=true", ""] {
        let server = TestServer::start();
        let admin = server.operator_account("root@test.org", &["admin"]).await;
        let path = format!("/v1/admin/users/import{query}");
        let request = server.request(Method::POST, &path).bearer_auth(&admin);
        let answer = send(request.header("content-type", "application/x-ndjson").body(body.clone())).await;
        let text = String::from_utf8(answer.bytes).unwrap();
        let said: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (counts, reports) = said.split_last().unwrap();
        let refused: Vec<u64> = reports.iter().map(|report| report["line"].as_u64().unwrap()).collect();
        assert_eq!(refused, [1, 2, 3, 4, 7, 8], "{text}");
        for report in reports {
            assert_eq!((&report["field"], &report["code"]), (&json!("/password_hash"), &json!("too_dear")));
            let why = report["why"].as_str().unwrap();
            assert!(why.contains(" KiB of argon2id to every log-in, and the most is 2097152"), "{why}");
        }
        assert_eq!(counts["created"], 2, "{counts}");
        let after = counts["log_in_kib"]["after"].as_u64().unwrap();
        assert!((1_000_000..=2_097_152 + 64).contains(&after), "{counts}");
    }
}

fn line(number: u32, hash: &str) -> String {
    json!({"email": format!("u{number}@test.org"), "email_verified": true, "password_hash": hash}).to_string()
}

/// A program that gives accounts their hashes one by one is told the same.
#[tokio::test]
async fn a_hash_that_is_given_to_one_account_is_bounded_too() {
    let server = TestServer::start();
    let engine = server.engine.upgrade().unwrap();
    let taken = json!("$2b$13$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy");
    import(&engine, "ada@test.org", &taken).await;
    let new = New { email: "bob@test.org", ..New::default() };
    let bob = admin::create(&engine, &Admin::operator(), new).await.unwrap().account_id();
    let dear =
        json!("$pbkdf2-sha256$i=600000$c2FsdCBvZiAxNiBieXRlcw$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g");
    let hash = foreign::read(&dear).unwrap();
    let refused = admin::set_hash(&engine, &Admin::operator(), bob, hash).await;
    let FlowError::Refused(Refusal::Field { pointer, code, message }) = refused.unwrap_err() else {
        panic!()
    };
    assert_eq!((pointer, code), ("/password_hash", "too_dear"));
    assert!(message.contains("the most is 2097152"), "{message}");
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
