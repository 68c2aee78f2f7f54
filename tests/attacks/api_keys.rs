//! API keys: I hold the key of a service, from its configuration or its log, and want more than it is for; or it was
//! deleted, has expired or was forged, and I use it all the same.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::values::files;
use crate::support::{Answer, PASSWORD, START, TestServer, send, wait_until};

const DAY: Duration = Duration::from_hours(24);

const SCOPES: [&str; 6] =
    ["introspect", "revocations", "metrics", "admin:read", "admin:write", "events:read"];

/// Every endpoint that a credential opens, with the scope that opens it to a service; none does for people's own.
const ENDPOINTS: [(&str, &str, Option<&str>); 44] = [
    ("POST", "/v1/introspect", Some("introspect")),
    ("GET", "/v1/revocations", Some("revocations")),
    ("GET", "/metrics", Some("metrics")),
    ("GET", "/v1/admin/users", Some("admin:read")),
    ("POST", "/v1/admin/users", Some("admin:write")),
    ("POST", "/v1/admin/users/import", Some("admin:write")),
    ("GET", "/v1/admin/users/ID", Some("admin:read")),
    ("PATCH", "/v1/admin/users/ID", Some("admin:write")),
    ("POST", "/v1/admin/users/ID/unlock", Some("admin:write")),
    ("POST", "/v1/admin/users/ID/revoke_sessions", Some("admin:write")),
    ("POST", "/v1/admin/users/ID/send_reset", Some("admin:write")),
    ("GET", "/v1/admin/invitations", Some("admin:read")),
    ("POST", "/v1/admin/invitations", Some("admin:write")),
    ("DELETE", "/v1/admin/invitations/none", Some("admin:write")),
    ("GET", "/v1/admin/audit", Some("admin:read")),
    ("GET", "/v1/admin/events", Some("events:read")),
    ("GET", "/v1/admin/events?after=x&wait=0", Some("events:read")),
    ("POST", "/v1/admin/keys/rotate", Some("admin:write")),
    ("POST", "/v1/admin/keys/none/retire", Some("admin:write")),
    ("DELETE", "/v1/admin/users/00000000000000000000000000000000", Some("admin:write")),
    ("GET", "/v1/admin/api_keys", None),
    ("POST", "/v1/admin/api_keys", None),
    ("DELETE", "/v1/admin/api_keys/ffff0000000000000000000000000000", None),
    ("GET", "/v1/me", None),
    ("PATCH", "/v1/me", None),
    ("DELETE", "/v1/me", None),
    ("POST", "/v1/me/delete", None),
    ("GET", "/v1/devices", None),
    ("DELETE", "/v1/devices", None),
    ("POST", "/v1/reauthenticate", None),
    ("GET", "/v1/session", None),
    ("GET", "/v1/sessions", None),
    ("DELETE", "/v1/sessions/00000000000000000000000000000000", None),
    ("POST", "/v1/logout", None),
    ("POST", "/v1/password/change", None),
    ("POST", "/v1/email/change", None),
    ("GET", "/v1/csrf", None),
    ("GET", "/v1/admin/users?q=ada", Some("admin:read")),
    ("GET", "/v1/admin/users?cursor=x", Some("admin:read")),
    ("POST", "/v1/admin/users/none/revoke_password", Some("admin:write")),
    ("POST", "/v1/admin/users/none/unlock", Some("admin:write")),
    ("GET", "/v1/admin/users/none", Some("admin:read")),
    ("PATCH", "/v1/admin/users/none", Some("admin:write")),
    ("GET", "/v1/revocations?since=1&wait=0", Some("revocations")),
];

async fn call(server: &TestServer, method: &str, path: &str, key: &str) -> Answer {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let body = if path == "/v1/introspect" { json!({"token": "x"}) } else { json!({}) };
    send(server.request(method, path).bearer_auth(key).json(&body)).await
}

/// The whole matrix: each scope opens its own endpoints, and the door to every other is shut with one answer.
#[tokio::test]
async fn a_key_reaches_the_endpoints_of_its_scope_and_no_other() {
    let server = TestServer::start();
    let added = json!({"operation": "user_add", "email": "ada@test.org", "password": PASSWORD, "roles": []});
    let id = server.operated(added).await["id"].as_str().unwrap().to_owned();
    for scope in SCOPES {
        let (key, _) = server.api_key(&[scope], None).await;
        assert!(key.starts_with("pck_"), "{key}");
        for (method, path, opens) in ENDPOINTS {
            let path = path.replace("ID", &id);
            let answer = call(&server, method, &path, &key).await;
            if opens == Some(scope) {
                let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&answer.status);
                assert!(!refused, "{scope}: {method} {path}: {answer:?}");
            } else {
                assert_eq!(answer.problem(), (403, "insufficient_scope"), "{scope}: {method} {path}");
            }
        }
        // Introspection knows no API keys: a key is no token of a user.
        let root = server.operator_account(&format!("root-{}@test.org", scope.len()), &["admin"]).await;
        let about = server.post_as("/v1/introspect", &root, json!({"token": key})).await;
        assert_eq!(about.body, json!({"active": false}));
        // A key is no refresh token, no session cookie and no mailed token either.
        assert_eq!(server.refresh(&key).await.problem(), (401, "invalid_refresh_token"));
        let cookie = format!("portcullis_session={key}");
        assert_eq!(server.get_with_cookie("/v1/me", &cookie).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(server.reset(&key, "an entirely different phrase").await.status, StatusCode::BAD_REQUEST);
        let deleted = format!("root-{}@test.org", scope.len());
        server.operated(json!({"operation": "user_delete", "user": deleted, "force": true})).await;
    }
}

#[tokio::test]
async fn a_key_with_a_cookie_or_twice_is_ambiguous() {
    let server = TestServer::start();
    let (key, _) = server.api_key(&["metrics"], None).await;
    server.account("ada@test.org").await;
    let cookie = server.log_in_for_cookie("ada@test.org").await.session_cookie();
    let both = server.request(Method::GET, "/metrics").bearer_auth(&key).header("cookie", cookie);
    assert_eq!(send(both).await.problem(), (400, "ambiguous_credentials"));
    let twice = server.request(Method::GET, "/metrics").bearer_auth(&key).bearer_auth(&key);
    assert_eq!(send(twice).await.problem(), (400, "ambiguous_credentials"));
}

#[tokio::test]
async fn a_deleted_or_expired_key_is_dead_at_once_and_after_a_restart() {
    let mut server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let body = json!({"name": "metrics", "scopes": ["metrics"], "expires_at": "2027-01-15T10:00:00Z"});
    let made = server.post_as("/v1/admin/api_keys", &root, body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let (deleted, id) = (made.text("key"), made.text("id"));
    let (expiring, _) = server.api_key(&["metrics"], Some("2027-01-15T10:00:00Z")).await;
    for key in [&deleted, &expiring] {
        // Twice: the second answer comes from a cache.
        assert_eq!(call(&server, "GET", "/metrics", key).await.status, StatusCode::OK);
        assert_eq!(call(&server, "GET", "/metrics", key).await.status, StatusCode::OK);
    }
    let listed = server.get_as("/v1/admin/api_keys", &root).await;
    assert_eq!(listed.array("items").len(), 2);
    assert!(listed.body["items"][0]["last_used_at"].is_string());
    assert!(!listed.body.to_string().contains("pck_"));
    let path = format!("/v1/admin/api_keys/{id}");
    let gone = send(server.request(Method::DELETE, &path).bearer_auth(&root)).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(call(&server, "GET", "/metrics", &deleted).await.problem(), (401, "unauthenticated"));
    let again = send(server.request(Method::DELETE, &path).bearer_auth(&root)).await;
    assert_eq!(again.problem(), (404, "not_found"));
    server = server.restart();
    assert_eq!(call(&server, "GET", "/metrics", &deleted).await.problem(), (401, "unauthenticated"));
    assert_eq!(call(&server, "GET", "/metrics", &expiring).await.status, StatusCode::OK);
    server.clock.advance(Duration::from_hours(2));
    assert_eq!(call(&server, "GET", "/metrics", &expiring).await.problem(), (401, "unauthenticated"));
    // The credential itself is in no file.
    for file in files(server.data_dir()) {
        let bytes = std::fs::read(&file).unwrap();
        for key in [&deleted, &expiring] {
            let found = bytes.windows(key.len()).any(|part| part == key.as_bytes());
            assert!(!found, "{}", file.display());
        }
    }
}

/// I hold the stream of the feed open with a credential that ends: of a service, and of a person.
#[tokio::test]
async fn an_open_stream_ends_with_its_credential() {
    let server = TestServer::start();
    let (key, id) = server.api_key(&["revocations"], None).await;
    let person = server.operator_account("service@test.org", &["introspect"]).await;
    let mut streams = Vec::new();
    for credential in [&key, &person] {
        let request = server.request(Method::GET, "/v1/revocations").bearer_auth(credential);
        let mut stream = request.header("accept", "text/event-stream").send().await.unwrap();
        assert_eq!(stream.status(), StatusCode::OK);
        assert!(stream.chunk().await.unwrap().is_some());
        streams.push(stream);
    }
    server.operated(json!({"operation": "api_key_delete", "id": id})).await;
    server.operated(json!({"operation": "user_lock", "user": "service@test.org"})).await;
    server.account("ada@test.org").await;
    let ada = server.log_in("ada@test.org", PASSWORD).await;
    let adas = ada.text("session_id");
    let out = server.post_as("/v1/logout", &ada.text("access_token"), json!({})).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    for mut stream in streams {
        let rest = async {
            let mut text = String::new();
            while let Ok(Some(chunk)) = stream.chunk().await {
                text += &String::from_utf8_lossy(&chunk);
            }
            text
        };
        let text = tokio::time::timeout(Duration::from_secs(15), rest).await.expect("the stream goes on");
        // The ending of somebody else's session after that is not in it.
        assert!(!text.contains(&adas), "{text}");
    }
}

/// I change bytes of a key, or invent one. Garbage asks no owner of records.
#[tokio::test]
async fn a_forged_key_is_refused() {
    let server = TestServer::start();
    let (key, _) = server.api_key(&SCOPES, None).await;
    let mut forged =
        vec![String::from("pck_"), String::from("pck_x"), format!("{key}A"), key[..key.len() - 1].to_owned()];
    for at in [4, 10, 20, 40, 60, key.len() - 1] {
        let mut bytes = key.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        forged.push(String::from_utf8(bytes).unwrap());
    }
    for text in forged {
        for path in ["/metrics", "/v1/me", "/v1/revocations", "/v1/admin/users"] {
            assert_eq!(
                call(&server, "GET", path, &text).await.problem(),
                (401, "unauthenticated"),
                "{text} {path}"
            );
        }
    }
}

/// I have taken over an administrator for a minute and make keys that outlive me, without number or end.
#[tokio::test]
async fn keys_are_bounded_in_number_life_and_form_and_only_administrators_make_them() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let post = async |access: &str, body: Value| server.post_as("/v1/admin/api_keys", access, body).await;
    let user = server.operator_account("user@test.org", &["metrics"]).await;
    let good = json!({"name": "a", "scopes": ["metrics"]});
    assert_eq!(post(&user, good.clone()).await.problem(), (403, "insufficient_role"));
    for (name, scopes, end) in [
        ("", json!(["metrics"]), Value::Null),
        ("a\nb", json!(["metrics"]), Value::Null),
        ("a", json!([]), Value::Null),
        ("a", json!(["root"]), Value::Null),
        ("a", json!(["metrics"]), json!("2037-01-15T10:00:00Z")),
        ("a", json!(["metrics"]), json!("2020-01-15T10:00:00Z")),
        ("a", json!(["metrics"]), json!("tomorrow")),
    ] {
        let answer = post(&root, json!({"name": name, "scopes": scopes, "expires_at": end})).await;
        assert_eq!(answer.status.as_u16(), 422, "{name} {scopes} {end}: {}", answer.body);
    }
    let mut made = 0;
    let year = portcullis::system::clock::Timestamp::from_secs(START.as_secs() + 365 * 86_400);
    loop {
        let answer = post(&root, good.clone()).await;
        if answer.status == StatusCode::CREATED {
            assert_eq!(answer.text("expires_at"), year.rfc3339());
        }
        if answer.status != StatusCode::CREATED {
            assert_eq!(answer.problem(), (409, "too_many_api_keys"));
            break;
        }
        made += 1;
        assert!(made <= 1000, "more than a thousand");
    }
    assert_eq!(made, 1000);
    server.clock.advance(DAY * 366);
    let root = server.admin_token("root@test.org").await;
    assert_eq!(server.get_as("/v1/admin/api_keys", &root).await.array("items").len(), 0);
}

/// The operator rotates the key that tags tokens, again and again: honest keys of services go on.
#[tokio::test]
async fn a_rotation_of_other_keys_ends_no_honest_credential() {
    let mut server = TestServer::start();
    let (key, _) = server.api_key(&["metrics"], None).await;
    server.account("ada@test.org").await;
    let cookie_log_in = server.log_in_for_cookie("ada@test.org").await;
    let (cookie, csrf) = (cookie_log_in.session_cookie(), cookie_log_in.text("csrf_token"));
    let (access, refresh) = server.tokens("ada@test.org").await;
    server.forgot("ada@test.org").await;
    let mailed = server.mailed("ada@test.org", "new password").await;
    for round in 0..2 {
        for kind in ["edge", "device", "csrf", "outbox", "signing"] {
            let rotated = server.operated(json!({"operation": "key_rotate", "kind": kind})).await;
            let kid = rotated["kid"].as_str().unwrap();
            assert!(kind == "signing" || kid == format!("{kind}-{}", round + 2), "{kid}");
        }
        if round == 0 {
            server = server.restart();
        }
    }
    assert_eq!(call(&server, "GET", "/metrics", &key).await.status, StatusCode::OK);
    assert_eq!(server.get_as("/v1/me", &access).await.status, StatusCode::OK);
    assert_eq!(server.get_with_cookie("/v1/me", &cookie).await.status, StatusCode::OK);
    let change = server.request(Method::POST, "/v1/logout").header("cookie", &cookie);
    let change =
        change.header("origin", crate::support::ORIGIN).header("x-csrf-token", csrf).json(&json!({}));
    assert_eq!(send(change).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.refresh(&refresh).await.status, StatusCode::OK);
    let reset = server.reset(&mailed, "an entirely different phrase").await;
    assert_eq!(reset.status, StatusCode::NO_CONTENT);
    // Kinds that cannot change, and those that do not exist.
    for kind in ["directory", "audit", "nothing"] {
        let refused = server.operate(json!({"operation": "key_rotate", "kind": kind})).await;
        assert!(refused.get("error").is_some(), "{refused}");
    }
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let rotate =
        async |kind: &str| server.post_as("/v1/admin/keys/rotate", &root, json!({"kind": kind})).await;
    assert_eq!(rotate("directory").await.status.as_u16(), 422);
    // A loop of rotations meets its bound.
    let mut last = rotate("edge").await;
    for _ in 0..20 {
        last = rotate("edge").await;
    }
    assert_eq!(last.problem(), (409, "too_many_keys"));
    assert_eq!(call(&server, "GET", "/metrics", &key).await.status, StatusCode::OK);
}

/// I read the log of security events at one go, with thirty connections that never read the answer.
#[tokio::test]
async fn a_page_of_the_log_is_bounded_and_a_larger_one_is_refused() {
    let server = TestServer::start();
    let (key, _) = server.api_key(&["admin:read"], None).await;
    for limit in ["0", "1001", "1000000"] {
        let refused = call(&server, "GET", &format!("/v1/admin/audit?limit={limit}"), &key).await;
        assert_eq!(refused.status.as_u16(), 422, "{limit}");
        assert!(refused.text("detail").contains("1 to 1000"), "{refused:?}");
    }
    // More than a page holds: lines of an operator have no bound of their own.
    for _ in 0..1_002 {
        server.operate(json!({"operation": "api_key_create", "name": "x", "scopes": ["metrics"]})).await;
    }
    let page = call(&server, "GET", "/v1/admin/audit?limit=1000&since=2020-01-01T00:00:00Z", &key).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.bytes.len() < 300 * 1024, "{} bytes", page.bytes.len());
    let read = page.array("items").len();
    let rest = format!("/v1/admin/audit?limit=1000&cursor={}", page.body["next_cursor"]);
    let rest = call(&server, "GET", &rest, &key).await;
    let first_of_rest = rest.body["items"][0]["seq"].as_u64().unwrap();
    assert_eq!(first_of_rest, page.body["items"][read - 1]["seq"].as_u64().unwrap() + 1);
}

/// I am an administrator for a day, and make a key that does what I may, for afterwards.
#[tokio::test]
async fn no_key_for_administration_is_made_silently() {
    const SUBJECT: &str = "API key for administration";
    let server = TestServer::start();
    server.account("user@test.org").await;
    let root = server.operator_account("root@test.org", &["admin"]).await;
    server.operator_account("second@test.org", &["admin"]).await;
    let make = async |scope: &str| {
        let body = json!({"name": "mine", "scopes": [scope]});
        let made = server.post_as("/v1/admin/api_keys", &root, body).await;
        assert_eq!(made.status, StatusCode::CREATED);
        made
    };
    make("metrics").await;
    let made = make("admin:read").await;
    let told = server.mail("second@test.org", SUBJECT).await;
    assert!(told.letter.text.contains("the administrator r***@t***"), "{}", told.letter.text);
    server.mail("root@test.org", SUBJECT).await;
    assert_eq!(server.mail_count(SUBJECT), 2, "one for each administrator, none for the key of the metrics");
    let listed = server.get_as("/v1/admin/api_keys", &root).await;
    let of_made = |key: &&Value| key["id"] == made.body["id"];
    let maker = &listed.array("items").iter().find(of_made).unwrap()["created_by"];
    assert_eq!(*maker, server.get_as("/v1/me", &root).await.body["id"]);
    // A loop of mine floods nobody.
    for _ in 0..30 {
        make("admin:write").await;
    }
    let half = server.sign_up("last@test.org", PASSWORD).await;
    let link = server.mailed("last@test.org", "Confirm").await;
    assert_eq!(server.confirm(&link, &half).await.status, StatusCode::NO_CONTENT);
    let told = |to: &str| {
        let mails = server.mails.lock();
        mails.iter().filter(|mail| mail.to == to && mail.letter.subject.contains(SUBJECT)).count()
    };
    wait_until("all are mailed", async || told("root@test.org") + told("second@test.org") >= 20).await;
    assert_eq!([told("root@test.org"), told("second@test.org"), told("user@test.org")], [10, 10, 0]);
}

/// Sends the head of an import, and some of its lines.
fn begin_import(server: &TestServer, credential: &str, lines: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let head = format!(
        "POST /v1/admin/users/import HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-ndjson\r\n{credential}\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n{lines}\r\n",
        lines.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// I have stolen a credential, and send the lines of an import slowly. It is taken away while they come.
#[tokio::test]
async fn an_import_ends_with_what_let_it_begin() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let has = async |name: &str| {
        let found = server.get_as(&format!("/v1/admin/users?q={name}"), &root).await;
        !found.array("items").is_empty()
    };
    for end in ["key", "role", "account", "session"] {
        let name = format!("{end}@test.org");
        let stolen = match end {
            "key" => server.api_key(&["admin:write"], None).await,
            _ => {
                let access = server.operator_account(&name, &["admin"]).await;
                let found = server.get_as(&format!("/v1/admin/users?q={name}"), &root).await;
                (access, found.array("items")[0]["id"].as_str().unwrap().to_owned())
            }
        };
        let (credential, id) = stolen;
        let lines = |part: &str| -> String {
            let line =
                |number| format!("{{\"email\":\"{part}{number}@{end}.test\",\"roles\":[\"admin\"]}}\n");
            (0..1500).map(line).collect()
        };
        let mut stream = begin_import(&server, &format!("authorization: Bearer {credential}"), &lines("a"));
        wait_until("the first lines are taken", async || has(&format!("a0@{end}.test")).await).await;
        match end {
            "key" => drop(server.operated(json!({"operation": "api_key_delete", "id": id})).await),
            "role" => {
                let path = format!("/v1/admin/users/{id}");
                assert_eq!(server.patch_as(&path, &root, json!({"roles": []})).await.status, StatusCode::OK);
            }
            "account" => {
                let path = format!("/v1/admin/users/{id}");
                let deleted = server.delete_as(&path, &root, Value::Null).await;
                assert_eq!(deleted.status, StatusCode::NO_CONTENT);
            }
            _ => {
                let out = server.post_as("/v1/logout", &credential, json!({})).await;
                assert_eq!(out.status, StatusCode::NO_CONTENT);
            }
        }
        let rest = lines("b");
        write!(stream, "{:x}\r\n{rest}\r\n0\r\n\r\n", rest.len()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 401 "), "{end}: {answer}");
        assert!(!has(&format!("b1499@{end}.test")).await, "{end}");
    }
}
