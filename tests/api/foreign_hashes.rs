//! Passwords that other programs have hashed: vectors that those programs made themselves (`tests/vectors/`) match, and become
//! argon2id with the first log-in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis::engine::Engine;
use portcullis::flow::admin::{self, Admin, Found, New};
use portcullis::password::argon2id::Choice;
use portcullis::password::foreign::{self, EqualWork, Stored, StoredHash};
use portcullis::password::pool::Options;
use portcullis::password::{Cost, HashPool, Password, QueueKey};
use portcullis::registry::account::AccountV4;
use portcullis::system::clock::Clock;
use portcullis::system::fail_stop::FailStop;
use portcullis::system::random::Random;
use serde_json::{Value, json};

use crate::support::TestServer;

/// A hash that a program has made of a password.
pub struct Vector {
    pub name: String,
    pub password: String,
    /// Further passwords that the program takes.
    pub same: Vec<String>,
    /// As an import line holds it.
    pub hash: Value,
}

pub fn vectors() -> Vec<Vector> {
    let all: Vec<Value> = serde_json::from_str(include_str!("../vectors/foreign_hashes.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let vector = |value: &Value| Vector {
        name: text(&value["name"]),
        password: text(&value["password"]),
        same: value["same"].as_array().unwrap().iter().map(text).collect(),
        hash: value["hash"].clone(),
    };
    all.iter().map(vector).collect()
}

/// Makes an account whose password `hash` was made of.
pub async fn import(engine: &Engine, email: &str, hash: &Value) {
    let new = New { email, verified: true, ..New::default() };
    let account = admin::create(engine, &Admin::operator(), new).await.unwrap();
    let hash = foreign::read(hash).unwrap();
    admin::set_hash(engine, &Admin::operator(), account.account_id(), hash).await.unwrap();
}

/// Returns what is stored as the password of `email`.
async fn stored(engine: &Engine, email: &str) -> String {
    account(engine, email).await.phc.unwrap().into()
}

async fn account(engine: &Engine, email: &str) -> AccountV4 {
    let found = admin::find(engine, &Admin::operator(), email).await.unwrap();
    let Some(Found::Account(account)) = found.into_iter().next() else { panic!("no account {email}") };
    account
}

fn pool() -> HashPool {
    let cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
    let wait_budget = Duration::from_mins(10);
    let options = Options { threads: 1, wait_budget, cost, implementation: Choice::Auto, memory_kib: 64 };
    let fail_stop = FailStop::new(|why| panic!("{why}"));
    HashPool::start(options, &Clock::system(), &Arc::new(Random::seeded(1)), &fail_stop).unwrap()
}

#[tokio::test]
async fn what_other_programs_have_hashed_matches_its_password_and_no_other() {
    let pool = pool();
    let vectors = vectors();
    assert!(vectors.len() > 90);
    for Vector { name, password, same, hash } in vectors {
        let stored = match foreign::read(&hash).unwrap_or_else(|fault| panic!("{name}: {fault}")) {
            StoredHash::Text(text) => text,
            StoredHash::Fast(digest) => {
                let stored: Box<str> = pool.wrap(QueueKey::OWN, digest).await.unwrap().into();
                // The digest itself stands nowhere in it.
                assert!(stored.starts_with("$wrapped-ssha") && stored.contains("$argon2id$"), "{name}");
                stored
            }
        };
        let check = async |typed: &str| {
            let work = EqualWork::default();
            pool.verify(QueueKey::OWN, Password::for_login(typed), Some(&stored), work).await.unwrap()
        };
        for right in [&password].into_iter().chain(&same) {
            let verified = check(right).await;
            assert!(verified.matches, "{name}: {right}");
            // What bcrypt has cut off may be anything, and must not become the password.
            let is_cut = name == "bcrypt of 72 bytes" && *right != password;
            assert_eq!(verified.needs_rehash, !is_cut, "{name}");
        }
        let cut: String = password.chars().skip(1).collect();
        for wrong in [format!("x{password}"), cut, password.to_uppercase(), String::new()] {
            assert!(!check(&wrong).await.matches, "{name}: {wrong}");
        }
    }
}

#[tokio::test]
async fn an_account_of_another_program_logs_in_with_its_password_and_is_argon2id_afterwards() {
    let server = TestServer::with(&[("lockout.failures", "100")]);
    let engine = server.engine.upgrade().unwrap();
    let by_name: BTreeMap<String, Vector> =
        vectors().into_iter().map(|vector| (vector.name.clone(), vector)).collect();
    for (n, vector) in by_name.values().enumerate() {
        let Vector { name, password, hash, .. } = vector;
        let email = format!("ada{n}@test.org");
        import(&engine, &email, hash).await;
        let before = stored(&engine, &email).await;
        assert_eq!(server.log_in(&email, &format!("x{password}")).await.status.as_u16(), 401, "{name}");
        assert_eq!(stored(&engine, &email).await, before, "{name}");
        assert_eq!(server.log_in(&email, password).await.status.as_u16(), 200, "{name}");
        let after = stored(&engine, &email).await;
        assert!(after.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{name}: {after}");
        assert_eq!(server.log_in(&email, password).await.status.as_u16(), 200, "{name}");
        assert_eq!(server.log_in(&email, &format!("x{password}")).await.status.as_u16(), 401, "{name}");
        assert_eq!(stored(&engine, &email).await, after, "{name}");
    }
}

#[tokio::test]
async fn bcrypt_reads_seventy_two_bytes_until_they_alone_are_typed_and_all_afterwards() {
    let server = TestServer::start();
    let engine = server.engine.upgrade().unwrap();
    let vector = vectors().into_iter().find(|vector| vector.name == "bcrypt of 72 bytes").unwrap();
    import(&engine, "ada@test.org", &vector.hash).await;
    let [whole, other] = &vector.same[..] else { panic!("two longer passwords") };
    for typed in [whole, other, &vector.password] {
        assert_eq!(server.log_in("ada@test.org", typed).await.status.as_u16(), 200, "{typed}");
    }
    for longer in [whole, other] {
        assert_eq!(server.log_in("ada@test.org", longer).await.status.as_u16(), 401, "{longer}");
    }
    assert_eq!(server.log_in("ada@test.org", &vector.password).await.status.as_u16(), 200);
}

/// An import must not replace what its owner has set since.
#[tokio::test]
async fn a_hash_is_given_to_an_account_without_a_password_only() {
    let server = TestServer::start();
    let engine = server.engine.upgrade().unwrap();
    let hash = &vectors()[0].hash;
    import(&engine, "ada@test.org", hash).await;
    let before = stored(&engine, "ada@test.org").await;
    let account = account(&engine, "ada@test.org").await;
    let hash = foreign::read(hash).unwrap();
    let refused = admin::set_hash(&engine, &Admin::operator(), account.account_id(), hash).await;
    assert!(refused.is_err());
    assert_eq!(stored(&engine, "ada@test.org").await, before);
}

#[test]
fn logs_and_dumps_name_the_scheme_and_show_no_hash() {
    for vector in vectors() {
        let hash = foreign::read(&vector.hash).unwrap();
        let shown = format!("{hash:?}");
        assert!(shown.len() < 45, "{shown}");
        if let StoredHash::Text(text) = hash {
            let stored = Stored::parse(&text).unwrap();
            for shown in [format!("{stored:?}"), stored.to_string()] {
                assert!(shown.split(&['$', ' ', '('][..]).all(|part| part.len() < 30), "{shown}");
            }
        }
    }
    let shown = |text: &str| Stored::parse(text).unwrap().to_string();
    assert_eq!(shown("$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"), "bcrypt cost=10");
    let argon2i = "$argon2i$v=16$m=64,t=2,p=1$YSBzYWx0IG9mIDE2IGJ5dA$aGFzaGhhc2hoYXNoaGFzaA";
    assert_eq!(shown(argon2i), "argon2i v=16 m=64,t=2,p=1");
    assert_eq!(
        shown(&format!("$wrapped-ssha$c2FsdA{}", argon2i.replace("2i$v=16", "2id$v=19"))),
        "ssha in argon2id m=64,t=2,p=1"
    );
}

#[test]
fn what_is_no_hash_that_can_be_stored_is_refused_by_name() {
    let refused = |value: Value| foreign::read(&value).unwrap_err().to_string();
    let text = |text: &str| refused(json!(text));
    for (hash, expected) in [
        (
            "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
            "{SHA} is refused: a digest without a salt is looked up in a table",
        ),
        ("{MD5}X03MO1qnZdYdgyfeuILPmQ==", "{MD5} is refused: a digest without a salt"),
        ("5f4dcc3b5aa765d61d8327deb882cf99", "MD5 or NTLM is refused: a digest without a salt"),
        ("5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8", "SHA-1 is refused: a digest without a salt"),
        ("$1$salt$qJH7.N4xYta3aEG/dfqo/0", "MD5 crypt is refused: it is guessed billions of times a second"),
        ("$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "MD5 crypt is refused"),
        ("$P$B12345678L6Lpt4BxNotVIMILOa9u81", "phpass (MD5) is refused"),
        ("$3$$8846f7eaee8fb117ad06bdd830b7586c", "NTLM is refused"),
        ("rl.3StKT.4T8M", "DES crypt is refused"),
        ("{CRYPT}rl.3StKT.4T8M", "DES crypt is refused"),
        ("{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "{SSHA} without a salt is refused: a digest without a salt"),
        ("$2x$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", "bcrypt $2$ and $2x$ is refused"),
        ("pbkdf2_sha1$1000$salt$c2VhIHNhbHQ", "PBKDF2-SHA1 is refused: PBKDF2 is taken with SHA-256"),
        ("sha1$salt$c2VhIHNhbHQ", "a salted MD5 or SHA-1 is refused"),
        ("!", "a password that cannot be used is refused: leave password_hash out"),
        (
            "AMjJysvMzc7P0NHS09TV1tdoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaA==",
            "ASP.NET Identity is refused: version 2",
        ),
        (
            "AQAAAAAAAAPoAAAAEHNzc3Nzc3Nzc3Nzc3Nzc3NoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaA==",
            "ASP.NET Identity is refused: PBKDF2 is taken",
        ),
        (
            "AQAAAAEAAAPo7msoAHNzc3Nzc3Nzc3Nzc3Nzc3NoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaA==",
            "ASP.NET Identity: the blob of version 3 is damaged",
        ),
        ("{CLEARTEXT}secret", "a password in clear is refused"),
        ("$y$j9T$salt$hash", "yescrypt and scrypt of crypt(3) is refused"),
        ("$new$1$salt$hash", "$new$ is no scheme of password hashes that this server checks"),
        ("{NEW}hash", "{NEW} is no scheme of password hashes"),
        ("new$hash", "new$ is no scheme of password hashes"),
        ("a password", "a text without a name is no scheme of password hashes"),
        (
            "$2b$15$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
            "bcrypt: the cost must be 4 to 14, and is 15",
        ),
        (
            "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhW",
            "bcrypt: expected 22 characters of salt",
        ),
        (
            "$2b$10$N9qo8uLOickgx2ZMRZoMye#jZAgcfl7p92ldGxad68LJZdL17lhWy",
            "bcrypt: salt and hash are not in its base64",
        ),
        (
            "$argon2id$v=19$m=9999999,t=2,p=1$c29tZXNhbHQ$bm8",
            "argon2: the cost is out of bounds: up to 256 MiB",
        ),
        ("$argon2id$v=19$m=64,t=2,p=1,data=AAAA$c29tZXNhbHQ$bm8", "argon2: expected $argon2id$v=19$m="),
        ("$argon2i$v=18$m=64,t=2,p=1$c29tZXNhbHQ$bm8", "argon2: expected"),
        ("$argon2i$v=19$m=64,t=2,p=1$c29tZQ$aGFzaGhhc2hoYXNoaGFzaA", "argon2: the salt is not 8 to 48 bytes"),
        (
            "$scrypt$ln=20,r=8,p=1$c2FsdA$aGFzaGhhc2hoYXNoaGFzaA",
            "scrypt: the memory in KiB must be 0 to 262144",
        ),
        ("scrypt$1025$salt$8$1$aGFzaGhhc2hoYXNoaGFzaA", "scrypt: N is no power of two"),
        (
            "pbkdf2_sha256$5000000$salt$aGFzaGhhc2hoYXNoaGFzaA",
            "PBKDF2: the number of iterations must be 1000 to 4000000",
        ),
        ("pbkdf2_sha256$600000$salt$aGFzaA", "PBKDF2: the hash is not 16 to 512 bytes in base64"),
        (
            "$6$rounds=9999999$salt$aGFzaA",
            "SHA-2 crypt: the number of rounds must be 1000 to 1000000, and is 9999999",
        ),
        ("$6$rounds=5000$salt$aGFzaA", "SHA-2 crypt: the hash is not 43 or 86 characters of its base64"),
        ("$6$a salt with blanks$aGFzaA", "SHA-2 crypt: the salt does not have 1 to 16 characters"),
    ] {
        let message = text(hash);
        assert!(message.starts_with(expected), "{hash}: {message}");
        // Whoever reads a report of an import learns no hash.
        assert!(hash.len() < 20 || !message.contains(&hash[hash.len() - 12..]), "{message}");
    }
    let long = "x".repeat(1_025);
    assert_eq!(text(&long), "password hash: longer than 1,024 bytes");
    for (object, expected) in [
        (json!(7), "password hash: expected a text or an object"),
        (json!({"other": {}}), "password hash: expected {\"firebase\": {…}} or {\"keycloak\": {…}}"),
        (json!({"firebase": {}, "keycloak": {}}), "password hash: expected"),
        (json!({"firebase": {"hash": "AAAA"}}), "firebase: salt is missing, or not in base64"),
        (json!({"keycloak": {"algorithm": "pbkdf2"}}), "keycloak: hashIterations is missing"),
        (
            json!({"keycloak": {"algorithm": "pbkdf2", "hashIterations": 20_000, "salt": "AAAA", "value": "AAAA"}}),
            "keycloak with pbkdf2 (SHA-1) is refused",
        ),
        (
            json!({"keycloak": {"credentialData": "no"}}),
            "keycloak: credentialData or secretData is no JSON object",
        ),
    ] {
        let message = refused(object);
        assert!(message.starts_with(expected), "{message}");
    }
}
