//! A clock that was wrong: ahead for a moment or for years. No token is issued in the future once it is right again, what
//! has expired stays so, and an operator is told and has a way back.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use crate::support::process::{BINARY, Process, Ran, log_in, post, run};
use crate::support::{PASSWORD, START, TestServer};

const HOUR: Duration = Duration::from_hours(1);

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&Base64UrlUnpadded::decode_vec(payload).unwrap()).unwrap()
}

/// Logs in and asserts that the access token is of now and works.
async fn assert_token_of_now(server: &TestServer, when: &str) {
    let (access, refresh) = server.tokens("ada@test.org").await;
    let refreshed = server.refresh(&refresh).await;
    let now = server.clock.system_now().as_secs();
    for token in [access, refreshed.text("access_token")] {
        let claims = claims(&token);
        assert_eq!(claims["iat"], now, "{when}");
        assert_eq!(claims["exp"], now + 900, "{when}");
        assert_eq!(claims["auth_time"], now, "{when}");
        assert_eq!(server.get_as("/v1/me", &token).await.status, 200, "{when}");
    }
    assert_eq!(refreshed.body["expires_in"], 900, "{when}");
}

async fn reasons(server: &TestServer) -> Value {
    server.get("/readyz").await.body["reasons"].clone()
}

#[actix_web::test]
async fn after_a_wrong_moment_tokens_are_of_now_and_operators_are_told_until_it_is_over() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    assert_token_of_now(&server, "before").await;
    assert_eq!(reasons(&server).await, json!([]));

    let (_, expiring) = server.tokens("ada@test.org").await;
    server.clock.set_system(START + HOUR * 3);
    assert_token_of_now(&server, "while it is wrong").await;
    server.clock.set_system(START);
    assert_token_of_now(&server, "right again").await;
    assert_eq!(reasons(&server).await, json!(["clock_ahead"]));
    let findings = server.operated(json!({"operation": "findings"})).await;
    assert!(findings.to_string().contains("reset-clock-floor"), "{findings}");

    let server = server.restart();
    assert_token_of_now(&server, "after a restart").await;
    assert_eq!(reasons(&server).await, json!(["clock_ahead"]));
    assert_eq!(server.refresh(&expiring).await.status, 200);

    // Three hours at half speed.
    server.clock.advance(HOUR * 7);
    assert_token_of_now(&server, "caught up").await;
    assert_eq!(reasons(&server).await, json!([]));
}

/// Resource servers believe the feed: an ending must not reach beyond the tokens of now.
#[actix_web::test]
async fn a_role_that_is_lost_after_a_wrong_moment_ends_the_tokens_before_and_none_after() {
    let server = TestServer::start();
    server.operator_account("ada@test.org", &["staff"]).await;
    server.clock.set_system(START + HOUR * 3);
    server.tokens("ada@test.org").await;
    server.clock.set_system(START);
    let (before, _) = server.tokens("ada@test.org").await;
    let set_role = json!({"operation": "user_set_role", "user": "ada@test.org", "roles": []});
    server.operated(set_role).await;
    assert_eq!(server.get_as("/v1/me", &before).await.status, 401);
    server.clock.advance(Duration::from_secs(1));
    assert_token_of_now(&server, "after the loss").await;
}

/// Kind: a time of this server that another machine compares with its own clock.
#[actix_web::test]
async fn after_a_wrong_moment_a_refresh_token_says_by_the_clock_of_the_system_when_it_ends() {
    const DAY: Duration = Duration::from_hours(24);
    let server = TestServer::start();
    server.account("ada@test.org").await;
    server.operator_account("service@test.org", &["introspect"]).await;
    server.clock.set_system(START + DAY * 60);
    server.tokens("ada@test.org").await;
    server.clock.set_system(START);
    let opened = server.log_in("ada@test.org", PASSWORD).await;
    let (service, _) = server.tokens("service@test.org").await;
    let refresh = opened.text("refresh_token");
    let seen = server.post_as("/v1/introspect", &service, json!({"token": refresh})).await;
    // Thirty days at half speed.
    let end = START + DAY * 60;
    assert_eq!(opened.body["refresh_expires_at"], json!(end.rfc3339()));
    assert_eq!(seen.body["exp"], end.as_secs());
    assert_eq!(seen.body["iat"], START.as_secs());
    let (_, other) = server.tokens("ada@test.org").await;
    server.clock.advance(DAY * 59);
    assert_eq!(server.refresh(&refresh).await.status, 200);
    server.clock.advance(DAY * 2);
    assert_eq!(server.refresh(&other).await.status, 401);
}

/// Years ahead nobody waits until the system has caught up.
#[actix_web::test]
async fn a_directory_from_the_future_is_refused_and_made_anew_at_the_time_of_the_system() {
    let root = tempfile::tempdir().unwrap();
    let old = root.path().join("old");
    let server = TestServer::with(&[("lockout.failures", "3"), ("lockout.first_lock_secs", "3600")]);
    server.account("ada@test.org").await;
    server.clock.advance(HOUR * 24 * 365 * 9);
    server.account("bob@test.org").await;
    let (_, refresh) = server.tokens("bob@test.org").await;
    for number in 0..3 {
        server.log_in("ada@test.org", &format!("wrong password {number}")).await;
    }
    assert_eq!(server.log_in("ada@test.org", PASSWORD).await.status, 429);
    let server = server.restart_after(|data| copy(data, &old));
    drop(server);

    run(&["serve"], &old).exits(1).says("h ahead of the system's clock").says("data reset-clock-floor");
    run(&["doctor"], &old).exits(1).says("fail  clock").says("data reset-clock-floor");
    let new = root.path().join("new");
    let mut reset = Command::new(BINARY);
    reset.args(["data", "reset-clock-floor"]).arg(&old).arg("--data-dir").arg(&new);
    Ran::of(&mut reset).exits(0).says("timeline 2").says("the new directory begins at 20");
    run(&["data", "verify"], &new).exits(0);
    assert!(run(&["doctor"], &new).text.contains("pass  clock"));

    let mut server = Process::start(&new);
    let http = reqwest::Client::new();
    for email in ["ada@test.org", "bob@test.org"] {
        let body = json!({"email": email, "password": PASSWORD});
        let (status, answer) = post(&http, &server.url, "/v1/login", body).await.unwrap();
        assert_eq!(status, 200, "{answer}");
        let issued = claims(answer["access_token"].as_str().unwrap())["iat"].as_u64().unwrap();
        let made = fs::metadata(&new).unwrap().modified().unwrap().elapsed().unwrap().as_secs();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!(now - issued <= made + 60, "{email}: issued at {issued}, now {now}");
    }
    assert_eq!(log_in(&http, &server.url, "ada@test.org", "a wrong password").await, 401);
    let refreshed = post(&http, &server.url, "/v1/refresh", json!({"refresh_token": refresh})).await;
    assert_eq!(refreshed.unwrap().0, 401);
    let ready = http.get(format!("{}/readyz", server.url)).send().await.unwrap().text().await.unwrap();
    assert!(ready.contains("\"ready\""), "{ready}");
    assert_eq!(server.stop(), Some(0));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let place = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&entry.path(), &place),
            kind if kind.is_file() => {
                fs::copy(entry.path(), place).unwrap();
            }
            _ => {}
        }
    }
}
