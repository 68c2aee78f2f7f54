//! Known devices turned against their owner: I have stolen cookies of devices, or kept them from a time when I knew the
//! password. I guess with all of them in turn, or use them up so that the owner's own device is a stranger. Or I share
//! the owner's network and shut it.
//!
//! Bounds: 5 guesses a device, 20 of all devices of a name in 24 hours, 40 of devices and strangers together in 24
//! hours, 100 ever without an act of the owner. A cookie ends with the password, with a log-out everywhere, with the
//! account, with a restore from a backup (`credentials/matrix.rs`), and after a year.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use crate::support::values::address;
use crate::support::{Answer, PASSWORD, TestServer, wait_until};

const NAME: &str = "ada@test.org";
const NEXT: &str = "an entirely different phrase";

static UNLIKE: AtomicU32 = AtomicU32::new(0);

/// Logs in to [`NAME`] from network `number`, with the device token `device` if there is one.
async fn log_in(server: &TestServer, number: u32, password: &str, device: Option<&str>) -> Answer {
    server.log_in_from(&address(number), NAME, password, device).await
}

/// Returns the token of a further device of [`NAME`].
async fn device(server: &TestServer, number: u32, password: &str) -> String {
    let answer = log_in(server, number, password, None).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.header("x-device-token").to_owned()
}

/// Locks the name for strangers. Returns how many guesses were checked for it.
async fn lock(server: &TestServer) -> u32 {
    let mut checked = 0;
    for number in 0..7 {
        // A password that was typed before does not count again.
        let unlike = UNLIKE.fetch_add(1, Ordering::Relaxed);
        let answer = log_in(server, 900 + number, &format!("guess {number} {unlike}"), None).await;
        checked += u32::from(answer.status == StatusCode::UNAUTHORIZED);
    }
    checked
}

/// Says whether a device still gets in while strangers have locked the name.
async fn is_known(server: &TestServer, device: &str, password: &str) -> bool {
    lock(server).await;
    assert_eq!(log_in(server, 1, password, None).await.problem(), (429, "too_many_attempts"));
    log_in(server, 2, password, Some(device)).await.status == StatusCode::OK
}

async fn reset(server: &TestServer, new: &str) -> String {
    let before = server.mail_count("new password");
    server.forgot(NAME).await;
    wait_until("a link is mailed", async || server.mail_count("new password") > before).await;
    let token = server.mailed(NAME, "new password").await;
    let done = server.reset(&token, new).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT);
    done.header("x-device-token").to_owned()
}

#[tokio::test]
async fn cookies_from_before_a_reset_do_not_wash_away_my_guesses() {
    let server = TestServer::behind_proxy();
    server.account(NAME).await;
    let mut stolen = Vec::new();
    for number in 0..17 {
        stolen.push(device(&server, number, PASSWORD).await);
    }
    let own = reset(&server, NEXT).await;
    let mut checked = 0;
    for number in 0..680 {
        let stolen = &stolen[number as usize % stolen.len()];
        let answer = log_in(&server, number, &format!("guess {number}"), Some(stolen)).await;
        checked += u32::from(answer.status == StatusCode::UNAUTHORIZED);
        if number % 85 == 0 {
            assert_eq!(log_in(&server, 3, NEXT, Some(&own)).await.status, StatusCode::OK, "{number}");
        }
    }
    assert!(checked <= 40, "{checked}");
}

#[tokio::test]
async fn a_thief_of_every_cookie_but_one_gets_forty_guesses_a_day_and_leaves_the_owner_in() {
    let server = TestServer::behind_proxy();
    server.account(NAME).await;
    let own = device(&server, 0, PASSWORD).await;
    let mut stolen = Vec::new();
    for number in 1..20 {
        stolen.push(device(&server, number, PASSWORD).await);
        // The owner uses theirs, so that it is not the one unused longest.
        assert_eq!(log_in(&server, 0, PASSWORD, Some(&own)).await.status, StatusCode::OK);
    }
    let mut checked = 0;
    for number in 0..680_u32 {
        let cookie = (number % 3 > 0).then(|| &*stolen[number as usize % stolen.len()]);
        let answer = log_in(&server, number, &format!("guess {number}"), cookie).await;
        checked += u32::from(answer.status == StatusCode::UNAUTHORIZED);
        if number % 40 == 0 {
            assert_eq!(log_in(&server, 0, PASSWORD, Some(&own)).await.status, StatusCode::OK, "{number}");
        }
        server.clock.advance(Duration::from_mins(2));
    }
    assert!(checked <= 40, "{checked}");
    assert!(server.mail(NAME, "A device was used to guess").await.letter.link.is_none());
}

#[tokio::test]
async fn a_device_ends_with_the_password_with_a_log_out_everywhere_and_after_a_year() {
    let server = TestServer::behind_proxy();
    server.account(NAME).await;
    let first = device(&server, 0, PASSWORD).await;
    assert!(is_known(&server, &first, PASSWORD).await);
    let own = reset(&server, NEXT).await;
    assert!(!is_known(&server, &first, NEXT).await, "after a reset");
    assert!(is_known(&server, &own, NEXT).await, "the browser of the reset");

    let opened = log_in(&server, 2, NEXT, Some(&own)).await;
    let changed = server.change_password(&opened.text("access_token"), NEXT, PASSWORD).await;
    assert!(changed.status.is_success());
    let after_change = changed.header("x-device-token").to_owned();
    assert!(!is_known(&server, &own, PASSWORD).await, "after a change");
    assert!(is_known(&server, &after_change, PASSWORD).await, "the browser of the change");

    let opened = log_in(&server, 2, PASSWORD, Some(&after_change)).await;
    let out = server.post_as("/v1/logout", &opened.text("access_token"), json!({"scope": "global"})).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert!(!is_known(&server, &after_change, PASSWORD).await, "after a log-out everywhere");

    let last = reset(&server, NEXT).await;
    assert!(is_known(&server, &last, NEXT).await);
    let kept = log_in(&server, 2, NEXT, Some(&last)).await.header("x-device-token").to_owned();
    server.clock.advance(Duration::from_hours(366 * 24));
    assert!(!is_known(&server, &kept, NEXT).await, "after a year");
}

#[tokio::test]
async fn a_cookie_of_a_deleted_account_is_nothing_to_the_next_account_of_the_address() {
    let server = TestServer::behind_proxy();
    server.account(NAME).await;
    let opened = log_in(&server, 0, PASSWORD, None).await;
    let old = opened.header("x-device-token").to_owned();
    let body = json!({"password": PASSWORD});
    let deleted = server.delete_as("/v1/me", &opened.text("access_token"), body).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    server.operator_account(NAME, &["staff"]).await;
    assert!(!is_known(&server, &old, PASSWORD).await);
}

#[tokio::test]
async fn guesses_behind_the_owners_router_do_not_shut_the_owners_device_out() {
    let server =
        TestServer::behind_proxy_with(&[("throttle.login.burst", "20"), ("throttle.login.per_minute", "20")]);
    server.account(NAME).await;
    let own = device(&server, 7, PASSWORD).await;
    // I sit behind the same router: wrong passwords for names by the dozen, so that each log-in costs eightfold.
    for number in 0..40 {
        let email = format!("leaked{number}@test.org");
        server.log_in_from(&address(7), &email, "leaked password", None).await;
    }
    assert_eq!(log_in(&server, 7, PASSWORD, None).await.problem(), (429, "too_many_requests"));
    for _ in 0..10 {
        assert_eq!(log_in(&server, 7, PASSWORD, Some(&own)).await.status, StatusCode::OK);
    }
    // The device is limited too, but alone.
    let mut refused = 0;
    for number in 0..40 {
        let answer = log_in(&server, 7, &format!("error {number}"), Some(&own)).await;
        refused += u32::from(answer.body["code"] == json!("too_many_requests"));
    }
    assert!(refused >= 15, "{refused}");
}

/// Nobody attacks: a program on the owner's own device repeats an old password, and a page asks for it again and again.
#[tokio::test]
async fn one_wrong_password_of_a_known_device_or_a_session_is_counted_once() {
    let server = TestServer::start();
    server.account(NAME).await;
    let owners = device(&server, 1, PASSWORD).await;
    for _ in 0..9 {
        let answer = log_in(&server, 1, "an old password", Some(&owners)).await;
        assert_eq!(answer.problem(), (401, "invalid_credentials"));
    }
    let (access, _) = server.tokens(NAME).await;
    for _ in 0..9 {
        let asked =
            server.post_as("/v1/reauthenticate", &access, json!({"password": "an old password"})).await;
        assert_eq!(asked.problem(), (401, "invalid_credentials"));
    }
    lock(&server).await;
    assert!(is_known(&server, &owners, PASSWORD).await);
    let asked = server.post_as("/v1/reauthenticate", &access, json!({"password": PASSWORD})).await;
    assert_eq!(asked.status, StatusCode::OK, "{}", asked.body);
}

/// I have the password. An administrator gives the account another address, and I am the first who logs in there.
#[tokio::test]
async fn the_first_log_in_at_an_address_that_an_administrator_gave_is_told_and_recorded() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    server.account(NAME).await;
    let owner = server.log_in(NAME, PASSWORD).await;
    let id = owner.body["user"]["id"].as_str().unwrap();
    let recorded = async || {
        let events = server.get_as("/v1/admin/audit?type=device.new", &root).await;
        events.array("items").iter().filter(|event| event["subject"].as_str() == Some(id)).count()
    };
    // The first log-in of a new account is recorded and not told: its owner knows.
    wait_until("the first device is recorded", async || recorded().await == 1).await;
    assert_eq!(server.mail_count("new device"), 0);
    let mend = json!({"email": "ada@new.test", "email_verified": true});
    let mended = server.patch_as(&format!("/v1/admin/users/{id}"), &root, mend).await;
    assert_eq!(mended.status, StatusCode::OK, "{}", mended.body);
    assert_eq!(server.log_in("ada@new.test", PASSWORD).await.status, StatusCode::OK);
    server.mail("ada@new.test", "new device").await;
    wait_until("the second device is recorded", async || recorded().await == 2).await;
}

/// I have the password of an account that was made a while ago and never used.
#[tokio::test]
async fn the_first_log_in_to_an_account_that_is_not_new_is_told() {
    let server = TestServer::start();
    server.account(NAME).await;
    server.clock.advance(Duration::from_hours(24));
    assert_eq!(server.log_in(NAME, PASSWORD).await.status, StatusCode::OK);
    server.mail(NAME, "new device").await;
}

/// I have stolen a session a moment after its log-in, while it is fresh, and switch the mails about new devices off.
#[tokio::test]
async fn the_owner_is_told_that_mails_about_new_devices_were_switched_off() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (mine, _) = server.tokens(NAME).await;
    for wanted in [false, false, true] {
        let set = server.patch_as("/v1/me", &mine, json!({"new_device_mail": wanted})).await;
        assert_eq!(set.status, StatusCode::OK, "{}", set.body);
    }
    server.mail(NAME, "were switched off").await;
    for _ in 0..9 {
        server.patch_as("/v1/me", &mine, json!({"new_device_mail": false})).await;
        server.patch_as("/v1/me", &mine, json!({"new_device_mail": true})).await;
    }
    // Nor do I fill the mailbox with it.
    server.forgot(NAME).await;
    server.mailed(NAME, "new password").await;
    let told = server.mail_count("were switched off");
    assert!((1..=3).contains(&told), "{told}");
}
