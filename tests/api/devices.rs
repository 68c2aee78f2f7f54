//! The devices of an account: their list, their end, and the mails about new ones.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, ORIGIN, PASSWORD, TestServer, send, wait_until};

const NAME: &str = "ada@test.org";

async fn log_in(server: &TestServer, agent: &str, device: Option<&str>) -> Answer {
    let mut request = server.request(Method::POST, "/v1/login").header("user-agent", agent);
    if let Some(device) = device {
        request = request.header("x-device-token", device);
    }
    let answer = send(request.json(&json!({"email": NAME, "password": PASSWORD}))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer
}

/// Waits until the mails that have been written are sent, and counts those about new devices. An hour passes.
async fn notices(server: &TestServer) -> usize {
    server.clock.advance(Duration::from_hours(1));
    let (key, _) = server.api_key(&["metrics"], None).await;
    wait_until("no mail waits", async || server.figure(&key, "mail_waiting").await == Some(0)).await;
    server.mail_count("A new device has logged in")
}

#[tokio::test]
async fn devices_are_listed_by_family_and_ended_at_once() {
    let server = TestServer::start();
    server.account(NAME).await;
    let first = log_in(&server, "Mozilla/5.0 Firefox/130.0", None).await;
    let token = first.header("x-device-token").to_owned();
    server.clock.advance(Duration::from_mins(5));
    // The same device again is no further one, and a name of its own lasts.
    log_in(&server, "Mozilla/5.0 Firefox/131.0", Some(&token)).await;
    let access = log_in(&server, "curl/8", None).await.text("access_token");
    log_in(&server, "curl/8", None).await;
    let listed = server.get_as("/v1/devices", &access).await;
    assert_eq!(listed.status, StatusCode::OK);
    let items: Vec<(&str, u64)> = listed
        .array("items")
        .iter()
        .map(|item| (item["family"].as_str().unwrap(), item["count"].as_u64().unwrap()))
        .collect();
    assert_eq!(items.len(), 2);
    assert!(items.contains(&("Firefox", 1)), "{items:?}");
    assert!(items.contains(&("curl", 2)), "{items:?}");
    assert!(listed.array("items").iter().all(|item| item["newest"].as_str().unwrap().ends_with('Z')));

    assert_eq!(server.get("/v1/devices").await.status, StatusCode::UNAUTHORIZED);
    let ended = server.delete_as("/v1/devices", &access, Value::Null).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get_as("/v1/devices", &access).await.body, json!({"items": []}));
    // Sessions go on, and the device is a stranger.
    assert_eq!(server.get_as("/v1/me", &access).await.status, StatusCode::OK);
    for number in 0..6 {
        server.log_in(NAME, &format!("guess {number}")).await;
    }
    let refused = server.log_in_on(NAME, PASSWORD, &token).await;
    assert_eq!(refused.problem(), (429, "too_many_attempts"));
}

#[tokio::test]
async fn ending_devices_with_a_cookie_needs_the_csrf_token() {
    let server = TestServer::start();
    server.account(NAME).await;
    let opened = server.log_in_for_cookie(NAME).await;
    let request = || {
        let request = server.request(Method::DELETE, "/v1/devices");
        request.header("cookie", opened.session_cookie()).header("origin", ORIGIN)
    };
    assert_eq!(send(request()).await.problem(), (403, "csrf_rejected"));
    let done = send(request().header("x-csrf-token", opened.text("csrf_token"))).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_log_in_from_a_new_device_is_mailed_once_a_day_and_family_and_not_at_the_first() {
    let server = TestServer::start();
    server.account(NAME).await;
    let first = log_in(&server, "Mozilla/5.0 Firefox/130.0", None).await;
    let device = first.header("x-device-token").to_owned();
    log_in(&server, "Mozilla/5.0 Firefox/130.0", Some(&device)).await;
    assert_eq!(notices(&server).await, 0);
    log_in(&server, "curl/8", None).await;
    log_in(&server, "curl/8", None).await;
    server.mail(NAME, "new device").await;
    assert_eq!(notices(&server).await, 1);
    log_in(&server, "Mozilla/5.0 Firefox/130.0", None).await;
    assert_eq!(notices(&server).await, 2);
    server.clock.advance(Duration::from_hours(25));
    log_in(&server, "curl/8", None).await;
    assert_eq!(notices(&server).await, 3);

    let access = log_in(&server, "curl/8", None).await.text("access_token");
    let muted = server.patch_as("/v1/me", &access, json!({"new_device_mail": false})).await;
    assert_eq!(muted.body, server.get_as("/v1/me", &access).await.body);
    assert_eq!(muted.body["new_device_mail"], json!(false));
    server.clock.advance(Duration::from_hours(25));
    log_in(&server, "curl/8", None).await;
    assert_eq!(notices(&server).await, 3);
    let access = log_in(&server, "curl/8", None).await.text("access_token");
    assert_eq!(server.patch_as("/v1/me", &access, json!({})).await.body["new_device_mail"], json!(false));
    let unknown = server.patch_as("/v1/me", &access, json!({"other": 1})).await;
    assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY);
    server.patch_as("/v1/me", &access, json!({"new_device_mail": true})).await;
    log_in(&server, "wget/1", None).await;
    assert_eq!(notices(&server).await, 4);
}

/// A thief has switched the mails off. The owner recovers the account by a reset, and hears of the next log-in.
#[tokio::test]
async fn a_reset_switches_the_mails_about_new_devices_on_again() {
    let server = TestServer::start();
    server.account(NAME).await;
    let access = log_in(&server, "Mozilla/5.0 Firefox/130.0", None).await.text("access_token");
    let shown = async |access: &str| server.get_as("/v1/me", access).await.body["new_device_mail"].take();
    assert_eq!(shown(&access).await, json!(true));
    server.patch_as("/v1/me", &access, json!({"new_device_mail": false})).await;
    assert_eq!(shown(&access).await, json!(false));
    server.forgot(NAME).await;
    let link = server.mailed(NAME, "new password").await;
    assert_eq!(server.reset(&link, PASSWORD).await.status, StatusCode::NO_CONTENT);
    let access = log_in(&server, "curl/8", None).await.text("access_token");
    assert_eq!(shown(&access).await, json!(true));
    assert_eq!(notices(&server).await, 1);
}
