//! The grace of refresh tokens: I have copied a spent token and present it within the grace, each time its owner has
//! refreshed, so that I always have access tokens and nobody is told. And the other way round: honest clients that look
//! like thieves.
//!
//! Bounds: from another network and another program at once the family ends; from another network the owner sees it. An
//! outage does not look like a theft, nor do many clients behind one address look like an attack.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::NAME;
use crate::support::{Answer, PASSWORD, TestServer, send};

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0";

async fn refresh_from(server: &TestServer, token: &str, address: &str, agent: &str) -> Answer {
    let request = server.request(Method::POST, "/v1/refresh").header("x-forwarded-for", address);
    send(request.header("user-agent", agent).json(&json!({"refresh_token": token}))).await
}

async fn log_in_from(server: &TestServer, address: &str) -> Answer {
    let request = server.request(Method::POST, "/v1/login").header("x-forwarded-for", address);
    let body = json!({"email": NAME, "password": PASSWORD});
    send(request.header("user-agent", FIREFOX).json(&body)).await
}

#[tokio::test]
async fn a_thief_elsewhere_gets_no_successor_within_the_grace() {
    let server = TestServer::behind_proxy();
    server.account(NAME).await;
    let first = log_in_from(&server, "192.0.2.1").await.text("refresh_token");
    let owner = refresh_from(&server, &first, "192.0.2.1", FIREFOX).await;
    assert_eq!(owner.status, StatusCode::OK);
    server.clock.advance(Duration::from_secs(5));
    let thief = refresh_from(&server, &first, "198.51.100.7", "curl/8").await;
    assert_eq!(thief.problem(), (401, "refresh_token_reused"));
    assert_eq!(server.get_as("/v1/me", &owner.text("access_token")).await.status.as_u16(), 401);
    server.mail(NAME, "session").await;
}

#[tokio::test]
async fn a_lost_answer_in_another_network_comes_again_and_the_owner_sees_it() {
    let server = TestServer::behind_proxy();
    server.account(NAME).await;
    let first = log_in_from(&server, "192.0.2.1").await.text("refresh_token");
    let lost = refresh_from(&server, &first, "192.0.2.1", FIREFOX).await;
    // From the train to the street.
    let again = refresh_from(&server, &first, "198.51.100.7", FIREFOX).await;
    assert_eq!(again.text("refresh_token"), lost.text("refresh_token"));
    let sessions = server.get_as("/v1/sessions", &again.text("access_token")).await;
    assert_eq!(sessions.body["items"][0]["second_network"], "198.51.100.7/32");
    // Another program at home, as after an update.
    let next = refresh_from(&server, &again.text("refresh_token"), "192.0.2.1", FIREFOX).await;
    let same = refresh_from(&server, &again.text("refresh_token"), "192.0.2.1", "curl/8").await;
    assert_eq!(same.text("refresh_token"), next.text("refresh_token"));
}

#[tokio::test]
async fn an_outage_longer_than_the_grace_logs_nobody_out() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (_, first) = server.tokens(NAME).await;
    let (_, other) = server.tokens(NAME).await;
    let lost = server.refresh(&first).await;
    assert_eq!(server.refresh(&other).await.status, StatusCode::OK);
    let clock = server.clock.clone();
    let server = server.restart_after(|_| clock.advance(Duration::from_mins(10)));
    server.clock.advance(Duration::from_secs(8));
    assert_eq!(server.refresh(&first).await.text("refresh_token"), lost.text("refresh_token"));
    // The grace is not longer for that.
    server.clock.advance(Duration::from_secs(3));
    assert_eq!(server.refresh(&other).await.problem(), (401, "refresh_token_reused"));
}

/// A server that renders pages refreshes the sessions of all its users from one address.
#[tokio::test]
async fn many_honest_sessions_refresh_from_one_address() {
    let server = TestServer::with(&[("throttle.refresh.burst", "20"), ("throttle.refresh.per_minute", "20")]);
    let mut tokens = Vec::new();
    for number in 0..60 {
        let email = format!("ada{number}@test.org");
        server.account(&email).await;
        tokens.push(server.tokens(&email).await.1);
    }
    for _ in 0..2 {
        for token in &mut tokens {
            let answer = server.refresh(token).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
            *token = answer.text("refresh_token");
        }
        server.clock.advance(Duration::from_secs(12));
    }
    // One session that refreshes without end is refused.
    let mut token = tokens.remove(0);
    let mut refused = 0;
    for _ in 0..40 {
        let answer = server.refresh(&token).await;
        if answer.status == StatusCode::OK {
            token = answer.text("refresh_token");
        } else {
            assert_eq!(answer.problem(), (429, "too_many_requests"));
            refused += 1;
        }
    }
    assert!(refused >= 15, "{refused}");
}

/// I share an address with honest clients, and use up whatever it may send: with garbage, and with tokens of my own that
/// have ended.
#[tokio::test]
async fn garbage_of_a_neighbour_refuses_no_honest_refresh() {
    let server = TestServer::with(&[("throttle.refresh.burst", "20"), ("throttle.refresh.per_minute", "20")]);
    server.account(NAME).await;
    let (_, mut honest) = server.tokens(NAME).await;
    server.account("eve@test.org").await;
    let (access, ended) = server.tokens("eve@test.org").await;
    server.post_as("/v1/logout", &access, json!({})).await;
    let changed = if ended.as_bytes()[40] == b'A' { "B" } else { "A" };
    let garbage = format!("{}{changed}{}", &ended[..40], &ended[41..]);
    let mut refused = 0;
    for (number, token) in [&garbage, &ended].into_iter().cycle().take(60).enumerate() {
        let answer = server.refresh(token).await;
        match answer.problem() {
            (401, "invalid_refresh_token" | "session_expired") => assert!(number < 20, "{answer:?}"),
            problem => {
                assert_eq!(problem, (429, "too_many_requests"));
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 40);
    for number in 0..20 {
        let answer = server.refresh(&honest).await;
        assert_eq!(answer.status, StatusCode::OK, "{number}: {}", answer.body);
        honest = answer.text("refresh_token");
        assert_eq!(server.refresh(&garbage).await.problem(), (429, "too_many_requests"));
    }
}

/// I refresh a token of mine without end, from ever new networks. Each rotation is written to the journal.
#[tokio::test]
async fn an_account_refreshes_within_its_bound_from_however_many_networks() {
    let limits = [("throttle.refresh.burst", "20"), ("throttle.refresh.per_minute", "20")];
    let server = TestServer::behind_proxy_with(&limits);
    server.account(NAME).await;
    let mut tokens = Vec::new();
    for _ in 0..2 {
        tokens.push(log_in_from(&server, "192.0.2.1").await.text("refresh_token"));
    }
    let mut served = 0;
    for number in 0..60_u8 {
        let token = &mut tokens[usize::from(number % 2)];
        let answer = refresh_from(&server, token, &format!("198.51.{number}.7"), FIREFOX).await;
        if answer.status == StatusCode::OK {
            *token = answer.text("refresh_token");
            served += 1;
        } else {
            assert_eq!(answer.problem(), (429, "too_many_requests"));
        }
    }
    assert_eq!(served, 20);
    // It is served again after a while, and others all along.
    server.account("eve@test.org").await;
    let (_, others) = server.tokens("eve@test.org").await;
    assert_eq!(server.refresh(&others).await.status, StatusCode::OK);
    server.clock.advance(Duration::from_secs(3));
    let later = refresh_from(&server, &tokens[0], "198.51.100.7", FIREFOX).await;
    assert_eq!(later.status, StatusCode::OK);
}
