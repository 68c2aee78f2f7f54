//! The first lane for sale: with an account of my own and its device cookies I send log-ins from very many networks, all of
//! them as known devices, so that other known devices find no hash.
//!
//! Bound: names take turns, so my account has one turn, and four of its log-ins are checked at once. The charge of a
//! success is given back five times a minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use reqwest::StatusCode;

use crate::support::{Answer, PASSWORD, TestServer, wait_until};

async fn log_in(server: &TestServer, from: &str, email: &str, device: Option<&str>) -> Answer {
    server.log_in_from(from, email, PASSWORD, device).await
}

#[tokio::test]
async fn a_storm_of_my_own_devices_leaves_another_known_device_in() {
    const CONNECTIONS: u32 = 300;
    let server = TestServer::behind_proxy_with(&[
        ("password.memory_kib", "32768"),
        ("password.passes", "4"),
        ("password.wait_budget_ms", "2000"),
    ]);
    let server = Arc::new(server);
    for email in ["eve@test.org", "ada@test.org"] {
        server.account(email).await;
    }
    let own = log_in(&server, "11.1.1.1", "ada@test.org", None).await.header("x-device-token").to_owned();
    let mut bought = Vec::new();
    for number in 0..20 {
        let device = log_in(&server, &format!("12.0.{number}.1"), "eve@test.org", None).await;
        bought.push(device.header("x-device-token").to_owned());
    }
    let ends = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU32::new(0));
    let mut storm = tokio::task::JoinSet::new();
    for number in 0..CONNECTIONS {
        let (server, ends, sent) = (Arc::clone(&server), Arc::clone(&ends), Arc::clone(&sent));
        let device = bought[number as usize % bought.len()].clone();
        storm.spawn(async move {
            while !ends.load(Ordering::Relaxed) {
                let from = format!("13.{}.{}.1", number / 250, number % 250);
                log_in(&server, &from, "eve@test.org", Some(&device)).await;
                sent.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    wait_until("the storm rages", async || sent.load(Ordering::Relaxed) >= CONNECTIONS / 2).await;
    for number in 0..20 {
        let answer = log_in(&server, "11.1.1.1", "ada@test.org", Some(&own)).await;
        assert_eq!(answer.status, StatusCode::OK, "{number}: {}", answer.body);
    }
    ends.store(true, Ordering::Relaxed);
    storm.join_all().await;
}

#[tokio::test]
async fn an_account_is_given_back_five_charges_a_minute() {
    let server = TestServer::with(&[("throttle.login.burst", "20"), ("throttle.login.per_minute", "20")]);
    server.account("eve@test.org").await;
    let mut passed = 0;
    for _ in 0..60 {
        passed += u32::from(log_in(&server, "11.1.1.1", "eve@test.org", None).await.status == StatusCode::OK);
    }
    assert_eq!(passed, 25);
}
