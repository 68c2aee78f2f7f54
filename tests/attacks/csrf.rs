//! CSRF: another site lets the browser send requests, or logs it in to the attacker's account.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, ORIGIN, PASSWORD, TestServer};

#[tokio::test]
async fn another_site_can_neither_log_in_nor_act_with_the_cookie() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let body = json!({"email": "ada@test.org", "password": PASSWORD, "mode": "cookie"});
    let login = |headers: Vec<(&'static str, &'static str)>| {
        let mut request = server.request(Method::POST, "/v1/login").json(&body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        async { Answer::of(request.send().await.unwrap()).await }
    };
    for headers in [
        vec![],
        vec![("origin", "http://evil.test")],
        vec![("origin", "null")],
        vec![("sec-fetch-site", "cross-site"), ("origin", ORIGIN)],
        vec![("referer", "http://login.test.evil.test/")],
    ] {
        assert_eq!(login(headers.clone()).await.problem(), (403, "csrf_rejected"), "{headers:?}");
    }
    let opened = login(vec![("sec-fetch-site", "same-origin")]).await;
    let cookie = opened
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|c| c.to_str().unwrap())
        .find(|c| c.contains("session="));
    let cookie = cookie.unwrap().split(';').next().unwrap().to_owned();
    let csrf = opened.text("csrf_token");
    let log_out = |origin: &'static str, token: Option<&str>| {
        let mut request =
            server.request(Method::POST, "/v1/logout").header("cookie", &cookie).header("origin", origin);
        if let Some(token) = token {
            request = request.header("x-csrf-token", token);
        }
        async { Answer::of(request.send().await.unwrap()).await }
    };
    assert_eq!(log_out("http://evil.test", Some(&csrf)).await.problem(), (403, "csrf_rejected"));
    assert_eq!(log_out(ORIGIN, None).await.problem(), (403, "csrf_rejected"));
    assert_eq!(log_out(ORIGIN, Some("x")).await.problem(), (403, "csrf_rejected"));
    let both = server
        .request(Method::GET, "/v1/me")
        .header("cookie", &cookie)
        .bearer_auth("x")
        .send()
        .await
        .unwrap();
    assert_eq!(Answer::of(both).await.problem(), (400, "ambiguous_credentials"));
    assert_eq!(log_out(ORIGIN, Some(&csrf)).await.status.as_u16(), 204);
}
