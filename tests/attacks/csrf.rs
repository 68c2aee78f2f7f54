//! CSRF: my site makes a victim's browser send requests with the victim's cookie, or logs it in to my account.
//!
//! Bound: no request from another origin is served with a cookie or opens a session, and none without the CSRF token.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, ORIGIN, PASSWORD, TestServer, send};

const NAME: &str = "ada@test.org";

async fn log_in(server: &TestServer, headers: &[(&str, &str)]) -> Answer {
    let body = json!({"email": NAME, "password": PASSWORD, "mode": "cookie"});
    let mut request = server.request(Method::POST, "/v1/login").json(&body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request).await
}

async fn log_out(server: &TestServer, cookie: &str, origin: &str, csrf: Option<&str>) -> Answer {
    let mut request = server.request(Method::POST, "/v1/logout").header("cookie", cookie);
    request = request.header("origin", origin);
    if let Some(csrf) = csrf {
        request = request.header("x-csrf-token", csrf);
    }
    send(request).await
}

#[tokio::test]
async fn another_site_cannot_log_a_browser_in() {
    let server = TestServer::start();
    server.account(NAME).await;
    for headers in [
        &[][..],
        &[("origin", "http://evil.test")],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site"), ("origin", ORIGIN)],
        &[("referer", "http://login.test.evil.test/")],
    ] {
        assert_eq!(log_in(&server, headers).await.problem(), (403, "csrf_rejected"), "{headers:?}");
    }
}

#[tokio::test]
async fn another_site_cannot_act_with_the_cookie_of_a_browser() {
    let server = TestServer::start();
    server.account(NAME).await;
    let opened = log_in(&server, &[("sec-fetch-site", "same-origin")]).await;
    let cookie = opened.session_cookie();
    let csrf = opened.text("csrf_token");
    for (origin, token) in [("http://evil.test", Some(csrf.as_str())), (ORIGIN, None), (ORIGIN, Some("x"))] {
        let answer = log_out(&server, &cookie, origin, token).await;
        assert_eq!(answer.problem(), (403, "csrf_rejected"), "{origin} {token:?}");
    }
    // I add a bearer token, which browsers do not send by themselves, to get around the check.
    let both = server.request(Method::GET, "/v1/me").header("cookie", &cookie).bearer_auth("x");
    assert_eq!(send(both).await.problem(), (400, "ambiguous_credentials"));
    // The owner's own page still works.
    assert_eq!(log_out(&server, &cookie, ORIGIN, Some(&csrf)).await.status.as_u16(), 204);
}
