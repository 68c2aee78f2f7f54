//! The data that an account carries: I have an account, and put there whatever fits, and more.

use base64ct::{Base64UrlUnpadded, Encoding};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::process::run;
use crate::support::values::files;
use crate::support::{PASSWORD, TestServer, send};

const ROOT: &str = "root@test.org";
const MINE: &str = "mallory@test.org";
const SECRET: &str = "row-4711-of-the-shop";

/// Returns the claims of an access token.
fn claims(access: &str) -> Value {
    let part = access.split('.').nth(1).unwrap();
    serde_json::from_slice(&Base64UrlUnpadded::decode_vec(part).unwrap()).unwrap()
}

/// Returns an object of `bytes` bytes of JSON without blanks.
fn object_of(bytes: usize) -> Value {
    json!({"a": "x".repeat(bytes - r#"{"a":""}"#.len())})
}

#[tokio::test]
async fn my_object_takes_four_kilobytes_and_my_changes_are_counted() {
    let server = TestServer::with(&[("throttle.change.burst", "60"), ("throttle.change.per_minute", "60")]);
    let metrics = server.operator_account("metrics@test.org", &["metrics"]).await;
    let mine = server.operator_account(MINE, &[]).await;
    let journal = async || server.figure(&metrics, "journal_body_bytes_total").await.unwrap();
    // Whatever I send, no byte more than the bound is kept, in any form: one long text, many names, deep lists.
    let names: serde_json::Map<String, Value> = (0..1_000).map(|n| (format!("n{n}"), json!(n))).collect();
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    for object in [object_of(4_097), object_of(15_000), Value::Object(names), json!({"a": deep})] {
        let refused = server.patch_as("/v1/me", &mine, json!({"user_metadata": object})).await;
        assert_eq!(refused.problem(), (422, "unprocessable"));
    }
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    let before = journal().await;
    for number in 0..200 {
        let mut object = object_of(4_090);
        object["b"] = json!(number % 10);
        let answer = server.patch_as("/v1/me", &mine, json!({"user_metadata": object})).await;
        *statuses.entry(answer.status.as_u16()).or_default() += 1;
    }
    // The refused ones from above count as well.
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [(200, 56), (429, 144)]);
    let written = journal().await - before;
    assert!(written < 56 * 5_120, "{written} bytes of journal entries");
    let me = server.get_as("/v1/me", &mine).await.body;
    assert!(me["user_metadata"].to_string().len() <= 4_096);
}

#[tokio::test]
async fn i_do_not_give_myself_what_administrators_give() {
    let server = TestServer::with(&[(
        "token.claims",
        "app_metadata.plan,user_metadata.roles,user_metadata.app_metadata",
    )]);
    let mine = server.operator_account(MINE, &[]).await;
    for (field, value) in [
        ("app_metadata", json!({"plan": "pro"})),
        ("external_id", json!("1")),
        ("roles", json!(["admin"])),
        ("email_verified", json!(true)),
        ("imported_ms", json!(1)),
    ] {
        let refused = server.patch_as("/v1/me", &mine, json!({"locale": "en", field: value})).await;
        assert_eq!(refused.problem(), (422, "unprocessable"), "{field}");
        assert_eq!(refused.body["errors"][0]["code"], json!("unknown_field"), "{field}");
    }
    for path in ["/v1/admin/users?external_id=1", "/v1/admin/users"] {
        assert!(matches!(server.get_as(path, &mine).await.status.as_u16(), 401 | 403), "{path}");
    }
    // My object with the names of others stays mine: in tokens it stands below its own name, and my roles are none.
    let object = json!({"roles": ["admin"], "app_metadata": {"plan": "pro"}, "sub": "0", "__proto__": {"roles": ["admin"]}});
    let set = server.patch_as("/v1/me", &mine, json!({"user_metadata": object})).await;
    assert_eq!(set.status, StatusCode::OK, "{}", set.body);
    let access = server.tokens(MINE).await.0;
    let of_mine = claims(&access);
    assert_eq!(of_mine["roles"], json!([]));
    assert_eq!(of_mine.get("app_metadata"), None);
    assert_eq!(of_mine["user_metadata"], json!({"roles": ["admin"], "app_metadata": {"plan": "pro"}}));
    assert_ne!(of_mine["sub"], json!("0"));
    assert!(matches!(server.get_as("/v1/admin/users", &access).await.status.as_u16(), 401 | 403));
}

#[tokio::test]
async fn my_object_keeps_nobody_from_logging_in_and_is_left_out_of_tokens_where_it_does_not_fit() {
    let server = TestServer::with(&[("token.claims", "user_metadata.bio,app_metadata.plan")]);
    let root = server.operator_account(ROOT, &["admin"]).await;
    let mine = server.operator_account(MINE, &[]).await;
    let id = server.get_as("/v1/me", &mine).await.text("id");
    let plan = json!({"app_metadata": {"plan": "pro"}});
    assert_eq!(server.patch_as(&format!("/v1/admin/users/{id}"), &root, plan).await.status, StatusCode::OK);
    assert_eq!(server.figure(&root, "claims_left_out_total").await, Some(0));
    for (len, is_there) in [(500, true), (1_100, false), (4_000, false)] {
        let bio = json!({"user_metadata": {"bio": "x".repeat(len)}});
        assert_eq!(server.patch_as("/v1/me", &mine, bio).await.status, StatusCode::OK);
        let login = server.log_in(MINE, PASSWORD).await;
        assert_eq!(login.status, StatusCode::OK, "{}", login.body);
        let access = login.text("access_token");
        let of_mine = claims(&access);
        assert_eq!(of_mine["user_metadata"]["bio"].as_str().is_some(), is_there, "{len}");
        // What the administrator gave is there all the same, and the server takes the token.
        assert_eq!(of_mine["app_metadata"], json!({"plan": "pro"}), "{len}");
        assert_eq!(server.get_as("/v1/me", &access).await.status, StatusCode::OK);
    }
    assert_eq!(server.figure(&root, "claims_left_out_total").await, Some(2));
}

#[tokio::test]
async fn the_id_that_another_program_knows_me_by_is_shown_to_administrators_alone() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let (key, _) = server.api_key(&["introspect"], None).await;
    let new = json!({"email": MINE, "password": PASSWORD, "verified": true, "external_id": SECRET});
    let made = server.post_as("/v1/admin/users", &root, new).await;
    assert_eq!(made.body["external_id"], json!(SECRET));
    let login = server.log_in(MINE, PASSWORD).await;
    let access = login.text("access_token");
    let cookie = server.log_in_for_cookie(MINE).await;
    let set = server.patch_as("/v1/me", &access, json!({"name": "Mallory"})).await;
    let introspect = server.post_as("/v1/introspect", &key, json!({"token": access})).await;
    let session = server.get_with_cookie("/v1/session", &cookie.session_cookie()).await;
    for answer in [
        &login,
        &cookie,
        &set,
        &introspect,
        &session,
        &server.get_as("/v1/me", &access).await,
        &server.get_as("/v1/sessions", &access).await,
        &server.refresh(&login.text("refresh_token")).await,
    ] {
        assert!(answer.status.is_success(), "{}", answer.body);
        assert!(!answer.body.to_string().contains(SECRET), "{}", answer.body);
    }
    assert!(!claims(&access).to_string().contains(SECRET));
    // Who asks for an account with the same one learns of it only as an administrator.
    let id = made.text("id");
    let seen = server.get_as(&format!("/v1/admin/users/{id}"), &root).await;
    assert_eq!(seen.body["external_id"], json!(SECRET));
}

#[tokio::test]
async fn a_line_of_the_log_names_what_was_changed_and_never_what_it_was_changed_to() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let content = "content-that-is-nobodys-business";
    let new = json!({
        "email": MINE, "password": PASSWORD, "verified": true, "name": content, "external_id": content,
        "app_metadata": {content: content}, "locale": "xx-content",
    });
    let id = server.post_as("/v1/admin/users", &root, new).await.text("id");
    let user = format!("/v1/admin/users/{id}");
    let change = json!({"app_metadata": {"a": content}, "user_metadata": {"b": content}, "locale": null, "external_id": "9"});
    assert_eq!(server.patch_as(&user, &root, change).await.status, StatusCode::OK);
    assert_eq!(server.patch_as(&user, &root, json!({"app_metadata": {}})).await.status, StatusCode::OK);
    let audit = server.get_as(&format!("/v1/admin/audit?account={id}"), &root).await;
    let text = audit.body.to_string();
    for named in [
        "no roles, name, locale, app_metadata, external_id",
        "locale removed, user_metadata, app_metadata, external_id",
        "app_metadata removed",
    ] {
        assert!(text.contains(named), "{named}: {text}");
    }
    for file in files(&server.data_dir().join("audit")) {
        let lines = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
        assert!(!lines.contains(content) && !lines.contains("xx-content"), "{lines}");
    }
}

#[tokio::test]
async fn a_terminal_obeys_nothing_that_i_put_into_my_object() {
    let server = TestServer::start();
    let mine = server.operator_account(MINE, &[]).await;
    let hostile =
        "me\u{202e}gro.tset@ada\u{202c}\u{1b}[2J\u{9b}2J\u{2028}x\u{200b}  status         disabled\n";
    let set = json!({"user_metadata": {hostile: hostile}});
    assert_eq!(server.patch_as("/v1/me", &mine, set).await.status, StatusCode::OK);
    let as_json = server.request(Method::GET, "/v1/me").bearer_auth(&mine);
    assert_eq!(send(as_json).await.body["user_metadata"][hostile], json!(hostile));
    for args in [
        &["user", "show", MINE][..],
        &["user", "show", MINE, "--json"],
        &["user", "set", MINE, "--name", "M"],
    ] {
        let text = run(args, server.data_dir()).exits(0).text;
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(!text.contains(['\u{202e}', '\u{202c}', '\u{2028}', '\u{200b}', '\u{9b}']), "{text:?}");
        assert!(text.contains("\\u202egro.tset@ada"), "{text}");
        // No line of mine is a line of its own.
        assert!(text.lines().all(|line| !line.starts_with("status         disabled")), "{text}");
    }
    server.restart_after(|dir| {
        let dumped = run(&["data", "dump"], dir).exits(0).text;
        assert!(!dumped.contains("gro.tset"), "{dumped}");
        assert!(dumped.contains("user_metadata_bytes"), "{dumped}");
    });
}
