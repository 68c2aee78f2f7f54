//! Token theft at a resource server that checks tokens by itself: I use a copied access token after its owner has
//! logged out everywhere, or I sign tokens with a key that has leaked.
//!
//! Bounds: a token is refused at most one second after it was ended; keys change under load without refusing one honest
//! token.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::resource_server::{hello, resource_server, until};
use crate::support::{PASSWORD, START, TestServer, send};

const NAME: &str = "ada@test.org";
const NEXT: &str = "an entirely different phrase";

/// Makes a service that may read the feed of revocations, and returns an access token of it.
async fn service(server: &TestServer) -> String {
    server.operator_account("service@test.org", &["introspect"]).await
}

/// Waits until the resource server answers with `status`, and asserts that it takes a second at most.
async fn within_a_second(server: &TestServer, address: SocketAddr, token: &str, status: StatusCode) {
    #[expect(clippy::disallowed_methods, reason = "measures another server from the outside")]
    let begin = Instant::now();
    until(server, address, token, status).await;
    let took = begin.elapsed();
    assert!(took <= Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn a_stolen_token_dies_at_the_resource_server_when_its_owner_logs_out() {
    let mut server = TestServer::start();
    server.account(NAME).await;
    let bearer = service(&server).await;
    let address = resource_server(server.url.clone(), bearer.clone(), server.clock.clone());
    let (stolen, refresh) = server.tokens(NAME).await;
    let (other, _) = server.tokens(NAME).await;
    until(&server, address, &stolen, StatusCode::OK).await;
    assert_eq!(server.post("/v1/logout", json!({"refresh_token": refresh})).await.status.as_u16(), 204);
    within_a_second(&server, address, &stolen, StatusCode::UNAUTHORIZED).await;
    assert_eq!(hello(&server, address, &other).await, StatusCode::OK);
    server.post_as("/v1/logout", &other, json!({"scope": "global"})).await;
    within_a_second(&server, address, &other, StatusCode::UNAUTHORIZED).await;
    // No token, garbage, and a refresh token.
    for token in ["", "x.y.z", refresh.as_str()] {
        assert_eq!(hello(&server, address, token).await, StatusCode::UNAUTHORIZED);
    }
    // The feed survives a restart, so a resource server that starts then learns of both.
    server = server.restart();
    let page = server.get_as("/v1/revocations", &bearer).await;
    assert_eq!(page.array("items").len(), 2);
    assert_eq!(page.body["complete"], json!(true));
}

#[tokio::test]
async fn the_feed_is_closed_to_strangers_and_users() {
    let server = TestServer::start();
    server.account(NAME).await;
    let bearer = service(&server).await;
    assert_eq!(server.get_as("/v1/revocations", "x").await.status.as_u16(), 401);
    let (ada, _) = server.tokens(NAME).await;
    assert_eq!(server.get_as("/v1/revocations", &ada).await.problem(), (403, "insufficient_role"));
    assert_eq!(server.get_as("/v1/revocations?nope=1", &bearer).await.status.as_u16(), 422);
}

#[tokio::test]
async fn the_feed_streams_events_and_a_long_poll_wakes_at_once() {
    let server = TestServer::start();
    server.account(NAME).await;
    let bearer = service(&server).await;
    let next = server.get_as("/v1/revocations", &bearer).await.body["next"].as_u64().unwrap();
    let request = server.request(Method::GET, "/v1/revocations").bearer_auth(&bearer);
    let mut stream = request.header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let first = String::from_utf8(stream.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(first.starts_with(&format!("id: {next}\ndata: ")), "{first}");
    assert!(first.ends_with("\n\n"), "{first}");
    let poll = server.request(Method::GET, &format!("/v1/revocations?since={next}&wait=15"));
    let poll = tokio::spawn(send(poll.bearer_auth(&bearer)));
    let login = server.log_in(NAME, PASSWORD).await;
    server.post_as("/v1/logout", &login.text("access_token"), json!({})).await;
    let page = poll.await.unwrap();
    assert_eq!(page.body["items"][0]["sid"], login.body["session_id"]);
    let event = String::from_utf8(stream.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(event.contains(login.body["session_id"].as_str().unwrap()), "{event}");
}

/// Counts of honest clients at work, and the flag that ends them.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    refreshes: AtomicU32,
}

/// Refreshes until the load is over, beginning with the token `refresh`, and asserts that each new access token is
/// honoured.
async fn refresh_honestly(server: Arc<TestServer>, mut refresh: String, load: Arc<Load>) {
    while !load.over.load(Ordering::Relaxed) {
        let next = server.refresh(&refresh).await;
        assert_eq!(next.status, StatusCode::OK, "{}", next.body);
        refresh = next.text("refresh_token");
        let access = next.text("access_token");
        assert_eq!(server.get_as("/v1/me", &access).await.status, StatusCode::OK);
        load.refreshes.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn keys_change_under_load_without_one_honest_token_refused() {
    let server = Arc::new(TestServer::start());
    server.account(NAME).await;
    let load = Arc::new(Load::default());
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (_, refresh) = server.tokens(NAME).await;
        clients.spawn(refresh_honestly(Arc::clone(&server), refresh, Arc::clone(&load)));
    }
    for rotation in 1..=5 {
        while load.refreshes.load(Ordering::Relaxed) < rotation * 12 {
            if let Some(ended) = clients.try_join_next() {
                ended.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(server.operated(json!({"operation": "key_rotate"})).await["kid"].is_string());
    }
    load.over.store(true, Ordering::Relaxed);
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
}

/// The key that signs has leaked. The operator retires it: its tokens are dead at once, at the server and at the
/// resource server, and another key signs.
#[tokio::test]
async fn a_leaked_key_is_dead_at_once_and_another_one_takes_over() {
    let server = TestServer::start();
    server.account(NAME).await;
    let bearer = service(&server).await;
    let address = resource_server(server.url.clone(), bearer, server.clock.clone());
    for _ in 0..5 {
        server.operated(json!({"operation": "key_rotate"})).await;
    }
    server.clock.advance(Duration::from_mins(11));
    let (access, refresh) = server.tokens(NAME).await;
    until(&server, address, &access, StatusCode::OK).await;
    let leaked = kid(&access);
    let keys = server.operated(json!({"operation": "key_list"})).await;
    let signs = keys["items"].as_array().unwrap().iter().find(|key| key["signs"] == true).unwrap();
    assert_eq!(signs["kid"], json!(leaked));
    server.operated(json!({"operation": "key_retire", "kid": leaked})).await;
    assert_eq!(server.get_as("/v1/me", &access).await.status, StatusCode::UNAUTHORIZED);
    within_a_second(&server, address, &access, StatusCode::UNAUTHORIZED).await;
    let next = server.refresh(&refresh).await.text("access_token");
    assert_eq!(server.get_as("/v1/me", &next).await.status, StatusCode::OK);
    within_a_second(&server, address, &next, StatusCode::OK).await;
    let again = server.operate(json!({"operation": "key_retire", "kid": leaked})).await;
    assert!(again.get("error").is_some(), "{again}");
}

/// Returns the id of the key that signed `token`.
fn kid(token: &str) -> String {
    use base64ct::{Base64UrlUnpadded, Encoding};
    let header = Base64UrlUnpadded::decode_vec(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

/// An account exists whose address was typed and never proved. An administrator who makes it again, by mistake or led on,
/// is refused, and its tokens live on.
#[tokio::test]
async fn a_token_of_an_unproven_account_lives_on_when_the_account_is_made_again() {
    let server = TestServer::with(&[("signup.verify_email", "off")]);
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let bearer = service(&server).await;
    let address = resource_server(server.url.clone(), bearer, server.clock.clone());
    let make = |verified: bool| json!({"email": NAME, "password": PASSWORD, "verified": verified});
    let typed = server.post_as("/v1/admin/users", &root, make(false)).await;
    assert_eq!(typed.status, StatusCode::CREATED);
    let (access, refresh) = server.tokens(NAME).await;
    until(&server, address, &access, StatusCode::OK).await;
    for verified in [true, false] {
        let again = server.post_as("/v1/admin/users", &root, make(verified)).await;
        assert_eq!(again.problem(), (409, "email_taken"));
    }
    assert_eq!(server.get_as("/v1/me", &access).await.text("id"), typed.text("id"));
    assert_eq!(server.refresh(&refresh).await.status, StatusCode::OK);
    until(&server, address, &access, StatusCode::OK).await;
}

/// A resource server that caches the published keys for the five minutes that it may knows the key of every token, over
/// rotations and restarts.
#[tokio::test]
async fn a_cache_of_the_published_keys_knows_the_key_of_every_token() {
    let mut server = TestServer::start();
    server.account(NAME).await;
    let (_, mut refresh) = server.tokens(NAME).await;
    let mut published = Vec::new();
    let mut signed_by = Vec::new();
    for minute in 0..60 {
        server.clock.advance(Duration::from_mins(1));
        // Also twice in a row, and right before a restart.
        if [8, 9, 30, 44].contains(&minute) {
            let rotated = server.operated(json!({"operation": "key_rotate"})).await;
            assert!(rotated["signs_from"].is_string(), "{rotated}");
        }
        if [31, 45].contains(&minute) {
            server = server.restart();
        }
        published.push(published_keys(&server).await);
        let next = server.refresh(&refresh).await;
        refresh = next.text("refresh_token");
        let by = kid(&next.text("access_token"));
        assert!(published[published.len().saturating_sub(6)].contains(&by), "minute {minute}");
        signed_by.push(by);
    }
    signed_by.dedup();
    // The key of minute 8 signs for the one minute by which it is older than the key of minute 9.
    assert_eq!(signed_by.len(), 5);
}

/// Returns the ids of the published keys.
async fn published_keys(server: &TestServer) -> Vec<String> {
    let answer = server.get("/.well-known/jwks.json").await;
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
    answer.array("keys").iter().map(kid).collect()
}

/// In an emergency every key is retired. A new one signs at once, although no cache knows it; a resource server that
/// follows the feed is told of the retired keys and fetches the new one.
#[tokio::test]
async fn after_all_keys_are_retired_a_new_one_signs_and_the_feed_names_the_old() {
    let server = TestServer::start();
    service(&server).await;
    for _ in 0..4 {
        server.operated(json!({"operation": "key_rotate"})).await;
        server.clock.advance(Duration::from_mins(11));
    }
    // The first two have left the set already: the last of their tokens is over.
    let published = published_keys(&server).await;
    assert_eq!(published.len(), 3);
    let keys = server.operated(json!({"operation": "key_list"})).await;
    for key in keys["items"].as_array().unwrap() {
        server.operated(json!({"operation": "key_retire", "kid": key["kid"]})).await;
    }
    let server = server.restart();
    let bearer = server.tokens("service@test.org").await.0;
    assert!(!published.contains(&kid(&bearer)));
    let page = server.get_as("/v1/revocations", &bearer).await;
    let retired = page.array("items").iter().filter(|item| item["kid"].is_string()).count();
    assert_eq!(retired, 3, "{}", page.body);
}

#[tokio::test]
async fn a_token_cannot_choose_the_algorithm_by_which_it_is_checked() {
    let server = TestServer::with(&[("token.algorithm", "EdDSA")]);
    server.account(NAME).await;
    let bearer = service(&server).await;
    let address = resource_server(server.url.clone(), bearer, server.clock.clone());
    let (access, _) = server.tokens(NAME).await;
    until(&server, address, &access, StatusCode::OK).await;
    let keys = server.operated(json!({"operation": "key_list"})).await;
    assert_eq!(keys["items"][0]["kty"], "OKP");
    // I put another `alg` into the header: `none`, and `HS256`.
    let (_, rest) = access.split_once('.').unwrap();
    for header in ["eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0", "eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9"] {
        assert_eq!(hello(&server, address, &format!("{header}.{rest}")).await, StatusCode::UNAUTHORIZED);
    }
}

/// Waits up to a second until the feed has `count` sessions, and returns their ids in order.
async fn revoked(server: &TestServer, bearer: &str, since: u64, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..20 {
        let page = server.get_as(&format!("/v1/revocations?since={since}"), bearer).await;
        let id = |item: &Value| Some(item["sid"].as_str()?.to_owned());
        ids = page.array("items").iter().filter_map(id).collect();
        if ids.len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ids.sort();
    ids
}

/// A way to end many sessions at once. Those of the first line keep the session that asks.
#[derive(Clone, Copy, Debug)]
enum Way {
    LogOutOthers,
    PasswordChange,
    LogOutEverywhere,
    Reset,
    OwnDeletion,
    Disabling,
    Deletion,
    Revocation,
}

const WAYS: [Way; 8] = [
    Way::LogOutEverywhere,
    Way::LogOutOthers,
    Way::PasswordChange,
    Way::Reset,
    Way::Disabling,
    Way::Deletion,
    Way::Revocation,
    Way::OwnDeletion,
];

/// Ends sessions of `email` by `way`. Where the client asks, most often with the access token `own`, it hangs up long
/// before all sessions have been ended.
async fn end_sessions(server: &TestServer, way: Way, email: &str, own: &str) {
    let hang_up = async |path: &str, body: Value| {
        server.post_and_hang_up(path, own, body, Duration::from_millis(2)).await;
    };
    let by_operator = async |operation: &str| {
        server.operated(json!({"operation": operation, "user": email})).await;
    };
    match way {
        Way::LogOutEverywhere => hang_up("/v1/logout", json!({"scope": "global"})).await,
        Way::LogOutOthers => hang_up("/v1/logout", json!({"scope": "others"})).await,
        Way::PasswordChange => {
            let change = json!({"current_password": PASSWORD, "new_password": NEXT});
            hang_up("/v1/password/change", change).await;
        }
        Way::Reset => {
            server.forgot(email).await;
            let token = server.mailed(email, "new password").await;
            hang_up("/v1/password/reset", json!({"token": token, "new_password": NEXT})).await;
        }
        Way::OwnDeletion => {
            let deleted = server.delete_as("/v1/me", own, json!({"password": PASSWORD})).await;
            assert_eq!(deleted.status, StatusCode::NO_CONTENT);
        }
        Way::Disabling => by_operator("user_lock").await,
        Way::Deletion => by_operator("user_delete").await,
        Way::Revocation => by_operator("session_revoke").await,
    }
}

/// Also the sessions of browsers, and also if the client hangs up before it has an answer.
#[tokio::test]
async fn whatever_ends_sessions_puts_each_of_them_into_the_feed_once() {
    let server = TestServer::start();
    let bearer = service(&server).await;
    for (number, way) in WAYS.into_iter().enumerate() {
        let email = format!("ada{number}@test.org");
        server.account(&email).await;
        let page = server.get_as("/v1/revocations", &bearer).await;
        let since = page.body["next"].as_u64().unwrap();
        let (own, _) = server.tokens(&email).await;
        let own_session = server.get_as("/v1/session", &own).await.body["session"]["id"].clone();
        let mut ended = Vec::new();
        for n in 0..30 {
            let opened = if n % 3 == 0 {
                server.log_in_for_cookie(&email).await
            } else {
                server.log_in(&email, PASSWORD).await
            };
            ended.push(opened.text("session_id"));
        }
        end_sessions(&server, way, &email, &own).await;
        if !matches!(way, Way::LogOutOthers) {
            ended.push(own_session.as_str().unwrap().to_owned());
        }
        ended.sort();
        assert_eq!(revoked(&server, &bearer, since, ended.len()).await, ended, "{way:?}");
    }
}

/// Logs in with [`NEXT`] until it works or a second has passed, and says whether it worked.
async fn is_changed(server: &TestServer, email: &str) -> bool {
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        if server.log_in(email, NEXT).await.status == StatusCode::OK {
            return true;
        }
    }
    false
}

/// I change the password of a stolen session and hang up at once, so that the owner hears nothing of it. If the
/// password was changed at all, the mail leaves and the event is in the log.
#[tokio::test]
async fn a_thief_who_hangs_up_leaves_the_same_traces() {
    let server = TestServer::start();
    let mut changed = 0;
    for number in 0..12 {
        let email = format!("ada{number}@test.org");
        server.account(&email).await;
        let (stolen, _) = server.tokens(&email).await;
        let change = json!({"current_password": PASSWORD, "new_password": NEXT});
        let after = Duration::from_millis(number % 6);
        if number < 6 {
            server.post_and_hang_up("/v1/password/change", &stolen, change, after).await;
        } else {
            server.post_and_reset("/v1/password/change", &stolen, change, after).await;
        }
        // A request that I reset before it was read was never made.
        if is_changed(&server, &email).await {
            changed += 1;
            server.mail(&email, "was changed").await;
            let tail = json!({"operation": "audit_tail", "limit": 100, "event": "password.changed"});
            let events = server.operated(tail).await;
            assert_eq!(events["items"].as_array().unwrap().len(), changed, "{events}");
        }
    }
    assert!(changed > 3, "{changed}");
}

/// A refresh within the grace makes a new access token, at most as old as the grace. When its session was ended, the
/// feed must name it until this token has expired, also after a restart.
#[tokio::test]
async fn a_token_made_within_the_grace_stays_in_the_feed_until_it_expires() {
    let mut server = TestServer::with(&[("refresh.grace_secs", "60")]);
    server.account(NAME).await;
    service(&server).await;
    let login = server.log_in(NAME, PASSWORD).await;
    let first = login.text("refresh_token");
    assert_eq!(server.refresh(&first).await.status, StatusCode::OK);
    server.clock.advance(Duration::from_secs(59));
    // I say that the answer was lost, and get the same successor with an access token that is made now.
    let again = server.refresh(&first).await;
    let session = again.text("session_id");
    server.post("/v1/logout", json!({"refresh_token": again.text("refresh_token")})).await;
    for secs in [0, 900] {
        server.clock.advance(Duration::from_secs(secs));
        server = server.restart();
        let bearer = server.tokens("service@test.org").await.0;
        let page = server.get_as("/v1/revocations", &bearer).await;
        let item = page.array("items").iter().find(|item| item["sid"] == session.as_str());
        let item = item.unwrap_or_else(|| panic!("after {secs} s: {}", page.body));
        let until = item["until"].as_u64().unwrap();
        assert!(until >= START.as_secs() + 59 + 900 + 30, "{until}");
    }
}
