//! The log of events: I read it without the right to, I stop reading a stream, or I fill it so that what matters is removed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, TestServer, send, wait_until};

/// Every event from the oldest on, once the log has come as far as the journal is now.
async fn all(server: &TestServer, key: &str) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    let mut after = String::new();
    for _ in 0..1000 {
        // Asked before the page: what is told after the page was read is not on it.
        let is_all_told = server.has_told_everything();
        let page = server.get_as(&format!("/v1/admin/events?wait=0{after}"), key).await;
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        let some = page.body["events"].as_array().unwrap();
        let next = page.body["next"].as_str().map(|next| format!("&after={next}")).unwrap_or_default();
        events.extend(some.iter().cloned());
        if some.is_empty() && next == after && is_all_told {
            return events;
        }
        after = next;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the log of events never comes to an end");
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_happens_to_an_account_is_told_in_order_and_without_a_secret() {
    let server = TestServer::start();
    let (key, _) = server.api_key(&["events:read"], None).await;
    let before = all(&server, &key).await.len();
    server.account("ada@test.org").await;
    let (access, refresh) = server.tokens("ada@test.org").await;
    server.patch_as("/v1/me", &access, json!({"name": "Ada"})).await;
    server.patch_as("/v1/me", &access, json!({"locale": "de"})).await;
    server.post("/v1/logout", json!({"refresh_token": refresh})).await;
    server.operated(json!({"operation": "user_set_role", "user": "ada@test.org", "roles": ["editor"]})).await;
    server.operated(json!({"operation": "user_disable", "user": "ada@test.org"})).await;
    server.operated(json!({"operation": "user_enable", "user": "ada@test.org"})).await;
    server.operated(json!({"operation": "user_delete", "user": "ada@test.org"})).await;
    let events = all(&server, &key).await.split_off(before);
    let seen = types(&events);
    let expected = [
        "account.created",
        "account.verified",
        "session.opened",
        "account.name_changed",
        "account.metadata_changed",
        "session.ended",
        "account.roles_changed",
        "account.disabled",
        "account.enabled",
        "account.deleted",
    ];
    let mut rest = seen.iter();
    for wanted in expected {
        assert!(rest.any(|seen| *seen == wanted), "{wanted}: {seen:?}");
    }
    let seqs: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted_by(|one, other| one < other) && seqs.iter().all(|seq| *seq < 1 << 53), "{seqs:?}");
    let text = json!(events).to_string();
    assert!(!text.contains(&refresh) && !text.contains(&access) && !text.contains("argon2"), "{text}");
    let of = |kind: &str| events.iter().find(|event| event["type"] == kind).unwrap();
    assert_eq!(of("account.created")["data"]["email"], "ada@test.org");
    assert_eq!(of("account.name_changed")["data"], json!({"name": "Ada"}));
    assert_eq!(of("account.metadata_changed")["data"], json!({"changed": ["locale"]}));
    assert_eq!(of("session.opened")["data"]["kind"], "tokens");
    assert_eq!(of("session.ended")["data"]["reason"], "log_out");
    assert_eq!(of("session.ended")["data"]["session"], of("session.opened")["data"]["session"]);
    // Where it is not about the address, it does not have it.
    let others = events.iter().filter(|event| event["type"] != "account.created");
    assert!(others.map(Value::to_string).all(|text| !text.contains("ada@test.org")));
}

#[tokio::test]
async fn only_administrators_and_keys_of_the_scope_read_events() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let (access, _) = server.tokens("ada@test.org").await;
    let path = "/v1/admin/events";
    assert_eq!(server.get(path).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(server.get_as(path, &access).await.status, StatusCode::FORBIDDEN);
    let (read, _) = server.api_key(&["admin:read"], None).await;
    assert_eq!(server.get_as(path, &read).await.problem(), (403, "insufficient_scope"));
    let (key, _) = server.api_key(&["events:read"], None).await;
    assert_eq!(server.get_as(path, &key).await.status, StatusCode::OK);
    assert_eq!(server.get_as("/v1/admin/users", &key).await.problem(), (403, "insufficient_scope"));
    for wrong in ["after=1", "after=", "types=account.x", "types=", "types=account.*,", "since=1"] {
        let answer = server.get_as(&format!("{path}?{wrong}"), &key).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}: {answer:?}");
    }
}

#[tokio::test]
async fn a_poll_waits_for_the_event_that_it_wants_and_ends_with_its_key() {
    let server = TestServer::start();
    let (key, id) = server.api_key(&["events:read"], None).await;
    all(&server, &key).await;
    let first = server.get_as("/v1/admin/events?wait=0&types=account.deleted", &key).await;
    let next = first.text("next");
    let path = format!("/v1/admin/events?wait=20&types=account.*&after={next}");
    let polling = server.get_as(&path, &key);
    let acting = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.account("ada@test.org").await;
    };
    let (page, ()) = tokio::join!(polling, acting);
    assert_eq!(types(page.body["events"].as_array().unwrap())[0], "account.created", "{page:?}");
    let path = format!("/v1/admin/events?wait=20&types=lockout.*&after={}", page.text("next"));
    let polling = server.get_as(&path, &key);
    let acting = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.operated(json!({"operation": "api_key_delete", "id": id})).await;
        // Something happens, so that the poll looks.
        server.account("bob@test.org").await;
    };
    let (page, ()) = tokio::join!(polling, acting);
    assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{page:?}");
}

/// I open as many streams as I may, and read none of them.
#[tokio::test]
async fn readers_that_stop_reading_are_bounded_and_dropped_and_slow_nobody() {
    let server = TestServer::start();
    let (key, _) = server.api_key(&["events:read"], None).await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let open = || {
        let mut stream = TcpStream::connect(&address).unwrap();
        let ask = format!(
            "GET /v1/admin/events HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\nauthorization: Bearer {key}\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).unwrap();
        stream
    };
    // All have begun when this returns, so that none takes its place later.
    let begin = |count: usize| -> Vec<TcpStream> {
        let mut streams: Vec<TcpStream> = (0..count).map(|_| open()).collect();
        for stream in &mut streams {
            stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
            let mut head = [0; 12];
            stream.read_exact(&mut head).unwrap();
            assert_eq!(String::from_utf8_lossy(&head), "HTTP/1.1 200");
        }
        streams
    };
    let stalled = begin(10);
    // Nobody waits for them: they are never read.
    for number in 0..20 {
        server.account(&format!("user{number}@test.org")).await;
    }
    // One reader has a quarter of the places.
    let more = begin(54);
    let stream = server.request(Method::GET, "/v1/admin/events").bearer_auth(&key);
    let answer = send(stream.header("accept", "text/event-stream")).await;
    assert_eq!(answer.problem(), (429, "too_many_streams"));
    // A poll that does not wait is answered all the same, and places are free when streams are gone.
    assert_eq!(server.get_as("/v1/admin/events?wait=0", &key).await.status, StatusCode::OK);
    drop((stalled, more));
    wait_until("places are free again", async || {
        server.get_as("/v1/admin/events?wait=1&types=lockout.started", &key).await.status == StatusCode::OK
    })
    .await;
}

#[tokio::test]
async fn a_stream_has_each_event_with_the_cursor_to_go_on_from() {
    let server = TestServer::start();
    let (key, _) = server.api_key(&["events:read"], None).await;
    all(&server, &key).await;
    let request = server.request(Method::GET, "/v1/admin/events?types=account.created").bearer_auth(&key);
    let mut stream = request.header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    server.account("ada@test.org").await;
    let mut text = String::new();
    while !text.contains("ada@test.org") {
        let some = tokio::time::timeout(Duration::from_secs(20), stream.chunk()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&some.unwrap()).unwrap());
    }
    drop(stream);
    let at = text.find("\ndata: {").unwrap();
    let id = text[..at].rsplit("id: ").next().unwrap().to_owned();
    server.account("bob@test.org").await;
    let request = server.request(Method::GET, "/v1/admin/events?types=account.created").bearer_auth(&key);
    let request = request.header("accept", "text/event-stream").header("last-event-id", id);
    let mut stream = request.send().await.unwrap();
    let mut text = String::new();
    while !text.contains("bob@test.org") {
        let some = tokio::time::timeout(Duration::from_secs(20), stream.chunk()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&some.unwrap()).unwrap());
    }
    assert!(!text.contains("ada@test.org"), "{text}");
}

/// I guess passwords to fill the log: at names that nobody has, and at one account.
#[tokio::test]
async fn a_stranger_writes_an_event_with_a_lock_of_an_account_and_with_nothing_else() {
    let server = TestServer::start();
    let (key, _) = server.api_key(&["events:read"], None).await;
    server.account("ada@test.org").await;
    let before = all(&server, &key).await.len();
    for number in 0..30 {
        let guess = format!("a wrong password {number}");
        let nobody = format!("nobody{}@test.org", number % 3);
        for name in [nobody.as_str(), "ada@test.org"] {
            let answer: Answer = server.post("/v1/login", json!({"email": name, "password": guess})).await;
            assert!([401, 429].contains(&answer.status.as_u16()), "{answer:?}");
        }
        server.post("/v1/password/forgot", json!({"email": "nobody@test.org"})).await;
        server.post("/v1/refresh", json!({"refresh_token": "pcr_garbage"})).await;
    }
    let events = all(&server, &key).await.split_off(before);
    assert_eq!(types(&events), ["lockout.started"]);
    assert!(events[0]["data"]["until"].is_string(), "{events:?}");
    // The right password is refused while the lock lasts, and that is no event either.
    server.post("/v1/login", json!({"email": "ada@test.org", "password": PASSWORD})).await;
    assert_eq!(all(&server, &key).await.len(), before + 1);
}

#[tokio::test]
async fn a_copied_refresh_token_that_comes_back_is_told_of() {
    let server = TestServer::start();
    let (key, _) = server.api_key(&["events:read"], None).await;
    server.account("ada@test.org").await;
    let (_, stolen) = server.tokens("ada@test.org").await;
    let second = server.refresh(&stolen).await.text("refresh_token");
    server.refresh(&second).await;
    server.clock.advance(Duration::from_mins(10));
    assert_eq!(server.refresh(&stolen).await.problem(), (401, "refresh_token_reused"));
    let events = all(&server, &key).await;
    let [.., reused, ended] = &events[..] else { panic!("{events:?}") };
    assert_eq!(types(&[reused.clone(), ended.clone()]), ["refresh.reused", "session.ended"]);
    assert_eq!(ended["data"]["reason"], "reuse");
    let request = server.request(Method::GET, "/v1/admin/events?types=refresh.reused").bearer_auth(&key);
    let page = send(request).await;
    assert_eq!(page.body["events"], json!([reused]));
}
