//! Stuffing: leaked pairs of names and passwords are tried once each from one network, or one name from very many.
//!
//! Bound: from one network ten names in a burst, then a log-in each 24 s; from a whole IPv6 /48 forty, then forty a minute;
//! a victim of many networks gets one mail a day.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, PASSWORD, TestServer};

fn server() -> TestServer {
    TestServer::with(&[
        ("http.trusted_proxies", "127.0.0.0/8"),
        ("throttle.login.burst", "20"),
        ("throttle.login.per_minute", "20"),
    ])
}

async fn log_in(
    server: &TestServer,
    from: &str,
    email: &str,
    password: &str,
    device: Option<&str>,
) -> Answer {
    let mut request = server.request(Method::POST, "/v1/login").header("x-forwarded-for", from);
    if let Some(device) = device {
        request = request.header("x-device-token", device);
    }
    Answer::of(request.json(&json!({"email": email, "password": password})).send().await.unwrap()).await
}

#[tokio::test]
async fn a_network_that_fails_at_ten_names_pays_eightfold_for_the_rest() {
    let server = server();
    server.account("ada@test.org").await;
    let mut checked = 0;
    // An hour of a bot that tries every three seconds, as the plain limit allows: 1,200 names.
    for number in 0..1200 {
        let answer =
            log_in(&server, "203.0.113.9", &format!("leaked{number}@test.org"), "leaked password", None)
                .await;
        checked += u32::from(answer.status.as_u16() == 401);
        server.clock.advance(std::time::Duration::from_secs(3));
    }
    assert!((11..=11 + 3600 / 24 + 3).contains(&checked), "{checked}");
    // Others are not touched.
    assert_eq!(log_in(&server, "203.0.113.10", "ada@test.org", PASSWORD, None).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_site_that_spreads_its_names_over_its_links_pays_eightfold_as_a_whole() {
    let server = server();
    server.account("ada@test.org").await;
    let mut checked = 0;
    // A rented server with a /48: a new /64 for each name, five names a second, as the plain limit of the /48 allows.
    for number in 0..1200 {
        let from = format!("2001:db8:7:{number:x}::1");
        let email = format!("leaked{number}@test.org");
        let answer = log_in(&server, &from, &email, "leaked password", None).await;
        checked += u32::from(answer.status.as_u16() == 401);
        server.clock.advance(std::time::Duration::from_millis(200));
    }
    // Forty names, then forty a minute and what was left of the burst; without a line for the whole it were all of them.
    assert!((41..=41 + 40 + 4 * 40).contains(&checked), "{checked}");
    let other = log_in(&server, "2001:db8:8::1", "ada@test.org", PASSWORD, None).await;
    assert_eq!(other.status.as_u16(), 200);
    // Nobody of the site is locked out for it.
    server.clock.advance(std::time::Duration::from_mins(1));
    let own = log_in(&server, "2001:db8:7:ffff::1", "ada@test.org", PASSWORD, None).await;
    assert_eq!(own.status.as_u16(), 200);
}

#[tokio::test]
async fn an_office_behind_one_address_whose_people_mistype_on_known_devices_is_no_suspect() {
    let server = server();
    let mut devices = Vec::new();
    for number in 0..14 {
        let email = format!("clerk{number}@test.org");
        server.account(&email).await;
        let device = log_in(&server, &format!("198.51.{number}.1"), &email, PASSWORD, None).await;
        devices.push((email, device.header("x-device-token").to_owned()));
    }
    for (email, device) in &devices {
        let answer = log_in(&server, "203.0.113.9", email, "a typing error", Some(device)).await;
        assert_eq!(answer.status.as_u16(), 401);
    }
    for (email, device) in devices.iter().take(6) {
        assert_eq!(log_in(&server, "203.0.113.9", email, PASSWORD, Some(device)).await.status.as_u16(), 200);
    }
}

#[tokio::test]
async fn a_name_tried_from_everywhere_is_told_its_owner_once() {
    let server = server();
    server.account("ada@test.org").await;
    for number in 0..400 {
        let from = format!("{}.{}.1.1", 11 + number / 200, number % 200);
        log_in(&server, &from, "ada@test.org", &format!("guess {number}"), None).await;
        server.clock.advance(std::time::Duration::from_mins(1));
    }
    server.mail("ada@test.org", "trying to get into").await;
    let told = server.mails.lock().iter().filter(|mail| mail.letter.subject.contains("trying")).count();
    assert_eq!(told, 1);
}
