//! The link that confirms a new address replaces the session that it is used with. Who repeats the request, or posts it
//! twice at once, gets the new session; I, who have only a part of what the owner has, do not.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::links::BoundLink;
use crate::support::{Answer, Browser, PASSWORD, TestServer};

const ADA: &str = "ada@test.org";
const NEW: &str = "ada@new.test";
const CONFIRM: &str = "/v1/email/change/confirm";

/// What the owner has: both halves of the session, and the link.
struct Owner {
    server: TestServer,
    access: String,
    refresh: String,
    link: BoundLink,
}

impl Owner {
    async fn new(settings: &[(&str, &str)]) -> Self {
        let server = TestServer::with(settings);
        server.account(ADA).await;
        let (access, refresh) = server.tokens(ADA).await;
        assert_eq!(server.change_email(&access, NEW).await.status, StatusCode::ACCEPTED);
        let link = server.mailed_link(NEW, "Confirm your new address").await;
        Self { server, access, refresh, link }
    }

    async fn confirm(&self) -> Answer {
        self.server.follow_as(&self.access, CONFIRM, &self.link).await
    }

    /// Confirms with a cookie.
    async fn confirm_in(&self, browser: &Browser) -> Answer {
        let body = json!({"token": self.link.0, "email": self.link.1});
        browser.ask(&self.server, Method::POST, CONFIRM, body).await
    }

    /// Asserts that `pair` is alive.
    async fn assert_works(&self, pair: &Answer) {
        assert_eq!(pair.status, StatusCode::OK, "{}", pair.body);
        let me = self.server.get_as("/v1/me", &pair.text("access_token")).await;
        assert_eq!(me.body["email"], json!(NEW), "{}", me.body);
    }
}

fn ids(body: &Value) -> Vec<String> {
    let items = body["items"].as_array().unwrap();
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_repeat_by_the_same_access_token_gets_the_same_session() {
    let owner = Owner::new(&[]).await;
    let first = owner.confirm().await;
    owner.server.clock.advance(Duration::from_secs(599));
    let again = owner.confirm().await;
    for pair in [&first, &again] {
        owner.assert_works(pair).await;
    }
    // The one session: to repeat opens no other, and the refresh token is the same one.
    for part in ["session_id", "refresh_token"] {
        assert_eq!(first.text(part), again.text(part));
    }
    let sessions = owner.server.get_as("/v1/sessions", &again.text("access_token")).await;
    assert_eq!(ids(&sessions.body), [first.text("session_id")]);
    // Its device is known, too, and its user is no fresher.
    let device = again.header("x-device-token");
    for guess in 0..6 {
        owner.server.log_in(NEW, &format!("a wrong password {guess}")).await;
    }
    assert_eq!(owner.server.log_in_on(NEW, PASSWORD, device).await.status, StatusCode::OK);
    owner.server.clock.advance(Duration::from_mins(6));
    let next = owner.server.refresh(&again.text("refresh_token")).await;
    let fresh = owner.server.delete_as("/v1/devices", &next.text("access_token"), Value::Null).await;
    assert_eq!(fresh.problem(), (401, "step_up_required"));
}

#[tokio::test]
async fn a_repeat_by_the_same_cookie_gets_the_same_session() {
    let owner = Owner::new(&[]).await;
    let browser = Browser::log_in(&owner.server, ADA).await;
    let first = owner.confirm_in(&browser).await;
    let again = owner.confirm_in(&browser).await;
    for answer in [&first, &again] {
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
        let renewed = Browser::of(answer);
        let named = renewed.ask(&owner.server, Method::PATCH, "/v1/me", json!({"name": "Ada"})).await;
        assert_eq!(named.status, StatusCode::OK, "{}", named.body);
    }
    assert_eq!(first.session_cookie(), again.session_cookie());
    assert_eq!(first.set_cookies().len(), again.set_cookies().len());
}

/// A page of React in its strict mode posts twice at once.
#[tokio::test]
async fn twins_get_answers_of_one_kind_and_none_is_logged_out() {
    for round in 0..6 {
        let owner = Owner::new(&[]).await;
        let (a, b, c) = tokio::join!(owner.confirm(), owner.confirm(), owner.confirm());
        for answer in [a, b, c] {
            assert_eq!(answer.status, StatusCode::OK, "round {round}: {}", answer.body);
            owner.assert_works(&answer).await;
        }
        let owner = Owner::new(&[]).await;
        let browser = Browser::log_in(&owner.server, ADA).await;
        let confirm = || owner.confirm_in(&browser);
        let (a, b, c) = tokio::join!(confirm(), confirm(), confirm());
        for answer in [a, b, c] {
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "round {round}: {}", answer.body);
            let cookie = Browser::of(&answer).cookie;
            assert_eq!(owner.server.get_with_cookie("/v1/me", &cookie).await.status, StatusCode::OK);
        }
        assert_eq!(owner.server.engine.upgrade().unwrap().links_in_use(), 0);
    }
}

/// I find the link in a history, or a copy of the dead access token in a log, or both parts of different sessions.
#[tokio::test]
async fn a_part_of_what_the_owner_had_opens_nothing() {
    let owner = Owner::new(&[]).await;
    let server = &owner.server;
    let (mine, _) = server.tokens(ADA).await;
    server.account("eve@test.org").await;
    let (eves, _) = server.tokens("eve@test.org").await;
    let cookie = Browser::log_in(server, ADA).await;
    owner.assert_works(&owner.confirm().await).await;

    assert_eq!(server.follow(CONFIRM, &owner.link, None).await.problem(), (401, "proof_needed"));
    for other in [&mine, "garbage", &owner.refresh] {
        let answer = server.follow_as(other, CONFIRM, &owner.link).await;
        assert_eq!(answer.problem(), (401, "unauthenticated"), "{other}");
    }
    assert_eq!(server.follow_as(&eves, CONFIRM, &owner.link).await.problem(), (401, "proof_needed"));
    assert_eq!(owner.confirm_in(&cookie).await.problem(), (401, "unauthenticated"));
    // The access token as a cookie.
    let planted = Browser { cookie: format!("portcullis_session={}", owner.access), ..cookie };
    assert_eq!(owner.confirm_in(&planted).await.problem(), (401, "unauthenticated"));
    // The token alone, with another link, or with the link and another address.
    let (token, email) = owner.link.clone();
    for (token, email) in
        [("pcm_garbage", email.as_str()), (token.as_str(), ADA), (token.as_str(), "x@test.org")]
    {
        let link = (token.to_owned(), email.to_owned());
        let answer = server.follow_as(&owner.access, CONFIRM, &link).await;
        assert!([400, 401].contains(&answer.status.as_u16()), "{email}: {}", answer.body);
    }
    assert_eq!(server.get_as("/v1/me", &owner.access).await.problem(), (401, "unauthenticated"));
}

/// I have a copy of the cookie and the link, and another browser; or I am a page of another site in the owner's.
#[tokio::test]
async fn a_replaced_cookie_counts_in_its_browser_and_with_its_csrf_token_alone() {
    let owner = Owner::new(&[]).await;
    let browser = Browser::log_in(&owner.server, ADA).await;
    assert_eq!(owner.confirm_in(&browser).await.status, StatusCode::NO_CONTENT);
    let copy = |csrf: &str, agent| Browser { cookie: browser.cookie.clone(), csrf: csrf.to_owned(), agent };
    let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    for thief in [copy(&browser.csrf, firefox), copy("another", "test"), copy("", "test")] {
        let refused = owner.confirm_in(&thief).await;
        assert_eq!((refused.problem(), refused.header("set-cookie")), ((401, "unauthenticated"), ""));
    }
    assert_eq!(owner.confirm_in(&browser).await.status, StatusCode::NO_CONTENT);
}

/// How the owner ends the session that the link has opened.
#[derive(Clone, Copy, Debug)]
enum End {
    TenMinutes,
    LogOut,
    LogOutEverywhere,
    NewPassword,
    Disabled,
    Rotated,
    Restart,
}

/// I have all that the owner had before: link and access token. What has ended since does not come back.
#[tokio::test]
async fn a_session_that_has_ended_is_not_given_again() {
    use End::{Disabled, LogOut, LogOutEverywhere, NewPassword, Restart, Rotated, TenMinutes};
    for end in [TenMinutes, LogOut, LogOutEverywhere, NewPassword, Disabled, Rotated, Restart] {
        let mut owner = Owner::new(&[]).await;
        let pair = owner.confirm().await;
        owner.assert_works(&pair).await;
        let access = pair.text("access_token");
        let post = async |path: &str, body: Value| owner.server.post_as(path, &access, body).await.status;
        let done = match end {
            TenMinutes => {
                owner.server.clock.advance(Duration::from_mins(10));
                StatusCode::OK
            }
            LogOut => post("/v1/logout", json!({})).await,
            LogOutEverywhere => post("/v1/logout", json!({"scope": "global"})).await,
            NewPassword => {
                owner.server.change_password(&access, PASSWORD, "an entirely different phrase").await.status
            }
            Disabled => {
                owner.server.operated(json!({"operation": "user_disable", "user": NEW})).await;
                StatusCode::OK
            }
            Rotated => owner.server.refresh(&pair.text("refresh_token")).await.status,
            Restart => {
                owner.server = owner.server.restart();
                StatusCode::OK
            }
        };
        assert!(done.is_success(), "{end:?}: {done}");
        let entries = || owner.server.engine.upgrade().unwrap().work().entries;
        let before = entries();
        for _ in 0..10 {
            assert_eq!(owner.confirm().await.problem(), (401, "unauthenticated"), "{end:?}");
        }
        // Nothing is written for it. A mail may be on its way meanwhile.
        assert!(entries() - before < 10, "{end:?}");
    }
}

/// An access token that has expired is worth nothing, and so it is beside a link.
#[tokio::test]
async fn an_expired_access_token_gets_nothing_again() {
    let owner = Owner::new(&[("token.access_ttl_secs", "60")]).await;
    owner.assert_works(&owner.confirm().await).await;
    owner.server.clock.advance(Duration::from_mins(1));
    assert_eq!(owner.confirm().await.problem(), (401, "unauthenticated"));
}

/// The first use of a link takes a session that is alive.
#[tokio::test]
async fn a_dead_session_does_not_confirm() {
    let owner = Owner::new(&[]).await;
    let out = owner.server.post_as("/v1/logout", &owner.access, json!({})).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert_eq!(owner.confirm().await.problem(), (401, "unauthenticated"));
    let (access, _) = owner.server.tokens(ADA).await;
    let confirmed = owner.server.follow_as(&access, CONFIRM, &owner.link).await;
    assert_eq!(confirmed.status, StatusCode::OK, "{}", confirmed.body);
    // The client that is logged in by then has nothing to get.
    let again = owner.server.follow_as(&confirmed.text("access_token"), CONFIRM, &owner.link).await;
    assert_eq!((again.status, again.header("set-cookie")), (StatusCode::NO_CONTENT, ""));
}
