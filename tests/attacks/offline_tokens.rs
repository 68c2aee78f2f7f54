//! Token theft at a resource server that checks tokens by itself: a copied access token is used after its owner has logged
//! out everywhere; a signing key has leaked.
//!
//! Bounds: refused at most a second after it was ended; keys change under load without one honest token refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use actix_web::{App, HttpServer, web};
use portcullis::resource_server::{Verified, Verifier};
use portcullis::system::clock::Clock;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, ORIGIN, PASSWORD, TestServer};

/// The token of a service that may read the feed.
async fn service(server: &TestServer) -> String {
    let add = json!({
        "operation": "user_add", "email": "service@test.org", "password": PASSWORD, "roles": ["introspect"],
    });
    assert!(server.operate(add).await.get("ok").is_some());
    server.tokens("service@test.org").await.0
}

/// A resource server as the docs show it, in a process' thread of its own. Says where it answers.
fn resource_server(url: String, bearer: String, clock: Clock) -> SocketAddr {
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let verifier = web::Data::new(Verifier::new(ORIGIN, ORIGIN, clock));
            let (following, http) =
                (verifier.clone(), reqwest::Client::builder().user_agent("test").build().unwrap());
            actix_web::rt::spawn(async move {
                following
                    .follow(|path| {
                        let request = http.get(format!("{url}{path}")).bearer_auth(&bearer);
                        async move { request.send().await?.error_for_status()?.bytes().await }
                    })
                    .await;
            });
            let server = HttpServer::new(move || {
                App::new()
                    .app_data(verifier.clone())
                    .route("/hello", web::get().to(async |who: Verified| who.sub.clone()))
            })
            .workers(1)
            .bind("127.0.0.1:0")
            .unwrap();
            ready.send(server.addrs()[0]).unwrap();
            let _ = server.run().await;
        });
    });
    is_ready.recv().unwrap()
}

async fn hello(server: &TestServer, address: SocketAddr, token: &str) -> StatusCode {
    server.http.get(format!("http://{address}/hello")).bearer_auth(token).send().await.unwrap().status()
}

/// How long until the resource server answers so.
async fn until(server: &TestServer, address: SocketAddr, token: &str, status: StatusCode) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "measures another server from outside")]
    let begin = Instant::now();
    while hello(server, address, token).await != status {
        assert!(begin.elapsed() < Duration::from_secs(20), "never {status}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    begin.elapsed()
}

#[tokio::test]
async fn a_stolen_token_dies_at_the_resource_server_when_its_owner_logs_out_everywhere() {
    let mut server = TestServer::start();
    server.account("ada@test.org").await;
    let bearer = service(&server).await;
    let address = resource_server(server.url.clone(), bearer.clone(), server.clock.clone());
    let (stolen, refresh) = server.tokens("ada@test.org").await;
    let (other, _) = server.tokens("ada@test.org").await;
    until(&server, address, &stolen, StatusCode::OK).await;
    assert_eq!(server.post("/v1/logout", json!({"refresh_token": refresh})).await.status.as_u16(), 204);
    let took = until(&server, address, &stolen, StatusCode::UNAUTHORIZED).await;
    assert!(took <= Duration::from_secs(1), "{took:?}");
    assert_eq!(hello(&server, address, &other).await, StatusCode::OK);
    server.post_as("/v1/logout", &other, json!({"scope": "global"})).await;
    let took = until(&server, address, &other, StatusCode::UNAUTHORIZED).await;
    assert!(took <= Duration::from_secs(1), "{took:?}");
    // Garbage, none, and what is no access token.
    for token in ["", "x.y.z", refresh.as_str()] {
        assert_eq!(hello(&server, address, token).await, StatusCode::UNAUTHORIZED);
    }
    // The feed outlives a restart: a resource server that begins then learns of both.
    server = server.restart();
    let page = server.get_as("/v1/revocations", &bearer).await;
    assert_eq!((page.body["items"].as_array().unwrap().len(), &page.body["complete"]), (2, &json!(true)));
    assert_eq!(server.get_as("/v1/revocations", "x").await.status.as_u16(), 401);
    let (ada, _) = server.tokens("ada@test.org").await;
    assert_eq!(server.get_as("/v1/revocations", &ada).await.problem(), (403, "insufficient_role"));
    assert_eq!(server.get_as("/v1/revocations?nope=1", &bearer).await.status.as_u16(), 422);
}

#[tokio::test]
async fn the_feed_streams_events_and_a_long_poll_wakes_at_once() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let bearer = service(&server).await;
    let next = server.get_as("/v1/revocations", &bearer).await.body["next"].as_u64().unwrap();
    let request = server.request(Method::GET, "/v1/revocations").bearer_auth(&bearer);
    let mut stream = request.header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let first = String::from_utf8(stream.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(first.starts_with(&format!("id: {next}\ndata: ")) && first.ends_with("\n\n"), "{first}");
    let poll =
        server.request(Method::GET, &format!("/v1/revocations?since={next}&wait=15")).bearer_auth(&bearer);
    let poll = tokio::spawn(async { Answer::of(poll.send().await.unwrap()).await });
    let login = server.log_in("ada@test.org", PASSWORD).await;
    server.post_as("/v1/logout", &login.text("access_token"), json!({})).await;
    let page = poll.await.unwrap();
    assert_eq!(page.body["items"][0]["sid"], login.body["session_id"]);
    let event = String::from_utf8(stream.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(event.contains(login.body["session_id"].as_str().unwrap()), "{event}");
}

#[tokio::test]
async fn keys_change_under_load_without_one_honest_token_refused_and_a_leaked_one_is_dead_at_once() {
    let server = Arc::new(TestServer::start());
    server.account("ada@test.org").await;
    let bearer = service(&server).await;
    let address = resource_server(server.url.clone(), bearer, server.clock.clone());
    let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (server, over, asked) = (Arc::clone(&server), Arc::clone(&over), Arc::clone(&asked));
        let (_, mut refresh) = server.tokens("ada@test.org").await;
        clients.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let next = server.refresh(&refresh).await;
                assert_eq!(next.status, StatusCode::OK, "{}", next.body);
                refresh = next.text("refresh_token");
                let access = next.text("access_token");
                assert_eq!(server.get_as("/v1/me", &access).await.status, StatusCode::OK);
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for rotation in 1..=5 {
        while asked.load(Ordering::Relaxed) < rotation * 12 {
            if let Some(ended) = clients.try_join_next() {
                ended.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(server.operate(json!({"operation": "key_rotate"})).await["ok"]["kid"].is_string());
    }
    over.store(true, Ordering::Relaxed);
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }

    // Whichever signs in the end, a leaked one is dead at once, here and there, and others take over.
    server.clock.advance(Duration::from_mins(11));
    let (access, refresh) = server.tokens("ada@test.org").await;
    until(&server, address, &access, StatusCode::OK).await;
    let leaked = kid(&access);
    let keys = server.operate(json!({"operation": "key_list"})).await;
    let signs = keys["ok"]["items"].as_array().unwrap().iter().find(|key| key["signs"] == true).unwrap();
    assert_eq!(signs["kid"], json!(leaked));
    assert!(server.operate(json!({"operation": "key_retire", "kid": leaked})).await.get("ok").is_some());
    assert_eq!(server.get_as("/v1/me", &access).await.status, StatusCode::UNAUTHORIZED);
    let took = until(&server, address, &access, StatusCode::UNAUTHORIZED).await;
    assert!(took <= Duration::from_secs(1), "{took:?}");
    let next = server.refresh(&refresh).await.text("access_token");
    assert_eq!(server.get_as("/v1/me", &next).await.status, StatusCode::OK);
    let took = until(&server, address, &next, StatusCode::OK).await;
    assert!(took <= Duration::from_secs(1), "{took:?}");
    let again = server.operate(json!({"operation": "key_retire", "kid": leaked})).await;
    assert!(again.get("error").is_some());
}

/// The id of the key that signed a token.
fn kid(token: &str) -> String {
    use base64ct::{Base64UrlUnpadded, Encoding};
    let header = Base64UrlUnpadded::decode_vec(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_of_an_address_that_was_only_typed_dies_when_an_administrator_makes_its_account() {
    let server = TestServer::with(&[("signup.verify_email", "off")]);
    let add =
        json!({"operation": "user_add", "email": "root@test.org", "password": PASSWORD, "roles": ["admin"]});
    assert!(server.operate(add).await.get("ok").is_some());
    let (root, _) = server.tokens("root@test.org").await;
    let bearer = service(&server).await;
    let address = resource_server(server.url.clone(), bearer, server.clock.clone());
    let make = |verified: bool| json!({"email": "ada@test.org", "password": PASSWORD, "verified": verified});
    let typed = server.post_as("/v1/admin/users", &root, make(false)).await;
    assert_eq!(typed.status, StatusCode::CREATED);
    let (access, refresh) = server.tokens("ada@test.org").await;
    until(&server, address, &access, StatusCode::OK).await;
    let made = server.post_as("/v1/admin/users", &root, make(true)).await;
    assert_eq!((made.status, made.text("id")), (StatusCode::CREATED, typed.text("id")));
    until(&server, address, &access, StatusCode::UNAUTHORIZED).await;
    assert_eq!(server.refresh(&refresh).await.problem(), (401, "session_expired"));
    assert_eq!(server.post_as("/v1/admin/users", &root, make(true)).await.problem(), (409, "email_taken"));
}

#[tokio::test]
async fn who_keeps_the_published_keys_as_long_as_it_may_knows_every_token_but_after_an_emergency() {
    let mut server = TestServer::start();
    server.account("ada@test.org").await;
    service(&server).await;
    let (_, mut refresh) = server.tokens("ada@test.org").await;
    let mut published = Vec::new();
    let mut signed_by = Vec::new();
    for minute in 0..60 {
        server.clock.advance(Duration::from_mins(1));
        // Not least twice in a row, and right before a restart.
        if [8, 9, 30, 44].contains(&minute) {
            let rotated = server.operate(json!({"operation": "key_rotate"})).await;
            assert!(rotated["ok"]["signs_from"].is_string(), "{rotated}");
        }
        if [31, 45].contains(&minute) {
            server = server.restart();
        }
        let answer = server.get_as("/.well-known/jwks.json", "").await;
        assert_eq!(answer.header("cache-control"), "public, max-age=300");
        let keys = answer.body["keys"].as_array().unwrap();
        published.push(keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>());
        let next = server.refresh(&refresh).await;
        refresh = next.text("refresh_token");
        let by = kid(&next.text("access_token"));
        assert!(published[published.len().saturating_sub(6)].contains(&by), "minute {minute}");
        signed_by.push(by);
    }
    signed_by.dedup();
    // The key of minute 8 signs for the one minute by which it is older.
    assert_eq!(signed_by.len(), 5);
    // The emergency: no other key would do, so a new one signs at once, and who follows the feed fetches it.
    let keys = server.operate(json!({"operation": "key_list"})).await;
    for key in keys["ok"]["items"].as_array().unwrap() {
        let retire = json!({"operation": "key_retire", "kid": key["kid"]});
        assert!(server.operate(retire).await.get("ok").is_some());
    }
    let server = server.restart();
    let bearer = server.tokens("service@test.org").await.0;
    assert!(!published.last().unwrap().contains(&kid(&bearer)));
    let page = server.get_as("/v1/revocations", &bearer).await;
    let told = page.body["items"].as_array().unwrap().iter().filter(|item| item["kid"].is_string()).count();
    assert_eq!(told, 5, "{}", page.body);
}

#[tokio::test]
async fn with_another_algorithm_new_tokens_are_checked_and_a_token_says_nothing_about_how() {
    let server = TestServer::with(&[("token.algorithm", "EdDSA")]);
    server.account("ada@test.org").await;
    let bearer = service(&server).await;
    let address = resource_server(server.url.clone(), bearer, server.clock.clone());
    let (access, _) = server.tokens("ada@test.org").await;
    until(&server, address, &access, StatusCode::OK).await;
    let keys = server.operate(json!({"operation": "key_list"})).await;
    assert_eq!(keys["ok"]["items"][0]["kty"], "OKP");
    // The same token with another `alg` in its header, as if it might choose.
    let (_, rest) = access.split_once('.').unwrap();
    for header in ["eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0", "eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9"] {
        assert_eq!(hello(&server, address, &format!("{header}.{rest}")).await, StatusCode::UNAUTHORIZED);
    }
}

/// The ids in the feed, once so many are there; at most a second later.
async fn told(server: &TestServer, bearer: &str, since: u64, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..20 {
        let page = server.get_as(&format!("/v1/revocations?since={since}"), bearer).await;
        let items = page.body["items"].as_array().unwrap().clone();
        seen = items.iter().filter_map(|item| Some(item["sid"].as_str()?.to_owned())).collect();
        if seen.len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    seen.sort();
    seen
}

#[tokio::test]
async fn whatever_ends_sessions_is_in_the_feed_each_once_also_those_of_browsers_and_also_if_the_client_hangs_up()
 {
    let server = TestServer::start();
    let bearer = service(&server).await;
    let ways = ["global", "others", "password", "reset", "disable", "delete", "revoke", "own delete"];
    for (number, way) in ways.into_iter().enumerate() {
        let email = format!("ada{number}@test.org");
        server.account(&email).await;
        let page = server.get_as("/v1/revocations", &bearer).await;
        let since = page.body["next"].as_u64().unwrap();
        let (own, _) = server.tokens(&email).await;
        let own_sid = server.get_as("/v1/session", &own).await.body["session"]["id"].clone();
        let mut opened = Vec::new();
        for n in 0..30 {
            let mode = if n % 3 == 0 { "cookie" } else { "token" };
            let login = json!({"email": email, "password": PASSWORD, "mode": mode});
            let request = server.request(Method::POST, "/v1/login").header("origin", ORIGIN).json(&login);
            opened.push(Answer::of(request.send().await.unwrap()).await.text("session_id"));
        }
        let user = || json!({"user": email});
        let operation = |name: &str| {
            let mut operation = user();
            operation["operation"] = json!(name);
            operation
        };
        // Long before all of them have been ended one after another.
        let hang_up = async |path: &str, body: Value| {
            server.post_and_hang_up(path, &own, body, Duration::from_millis(2)).await;
        };
        let goes_on = matches!(way, "others" | "password");
        match way {
            "global" | "others" => hang_up("/v1/logout", json!({"scope": way})).await,
            "password" => {
                let new = "an entirely different phrase";
                hang_up("/v1/password/change", json!({"current_password": PASSWORD, "new_password": new}))
                    .await;
            }
            "reset" => {
                server.post("/v1/password/forgot", json!({"email": email})).await;
                let token = server.mailed(&email, "new password").await;
                let new = "an entirely different phrase";
                hang_up("/v1/password/reset", json!({"token": token, "new_password": new})).await;
            }
            "own delete" => {
                let request = server.request(Method::DELETE, "/v1/me").bearer_auth(&own);
                let deleted = request.json(&json!({"password": PASSWORD})).send().await.unwrap();
                assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
            }
            "disable" => assert!(server.operate(operation("user_lock")).await.get("ok").is_some()),
            "delete" => assert!(server.operate(operation("user_delete")).await.get("ok").is_some()),
            _ => assert!(server.operate(operation("session_revoke")).await.get("ok").is_some()),
        }
        if !goes_on {
            opened.push(own_sid.as_str().unwrap().to_owned());
        }
        opened.sort();
        let seen = told(&server, &bearer, since, opened.len()).await;
        assert_eq!(seen, opened, "{way}");
    }
}

#[tokio::test]
async fn a_thief_who_hangs_up_leaves_the_same_traces() {
    let server = TestServer::start();
    for number in 0..6 {
        let email = format!("ada{number}@test.org");
        server.account(&email).await;
        let (stolen, _) = server.tokens(&email).await;
        let new = "an entirely different phrase";
        let change = json!({"current_password": PASSWORD, "new_password": new});
        let after = Duration::from_millis(number);
        server.post_and_hang_up("/v1/password/change", &stolen, change, after).await;
        // The owner cannot be kept from hearing of it.
        let mut changed = false;
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(25)).await;
            changed = server.log_in(&email, new).await.status == StatusCode::OK;
            if changed {
                break;
            }
        }
        if changed {
            server.mail(&email, "was changed").await;
            let wanted = json!({"operation": "audit_tail", "limit": 100, "event": "password.changed"});
            let events = server.operate(wanted).await;
            assert_eq!(events["ok"]["items"].as_array().unwrap().len(), number as usize + 1, "{events}");
        }
    }
}

#[tokio::test]
async fn a_token_of_the_grace_is_told_after_a_restart_for_as_long_as_it_lives() {
    let mut server = TestServer::with(&[("refresh.grace_secs", "60")]);
    server.account("ada@test.org").await;
    let bearer = service(&server).await;
    let login = server.log_in("ada@test.org", PASSWORD).await;
    let first = login.text("refresh_token");
    assert_eq!(server.refresh(&first).await.status, StatusCode::OK);
    server.clock.advance(Duration::from_secs(59));
    // Its answer was lost, it says: the same successor, and an access token that is made now.
    let again = server.refresh(&first).await;
    let sid = again.text("session_id");
    server.post("/v1/logout", json!({"refresh_token": again.text("refresh_token")})).await;
    for secs in [0, 900] {
        server.clock.advance(Duration::from_secs(secs));
        server = server.restart();
        let bearer = if secs == 0 { bearer.clone() } else { server.tokens("service@test.org").await.0 };
        let page = server.get_as("/v1/revocations", &bearer).await;
        let item = page.body["items"].as_array().unwrap().iter().find(|item| item["sid"] == sid.as_str());
        let until =
            item.unwrap_or_else(|| panic!("after {secs} s: {}", page.body))["until"].as_u64().unwrap();
        assert!(until >= 1_800_000_000 + 59 + 900 + 30, "{until}");
    }
}
