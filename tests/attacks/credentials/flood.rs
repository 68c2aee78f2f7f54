//! Sessions without number: I log in over and over, so that the server's memory, its lists and its feed fill up.
//!
//! Bound: an account has at most 100 sessions and token families open together. The feed keeps what others have ended.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{NAME, is_alive};
use crate::support::{Browser, PASSWORD, TestServer};

/// Reads every page of the list of sessions, in pages of `limit`, and returns the ids.
async fn listed(server: &TestServer, access: &str, limit: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.get_as(&format!("/v1/sessions?limit={limit}{cursor}"), access).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        assert!(page.array("items").len() <= limit);
        ids.extend(page.array("items").iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        match &page.body["next_cursor"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            none => {
                assert!(none.is_null());
                return ids;
            }
        }
    }
}

#[tokio::test]
async fn the_session_unused_longest_gives_way_to_the_one_too_many() {
    let server = TestServer::start();
    server.account(NAME).await;
    let mut opened = Vec::new();
    for number in 0..130 {
        server.clock.advance(std::time::Duration::from_secs(1));
        if number % 3 == 0 {
            opened.push(server.log_in_for_cookie(NAME).await);
        } else {
            opened.push(server.log_in(NAME, PASSWORD).await);
        }
    }
    let newest = opened.iter().rev().find(|answer| answer.body["access_token"].is_string()).unwrap();
    let newest = newest.text("access_token");
    let ids = listed(&server, &newest, 7).await;
    assert_eq!(ids.len(), 100);
    let newest_ids: BTreeSet<String> = opened[30..].iter().map(|answer| answer.text("session_id")).collect();
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), newest_ids);
    // On one page, the last used come first.
    let in_order: Vec<_> = opened[30..].iter().rev().map(|answer| answer.text("session_id")).collect();
    assert_eq!(listed(&server, &newest, 100).await, in_order);
    for (number, answer) in opened.iter().enumerate() {
        let is_alive = if number % 3 == 0 {
            server.get_with_cookie("/v1/me", &answer.session_cookie()).await.status == StatusCode::OK
        } else {
            is_alive(&server, &answer.text("access_token")).await
        };
        assert_eq!(is_alive, number >= 30, "{number}");
    }
    let tail = json!({"operation": "audit_tail", "limit": 100, "event": "session.gave_way"});
    assert_eq!(server.operated(tail).await["items"].as_array().unwrap().len(), 30);
    assert_eq!(server.get_as("/v1/sessions?cursor=x", &newest).await.status.as_u16(), 422);
    assert_eq!(server.get_as("/v1/sessions?limit=1000", &newest).await.array("items").len(), 100);
}

#[tokio::test]
async fn log_ins_and_log_outs_without_end_push_no_other_ending_out_of_the_feed() {
    let server = TestServer::start();
    let service = server.operator_account("service@test.org", &["introspect"]).await;
    server.account(NAME).await;
    server.account("victim@test.org").await;
    let victim = server.log_in("victim@test.org", PASSWORD).await;
    server.post("/v1/logout", json!({"refresh_token": victim.text("refresh_token")})).await;
    let mut last = String::new();
    for _ in 0..450 {
        let opened = server.log_in(NAME, PASSWORD).await;
        last = opened.text("session_id");
        server.post("/v1/logout", json!({"refresh_token": opened.text("refresh_token")})).await;
    }
    let page = server.get_as("/v1/revocations", &service).await;
    let items = page.array("items");
    assert!(items.len() <= 202, "{}", items.len());
    let names = |field: &str, value: &str| items.iter().any(|item| item[field] == value);
    assert!(names("sid", &victim.text("session_id")));
    assert!(names("sid", &last));
    // The earlier ones are one entry about the account.
    assert_eq!(items.iter().filter(|item| item["issued_before"].is_u64()).count(), 1, "{}", page.body);
}

#[tokio::test]
async fn a_short_session_lives_while_it_is_used() {
    let server = TestServer::with(&[("session.idle_secs", "20")]);
    server.account(NAME).await;
    let browser = Browser::log_in(&server, NAME).await;
    for _ in 0..30 {
        server.clock.advance(std::time::Duration::from_secs(6));
        assert_eq!(browser.ask(&server, Method::GET, "/v1/me", Value::Null).await.status, StatusCode::OK);
    }
}
