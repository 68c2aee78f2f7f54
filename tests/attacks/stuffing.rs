//! Credential stuffing: I try leaked pairs of names and passwords once each from one network, or one name from very
//! many networks.
//!
//! Bound: from one network ten names in a burst, then one log-in every 24 s; from a whole IPv6 /48 forty, then forty a
//! minute; the victim of many networks gets one mail a day.

use std::time::Duration;

use crate::support::{PASSWORD, TestServer};

const NAME: &str = "ada@test.org";

fn server() -> TestServer {
    TestServer::behind_proxy_with(&[("throttle.login.burst", "20"), ("throttle.login.per_minute", "20")])
}

#[tokio::test]
async fn a_network_that_fails_at_ten_names_pays_eightfold_for_the_rest() {
    let server = server();
    server.account(NAME).await;
    let mut checked = 0;
    // My bot tries a name every three seconds for an hour, as the plain limit allows: 1,200 names.
    for number in 0..1200 {
        let email = format!("leaked{number}@test.org");
        let answer = server.log_in_from("203.0.113.9", &email, "leaked password", None).await;
        checked += u32::from(answer.status.as_u16() == 401);
        server.clock.advance(Duration::from_secs(3));
    }
    assert!((11..=11 + 3600 / 24 + 3).contains(&checked), "{checked}");
    // Other networks are not affected.
    assert_eq!(server.log_in_from("203.0.113.10", NAME, PASSWORD, None).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_site_that_uses_all_its_networks_pays_eightfold_as_a_whole() {
    let server = server();
    server.account(NAME).await;
    let mut checked = 0;
    // I rent a server with a /48 and take a new /64 for each name: five names a second, the plain limit of the /48.
    for number in 0..1200 {
        let from = format!("2001:db8:7:{number:x}::1");
        let email = format!("leaked{number}@test.org");
        let answer = server.log_in_from(&from, &email, "leaked password", None).await;
        checked += u32::from(answer.status.as_u16() == 401);
        server.clock.advance(Duration::from_millis(200));
    }
    // Forty names, then forty a minute and what was left of the burst. Without a limit for the whole /48 it would be
    // all.
    assert!((41..=41 + 40 + 4 * 40).contains(&checked), "{checked}");
    let other = server.log_in_from("2001:db8:8::1", NAME, PASSWORD, None).await;
    assert_eq!(other.status.as_u16(), 200);
    // Honest users of the /48 are not locked out for it.
    server.clock.advance(Duration::from_mins(1));
    let own = server.log_in_from("2001:db8:7:ffff::1", NAME, PASSWORD, None).await;
    assert_eq!(own.status.as_u16(), 200);
}

#[tokio::test]
async fn an_office_that_mistypes_passwords_on_known_devices_is_no_suspect() {
    let server = server();
    let mut devices = Vec::new();
    for number in 0..14 {
        let email = format!("clerk{number}@test.org");
        server.operator_account(&email, &[]).await;
        let device = server.log_in_from(&format!("198.51.{number}.1"), &email, PASSWORD, None).await;
        devices.push((email, device.header("x-device-token").to_owned()));
    }
    for (email, device) in &devices {
        let answer = server.log_in_from("203.0.113.9", email, "a typing error", Some(device)).await;
        assert_eq!(answer.status.as_u16(), 401);
    }
    for (email, device) in devices.iter().take(6) {
        assert_eq!(
            server.log_in_from("203.0.113.9", email, PASSWORD, Some(device)).await.status.as_u16(),
            200
        );
    }
}

#[tokio::test]
async fn the_owner_of_a_name_tried_from_everywhere_gets_one_mail() {
    let server = server();
    server.account(NAME).await;
    for number in 0..400 {
        let from = format!("{}.{}.1.1", 11 + number / 200, number % 200);
        server.log_in_from(&from, NAME, &format!("guess {number}"), None).await;
        server.clock.advance(Duration::from_mins(1));
    }
    server.mail(NAME, "trying to get into").await;
    assert_eq!(server.mail_count("trying"), 1);
}
