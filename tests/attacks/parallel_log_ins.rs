//! Many log-ins of one name at once: I guess in parallel and hang up, to get more guesses than in a row. An honest
//! client that does the same with the right password must not be refused for it.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{Answer, PASSWORD, TestServer, send};

const NAME: &str = "ada@test.org";

/// Logs in to `email` `count` times at once, with the password that `password` returns for each.
async fn at_once(
    server: &TestServer,
    email: &str,
    count: u32,
    device: Option<&str>,
    password: impl Fn(u32) -> String,
) -> Vec<Answer> {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..count {
        let mut request = server.request(Method::POST, "/v1/login");
        if let Some(device) = device {
            request = request.header("x-device-token", device);
        }
        tasks.spawn(send(request.json(&json!({"email": email, "password": password(number)}))));
    }
    tasks.join_all().await
}

/// Returns a server whose hashes take long enough to meet each other.
fn slow() -> TestServer {
    TestServer::with(&[("password.memory_kib", "32768"), ("password.passes", "4")])
}

#[tokio::test]
async fn sixteen_right_log_ins_at_once_all_succeed_from_a_known_and_an_unknown_device() {
    let server = slow();
    server.account(NAME).await;
    let device = server.log_in(NAME, PASSWORD).await.header("x-device-token").to_owned();
    // The device first: each log-in without one makes another, and a name keeps sixteen.
    for device in [Some(&*device), None] {
        for answer in at_once(&server, NAME, 16, device, |_| PASSWORD.to_owned()).await {
            assert_eq!(answer.status, StatusCode::OK, "{device:?}: {}", answer.body);
        }
    }
    // More of them are asked to come again, and no lock is to blame.
    let answers = at_once(&server, NAME, 40, None, |_| PASSWORD.to_owned()).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != StatusCode::OK).collect();
    assert!(!refused.is_empty());
    for answer in refused {
        assert_eq!(answer.problem(), (429, "too_many_at_once"));
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert_eq!(server.log_in(NAME, PASSWORD).await.status, StatusCode::OK);
}

#[tokio::test]
async fn right_log_ins_at_once_succeed_after_four_errors_too() {
    let server = slow();
    server.account(NAME).await;
    for number in 0..4 {
        assert_eq!(server.log_in(NAME, &format!("error {number}")).await.status, StatusCode::UNAUTHORIZED);
    }
    for answer in at_once(&server, NAME, 6, None, |_| PASSWORD.to_owned()).await {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
}

#[tokio::test]
async fn wrong_log_ins_at_once_gain_nothing() {
    let server = slow();
    server.account(NAME).await;
    // A name without an account is locked like one with, and the lock of the first outlasts what happens to others.
    for (turn, (email, guesses)) in [(NAME, 5), ("nobody@test.org", 5), (NAME, 0)].into_iter().enumerate() {
        let mut checked = 0;
        for round in 0..4 {
            let guess = |number| format!("guess {turn} {round} {number}");
            let answers = at_once(&server, email, 15, None, guess).await;
            checked += answers.iter().filter(|answer| answer.status == StatusCode::UNAUTHORIZED).count();
        }
        assert_eq!(checked, guesses, "{email} in turn {turn}");
    }
}

/// The client of an application gives up after a moment, again and again, with the right password.
#[tokio::test]
async fn an_honest_client_that_hangs_up_keeps_its_device() {
    let server = slow();
    server.account(NAME).await;
    let device = server.log_in(NAME, PASSWORD).await.header("x-device-token").to_owned();
    for _ in 0..8 {
        let request = server.request(Method::POST, "/v1/login").header("x-device-token", &device);
        let body = json!({"email": NAME, "password": PASSWORD});
        let _ = request.json(&body).timeout(Duration::from_millis(25)).send().await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    for number in 0..6 {
        server.log_in(NAME, &format!("a stranger's guess {number}")).await;
    }
    let answer = server.log_in_on(NAME, PASSWORD, &device).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

/// I hang up before the answer comes, so that my guess may not count.
#[tokio::test]
async fn a_guesser_who_hangs_up_is_counted_all_the_same() {
    let server = slow();
    server.account(NAME).await;
    let begun = || server.request(Method::POST, "/v1/login");
    for number in 0..12 {
        let body = json!({"email": NAME, "password": format!("guess {number}")});
        let _ = begun().json(&body).timeout(Duration::from_millis(60)).send().await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(server.log_in(NAME, PASSWORD).await.problem(), (429, "too_many_attempts"));
}

/// I have stolen a session and guess by the question for the password that comes before a change. I hang up each time.
#[tokio::test]
async fn a_guesser_by_session_who_hangs_up_is_counted_and_told_of_and_an_honest_one_is_not() {
    let server = slow();
    server.account(NAME).await;
    let change =
        |current: String| json!({"current_password": current, "new_password": "another good phrase"});
    let moment = Duration::from_millis(60);
    let (honest, _) = server.tokens(NAME).await;
    for _ in 0..7 {
        // The new password is too weak, so nothing changes.
        let body = json!({"current_password": PASSWORD, "new_password": "short"});
        server.post_and_hang_up("/v1/password/change", &honest, body, Duration::from_millis(15)).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (stolen, _) = server.tokens(NAME).await;
    for number in 0..7 {
        let body = change(format!("guess {number}"));
        server.post_and_hang_up("/v1/password/change", &stolen, body, moment).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for number in 0..6 {
        server.log_in(NAME, &format!("a stranger's guess {number}")).await;
    }
    let by_thief = server.change_password(&stolen, PASSWORD, "another good phrase").await;
    assert_eq!(by_thief.problem(), (429, "too_many_attempts"));
    server.mail(NAME, "A device was used to guess").await;
    let by_owner = server.change_password(&honest, PASSWORD, "another good phrase").await;
    assert!(by_owner.status.is_success(), "{}", by_owner.body);
}
