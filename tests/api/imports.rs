//! Accounts of another system, imported over HTTP and exported again.

use std::fmt::Write;
use std::time::Duration;

use portcullis::flow::admin::import::lines::{Groups, Line};
use portcullis::flow::admin::import::{How, Import};
use portcullis::flow::admin::{self, Admin, Export, Found};
use portcullis::registry::account::AccountV4;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::foreign_hashes::vectors;

use crate::support::{Answer, PASSWORD, TestServer, send};

const IMPORT: &str = "/v1/admin/users/import";

/// Sends lines, and returns what each line of the answer says.
async fn import(server: &TestServer, access: &str, query: &str, lines: &str) -> Vec<Value> {
    let answer = post(server, access, query, lines.to_owned()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let text = String::from_utf8(answer.bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn post(server: &TestServer, access: &str, query: &str, lines: impl Into<reqwest::Body>) -> Answer {
    let request = server.request(Method::POST, &format!("{IMPORT}{query}")).bearer_auth(access);
    send(request.header("content-type", "application/x-ndjson").body(lines)).await
}

fn lines_of(text: &str) -> Vec<Line> {
    let mut groups = Groups::default();
    groups.feed(text.as_bytes());
    groups.end();
    groups.rest().unwrap_or_default()
}

async fn account(server: &TestServer, email: &str) -> Option<AccountV4> {
    let engine = server.engine.upgrade().unwrap();
    let found = admin::find(&engine, &Admin::operator(), email).await.unwrap();
    found.into_iter().find_map(|found| match found {
        Found::Account(account) => Some(account),
        Found::SignUp(_) => None,
    })
}

async fn exported(server: &TestServer, has_hashes: bool) -> Vec<String> {
    let engine = server.engine.upgrade().unwrap();
    let mut export = Export::begin(&engine, &Admin::operator(), has_hashes).await.unwrap();
    let mut lines = Vec::new();
    while let Some(next) = export.next(&engine).await.unwrap() {
        lines.extend(next.lines().map(str::to_owned));
    }
    assert_eq!(export.exported(), lines.len() as u64);
    lines.sort();
    lines
}

#[tokio::test]
async fn an_administrator_makes_one_account_with_a_hash_of_another_system() {
    let server = TestServer::start();
    let admin = server.operator_account("root@test.org", &["admin"]).await;
    let make = async |body: Value| server.post_as("/v1/admin/users", &admin, body).await;
    for vector in vectors().iter().step_by(9) {
        let email = format!("{}@test.org", vector.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
        let made = make(json!({"email": email, "password_hash": vector.hash, "verified": true})).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}: {made:?}", vector.name);
        let log_in = async |password: &str| {
            server.post("/v1/login", json!({"email": email, "password": password})).await.status
        };
        assert_eq!(log_in("another password 77").await, StatusCode::UNAUTHORIZED, "{}", vector.name);
        assert_eq!(log_in(&vector.password).await, StatusCode::OK, "{}", vector.name);
    }
    let bcrypt = "$2b$04$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    let fault = async |body: Value| {
        let answer = make(body).await;
        let field = &answer.body["errors"][0];
        (answer.status.as_u16(), format!("{} {}", field["pointer"], field["code"]).replace('"', ""))
    };
    for (hash, code) in [
        (json!("an md5 of something"), "unknown_scheme"),
        (json!("$2b$31$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"), "out_of_bounds"),
        (json!(7), "invalid_hash"),
    ] {
        let told = fault(json!({"email": "eve@test.org", "password_hash": hash})).await;
        assert_eq!(told, (422, format!("/password_hash {code}")), "{hash}");
    }
    let both = json!({"email": "eve@test.org", "password_hash": bcrypt, "password": PASSWORD});
    assert_eq!(fault(both).await, (422, "/password_hash has_password".into()));
    let invited = json!({"email": "eve@test.org", "password_hash": bcrypt, "invite": true});
    assert_eq!(fault(invited).await, (422, "/invite has_password".into()));
    let eve = json!({"email": "eve@test.org", "password_hash": bcrypt, "external_id": "e1"});
    assert_eq!(make(eve.clone()).await.status, StatusCode::CREATED);
    assert_eq!(make(eve).await.problem(), (409, "email_taken"));
    let other = json!({"email": "eva@test.org", "password_hash": bcrypt, "external_id": "e1"});
    assert_eq!(make(other).await.problem(), (409, "external_id_taken"));
}

#[tokio::test]
async fn a_line_becomes_an_account_that_is_found_by_its_old_id_and_logs_in_with_its_old_password() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let vector = vectors().into_iter().find(|vector| vector.name.starts_with("bcrypt")).unwrap();
    let uuid = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
    let line = json!({
        "id": uuid, "email": "Ada@test.org", "email_verified": true, "password_hash": vector.hash, "name": "Ada",
        "roles": ["staff"], "locale": "de", "created_at": "2020-01-02T03:04:05.678Z", "user_metadata": {"a": 1},
        "app_metadata": {"plan": "pro"},
    });
    let answer = import(&server, &root, "", &format!("{line}\n")).await;
    let [counts] = &answer[..] else { panic!("{answer:?}") };
    assert_eq!((&counts["created"], &counts["refused"]), (&json!(1), &json!(0)), "{counts}");
    // Every log-in takes the work of that hash, too.
    assert_eq!(counts["log_in_kib"]["before"], 64);
    assert!(counts["log_in_kib"]["after"].as_u64() > Some(64), "{counts}");
    let found = server.get_as(&format!("/v1/admin/users?external_id={uuid}"), &root).await;
    let found = &found.array("items")[0];
    assert_eq!(found["email"], "ada@test.org");
    assert_eq!(found["created_at"], "2020-01-02T03:04:05Z");
    assert_eq!(found["roles"], json!(["staff"]));
    assert!(found["id"].as_str().unwrap().ends_with("c10b58cc4372a5670e02b2c3d479"), "{found}");
    let user = format!("/v1/admin/users/{}", found["id"].as_str().unwrap());
    let shown = server.get_as(&user, &root).await;
    assert!(shown.text("foreign_hash").starts_with("bcrypt"), "{}", shown.body);
    assert!(shown.body["imported_at"].is_string());
    assert_eq!(server.figure(&root, "foreign_hashes").await, Some(1));
    assert_eq!(server.log_in("ada@test.org", &format!("x{}", vector.password)).await.status, 401);
    assert_eq!(server.log_in("ada@test.org", &vector.password).await.status, 200);
    let account = account(&server, "ada@test.org").await.unwrap();
    assert!(account.phc.unwrap().starts_with("$argon2id$v=19$"));
    assert_eq!(account.created_ms, 1_577_934_245_678);
    assert_eq!(server.figure(&root, "foreign_hashes").await, Some(0));
    assert_eq!(server.get_as(&user, &root).await.body["foreign_hash"], Value::Null);
}

#[tokio::test]
async fn a_repeated_line_is_a_duplicate_that_names_its_account_and_changes_nothing() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    server.account("own@test.org").await;
    let before = account(&server, "own@test.org").await;
    let lines = "{\"id\":\"1\",\"email\":\"ada@test.org\",\"email_verified\":true}\n\
                 {\"id\":\"2\",\"email\":\"ada@test.org\"}\n\
                 {\"id\":\"1\",\"email\":\"bob@test.org\"}\n\
                 {\"email\":\"own@test.org\",\"name\":\"Eve\",\"roles\":[\"admin\"]}\n";
    let first = import(&server, &root, "", lines).await;
    let ada = account(&server, "ada@test.org").await.unwrap();
    let summary = |answer: &[Value]| -> Vec<(u64, String, bool)> {
        let reports = answer.iter().filter(|line| line.get("line").is_some());
        reports
            .map(|line| {
                let field = line["field"].as_str().unwrap().to_owned();
                (line["line"].as_u64().unwrap(), field, line["same"] == true)
            })
            .collect()
    };
    let duplicates = [(2, "email".into(), false), (3, "external_id".into(), false)];
    // No account of here has an id of there, so it may be the same as well: the line gives none.
    let own = (4, "email".into(), true);
    assert_eq!(summary(&first), [&duplicates[..], std::slice::from_ref(&own)].concat());
    assert!(first[..2].iter().all(|line| line["account"] == ada.id.to_string()), "{first:?}");
    assert_eq!(account(&server, "own@test.org").await, before, "an account that is there was changed");
    assert!(account(&server, "bob@test.org").await.is_none());
    let again = import(&server, &root, "", lines).await;
    assert_eq!(summary(&again), [&[(1, "email".into(), true)], &duplicates[..], &[own]].concat());
    assert_eq!(again.last().unwrap()["created"], 0);
    assert_eq!(account(&server, "ada@test.org").await, Some(ada));
}

#[tokio::test]
async fn a_dry_run_judges_everything_and_changes_nothing() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let lines = "{\"id\":\"1\",\"email\":\"ada@test.org\"}\n{\"email\":\"ADA@test.org\"}\n{\"id\":1,\"email\":\"bob@test.org\"}\n\
                 {\"email\":\"root@test.org\"}\n{\"email\":\"x\"}\n\n{\"email\":\"eve@test.org\",\
                 \"password_hash\":\"{SSHA}DZIdnapmr208TwSwz9vUpCzc6IxzYWx0\"}\n";
    let engine = server.engine.upgrade().unwrap();
    let before = engine.work();
    let answer = import(&server, &root, "?dry_run=true", lines).await;
    let what: Vec<_> = answer.iter().map(|line| (line["line"].as_u64(), line["result"].as_str())).collect();
    let expected = [
        (Some(2), Some("duplicate")),
        (Some(3), Some("duplicate")),
        (Some(4), Some("duplicate")),
        (Some(5), Some("refused")),
        (None, None),
    ];
    assert_eq!(what, expected, "{answer:?}");
    let first: Vec<_> = answer.iter().map(|line| line["earlier_line"].as_u64()).collect();
    assert_eq!(first, [Some(1), Some(1), None, None, None], "{answer:?}");
    assert_eq!(answer[4]["created"], 2);
    let after = engine.work();
    assert_eq!((after.hashes, after.entries), (before.hashes, before.entries));
    assert!(account(&server, "ada@test.org").await.is_none());
}

#[tokio::test]
async fn what_is_wrong_is_refused_by_line_and_field_and_the_rest_goes_on() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let mut body = b"\xef\xbb\xbf{\"email\":\"a1@test.org\"}\r\n".to_vec();
    body.extend_from_slice(b"{\"email\":\"b@test.org\",\"password_hash\":\"$2b$31$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\"}\n");
    body.extend_from_slice(
        b"{\"email\":\"b@test.org\",\"password_hash\":\"{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\"}\n",
    );
    body.extend_from_slice(b"{\"email\":\"b@test.org\",\"password_hash\":\"$9$nobody\"}\n");
    body.extend_from_slice(b"\xff\xfe\n{\"email\":\"b\0@test.org\"}\n");
    body.resize(body.len() + 3 * 1024 * 1024, b'x');
    body.extend_from_slice(b"\n{\"email\":\"a2@test.org\"}\n{\"email\":\"a3@test.org\"");
    let answer = post(&server, &root, "", body).await;
    let text = String::from_utf8(answer.bytes).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let what: Vec<_> = lines
        .iter()
        .filter_map(|line| Some((line["line"].as_u64()?, line["field"].as_str()?, line["code"].as_str()?)))
        .collect();
    let expected = [
        (2, "/password_hash", "out_of_bounds"),
        (3, "/password_hash", "refused_scheme"),
        (4, "/password_hash", "unknown_scheme"),
        (5, "", "not_utf8"),
        (6, "", "nul_byte"),
        (7, "", "too_long"),
        (9, "", "malformed_json"),
    ];
    assert_eq!(what, expected);
    assert_eq!(lines.last().unwrap()["created"], 2);
    assert!(account(&server, "b@test.org").await.is_none());
    let answer = post(&server, &root, "", &b"\x1f\x8b\x08\0\n{\"email\":\"c2@test.org\"}\n"[..]).await;
    let text = String::from_utf8(answer.bytes).unwrap();
    assert!(text.contains("decompress it first"), "{text}");
    assert!(account(&server, "c2@test.org").await.is_none());
}

/// Whoever signed up at another system with the address of somebody else must not get in here with that password.
#[tokio::test]
async fn a_password_whose_address_nobody_has_proved_is_gone_once_its_owner_proves_it() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let vector = vectors().into_iter().find(|vector| vector.name.starts_with("bcrypt")).unwrap();
    let line = json!({"email": "ada@test.org", "password_hash": vector.hash});
    import(&server, &root, "", &line.to_string()).await;
    let account = account(&server, "ada@test.org").await.unwrap();
    assert!(account.has_doubtful_password());
    assert_eq!(server.log_in("ada@test.org", &vector.password).await.problem(), (403, "email_not_verified"));
    let line = json!({"email": "bob@test.org", "password_hash": vector.hash});
    import(&server, &root, "?verified=true", &line.to_string()).await;
    assert_eq!(server.log_in("bob@test.org", &vector.password).await.status, 200);
}

#[tokio::test]
async fn digests_of_directories_are_hashed_before_they_are_stored() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let digest = "{SSHA}DZIdnapmr208TwSwz9vUpCzc6IxzYWx0";
    let line = json!({"email": "ada@test.org", "email_verified": true, "password_hash": digest});
    import(&server, &root, "", &line.to_string()).await;
    let stored = account(&server, "ada@test.org").await.unwrap().phc.unwrap();
    assert!(
        stored.starts_with("$wrapped-ssha$") && !stored.contains("DZIdnapmr208TwSwz9vUpCzc6Ix"),
        "{stored}"
    );
    assert_eq!(server.log_in("ada@test.org", "a password").await.status, 200);
}

#[tokio::test]
async fn one_import_is_at_work_at_a_time() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let engine = server.engine.upgrade().unwrap();
    let first = Import::begin(&engine, &Admin::operator(), How::default()).await.unwrap();
    let line = "{\"email\":\"ada@test.org\"}";
    assert_eq!(post(&server, &root, "", line).await.problem(), (409, "import_running"));
    drop(first);
    assert_eq!(post(&server, &root, "", line).await.status, StatusCode::OK);
    let events =
        server.operated(json!({"operation": "audit_tail", "limit": 10, "event": "accounts.imported"})).await;
    let reasons: Vec<&str> =
        events["items"].as_array().unwrap().iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.len(), 4, "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("is cut: created 0")), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("ends: created 1")), "{reasons:?}");
}

#[tokio::test]
async fn nobody_but_an_administrator_sends_a_body_of_more_than_the_bound() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let access = server.tokens("ada@test.org").await.0;
    let lines = || "{\"email\":\"b@test.org\"}\n".repeat(10_000);
    assert_eq!(post(&server, &access, "", lines()).await.problem(), (403, "insufficient_role"));
    let nobody =
        server.request(Method::POST, IMPORT).header("content-type", "application/x-ndjson").body(lines());
    assert_eq!(send(nobody).await.problem(), (401, "unauthenticated"));
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let other = server.request(Method::POST, IMPORT).bearer_auth(&root).json(&json!({"email": "b@test.org"}));
    assert_eq!(send(other).await.problem(), (415, "unsupported_media_type"));
    assert!(account(&server, "b@test.org").await.is_none());
}

/// Adds accounts of every kind, and returns their lines.
fn people(count: usize) -> String {
    let mut lines = String::new();
    for number in 0..count {
        let hash = "$2b$04$S9ilWY4dIWqV0CrXWNqO3OZatHQ/vPVHWbFsKubrrXIBorXpCkxM6";
        let line = json!({"id": format!("u{number}"), "email": format!("user{number}@test.org"), "email_verified": true,
                          "password_hash": hash});
        writeln!(lines, "{line}").unwrap();
    }
    lines
}

#[tokio::test]
async fn an_import_takes_few_entries_and_as_many_messages() {
    let server = TestServer::start();
    let engine = server.engine.upgrade().unwrap();
    let mut import = Import::begin(&engine, &Admin::operator(), How::default()).await.unwrap();
    let before = engine.work();
    assert_eq!(import.take(lines_of(&people(1_000))).await.unwrap(), []);
    let after = engine.work();
    // A hundred accounts an entry and more, with their events, and three messages for each, beside those of the server's own
    // work.
    assert!(after.entries - before.entries <= 11, "{} entries", after.entries - before.entries);
    assert!(after.calls - before.calls <= 40, "{} messages", after.calls - before.calls);
    assert_eq!(after.hashes, before.hashes);
    assert_eq!(import.finish().await.unwrap().created, 1_000);
}

#[tokio::test]
async fn a_hundred_accounts_with_bcrypt_log_in_and_have_argon2id_afterwards() {
    let server = TestServer::with(&[("throttle.exempt_networks", "127.0.0.0/8")]);
    let root = server.operator_account("root@test.org", &["admin"]).await;
    import(&server, &root, "", &people(100)).await;
    for number in 0..100 {
        let email = format!("user{number}@test.org");
        assert_eq!(server.log_in(&email, "a password").await.status, 200, "{email}");
        let phc = account(&server, &email).await.unwrap().phc.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$"), "{email}: {phc}");
    }
}

#[tokio::test]
async fn what_is_exported_makes_the_same_accounts_in_an_empty_directory() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    server.account("ada@test.org").await;
    let mut lines = String::new();
    for (number, vector) in vectors().into_iter().enumerate() {
        let line = json!({
            "id": number, "email": format!("user{number}@test.org"), "email_verified": number % 2 == 0,
            "password_hash": vector.hash, "name": "N\u{e9}", "roles": ["staff"], "locale": "de-CH",
            "status": if number % 3 == 0 { "disabled" } else { "active" }, "created_at": "2020-01-02T03:04:05.678Z",
            "user_metadata": {"n": 1.5, "big": 18_446_744_073_709_551_615_u64}, "app_metadata": {"b": [], "a": null},
        });
        writeln!(lines, "{line}").unwrap();
    }
    import(&server, &root, "", &lines).await;
    let out = exported(&server, true).await;
    assert!(out.len() > 90);
    let other = TestServer::start();
    let engine = other.engine.upgrade().unwrap();
    let mut again = Import::begin(&engine, &Admin::operator(), How::default()).await.unwrap();
    let reports = again.take(lines_of(&out.join("\n"))).await.unwrap();
    assert_eq!(reports, []);
    again.finish().await.unwrap();
    assert_eq!(exported(&other, true).await, out);
    assert_eq!(other.log_in("ada@test.org", PASSWORD).await.status, 200);
    let without = exported(&other, false).await;
    assert!(without.iter().all(|line| !line.contains("password_hash")));
    let events =
        other.operated(json!({"operation": "audit_tail", "limit": 10, "event": "accounts.exported"})).await;
    let reason = |at: usize| events["items"][at]["reason"].as_str().unwrap().to_owned();
    assert!([reason(0), reason(1)].iter().any(|reason| reason.contains("with hashes of passwords")));
}

#[tokio::test]
async fn a_hash_of_another_system_is_no_password_after_its_days() {
    let server = TestServer::with(&[("password.drop_foreign_after_days", "30"), ("lockout.failures", "100")]);
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let hash = "$2b$04$S9ilWY4dIWqV0CrXWNqO3OZatHQ/vPVHWbFsKubrrXIBorXpCkxM6";
    for email in ["ada@test.org", "bob@test.org"] {
        let line = json!({"email": email, "email_verified": true, "password_hash": hash});
        import(&server, &root, "", &line.to_string()).await;
    }
    assert_eq!(server.log_in("bob@test.org", "a password").await.status, 200);
    server.clock.advance(Duration::from_hours(30 * 24));
    let refused = server.log_in("ada@test.org", "a password").await;
    assert_eq!(refused.problem(), (401, "invalid_credentials"));
    assert_eq!(server.log_in("bob@test.org", "a password").await.status, 200);
    let shown = server.operated(json!({"operation": "user_show", "user": "ada@test.org"})).await;
    assert_eq!(shown["has_password"], false);
    assert!(shown["foreign_hash_ends_at"].is_string(), "{shown}");
    server.forgot("ada@test.org").await;
    let token = server.mailed("ada@test.org", "password").await;
    let new = "an entirely different phrase";
    assert_eq!(server.reset(&token, new).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.log_in("ada@test.org", new).await.status, 200);
}
