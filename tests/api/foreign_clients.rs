//! Clients and proxies that others wrote: what their standards make them send, drop, collect or join.

use base64ct::{Base64, Encoding};
use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, ORIGIN, PASSWORD, TestServer, send};

const ADA: &str = "ada@test.org";

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", Base64::encode_string(format!("{user}:{password}").as_bytes()))
}

async fn introspect(server: &TestServer, credential: &str, content_type: &str, body: String) -> Answer {
    let request = server.request(Method::POST, "/v1/introspect").header("authorization", credential);
    send(request.header("content-type", content_type).body(body)).await
}

/// The kind: a standard says how a client of another's sends what ours sends as JSON with a bearer token.
#[tokio::test]
async fn a_resource_server_introspects_by_a_form_and_http_basic() {
    const FORM: &str = "application/x-www-form-urlencoded; charset=UTF-8";
    let server = TestServer::start();
    server.account(ADA).await;
    let (access, _) = server.tokens(ADA).await;
    let (key, id) = server.api_key(&["introspect"], None).await;
    let bearer = format!("Bearer {key}");
    let hint = "token_type_hint=access_token";
    // Some libraries encode what needs no escape, too.
    let encoded = key.replace('_', "%5F").replace('-', "%2d");
    let basics = [basic(&id, &key), basic("", &key), basic("a%20shop", &encoded)];
    for credential in basics.iter().chain([&bearer, &bearer.replace("Bearer", "bearer")]) {
        for body in [
            format!("token={access}"),
            format!("token={access}&{hint}"),
            format!("{hint}&client_id=x&token={access}"),
        ] {
            let answer = introspect(&server, credential, FORM, body.clone()).await;
            assert_eq!((answer.status.as_u16(), &answer.body["active"]), (200, &json!(true)), "{body}");
        }
        let read = json!({"token": access, "token_type_hint": "x"}).to_string();
        let answer = introspect(&server, credential, "application/json", read).await;
        assert_eq!(answer.body["active"], json!(true));
        let of = |name: &str| answer.body[name].clone();
        assert_eq!(
            [of("iss"), of("aud"), of("client_id")],
            [json!(ORIGIN), json!(ORIGIN), json!("portcullis")]
        );
    }
    // A token for administrators is told from others by its audience, and a refresh token by its type.
    server.operator_account("root@test.org", &["admin"]).await;
    let admin = server.admin_token("root@test.org").await;
    let answer = introspect(&server, &bearer, FORM, format!("token={admin}")).await;
    assert_eq!(answer.body["aud"], json!(format!("{ORIGIN}/admin")));
    let (_, refresh) = server.tokens(ADA).await;
    let answer = introspect(&server, &bearer, FORM, format!("token={refresh}")).await;
    assert_eq!(answer.body["token_type"], json!("refresh_token"));
    for body in ["", "token_type_hint=x", "token=a&token=b", "token=%ff", "token"] {
        let answer = introspect(&server, &bearer, FORM, body.to_owned()).await;
        let is_refused = answer.status.as_u16() == 422 || answer.body == json!({"active": false});
        assert!(is_refused, "{body}: {}", answer.body);
    }
    // The password of a site in front of us is not ours, and no other endpoint takes a form.
    let staging = basic("staging", "a secret of the proxy");
    let answer = introspect(&server, &staging, FORM, format!("token={access}")).await;
    assert_eq!(answer.problem(), (401, "unauthenticated"));
    let forged = basic("x", &format!("{key}x"));
    assert_eq!(introspect(&server, &forged, FORM, String::new()).await.problem(), (401, "unauthenticated"));
    let log_in = server.request(Method::POST, "/v1/login").header("content-type", FORM);
    assert_eq!(send(log_in.body("email=a&password=b")).await.problem(), (415, "unsupported_media_type"));
    // An API key beside a cookie is two credentials, however it is sent.
    let cookie = server.log_in_for_cookie(ADA).await.session_cookie();
    for credential in [&bearer, &basic("x", &key)] {
        let request = server.request(Method::GET, "/v1/revocations").header("authorization", credential);
        let answer = send(request.header("cookie", &cookie)).await;
        assert_eq!(answer.problem(), (400, "ambiguous_credentials"));
    }
    // A browser that has the password sends it along with what another site makes it ask. So it changes nothing.
    let (key, _) = server.api_key(&["admin:read", "admin:write"], None).await;
    let rotate =
        server.request(Method::POST, "/v1/admin/keys/rotate").header("authorization", basic("x", &key));
    assert_eq!(send(rotate.header("origin", "https://evil.example")).await.status.as_u16(), 401);
    let list = server.request(Method::GET, "/v1/admin/users").header("authorization", basic("x", &key));
    assert_eq!(send(list).await.status.as_u16(), 401);
}

/// The kind: a service is answered like a person, by an operator who looks for the fault in the wrong place.
#[tokio::test]
async fn a_service_with_a_wrong_key_is_told_of_its_key_in_the_scheme_that_it_used() {
    const INVALID: &str = "Bearer error=\"invalid_token\"";
    const REALM: &str = "Basic realm=\"portcullis\"";
    let server = TestServer::start();
    let (key, id) = server.api_key(&["introspect", "revocations", "metrics", "admin:write"], None).await;
    server.operated(json!({"operation": "api_key_delete", "id": id})).await;
    for (credential, challenge) in [
        (format!("Bearer {key}"), INVALID),
        (format!("Bearer {key}x"), INVALID),
        (String::from("Bearer a-secret-of-another-service"), INVALID),
        (basic("shop", &key), REALM),
        (basic("shop", "pck_garbage"), REALM),
        (basic("shop", "a secret of another service"), REALM),
    ] {
        for (method, path) in [
            (Method::POST, "/v1/introspect"),
            (Method::GET, "/v1/revocations"),
            (Method::GET, "/metrics"),
            (Method::POST, "/v1/admin/users"),
        ] {
            let takes_body = method == Method::POST;
            let request = server.request(method, path).header("authorization", &credential);
            let body = json!({"token": "x"});
            let answer = send(if takes_body { request.json(&body) } else { request }).await;
            assert_eq!(answer.problem(), (401, "unauthenticated"), "{path} {credential}");
            if challenge == REALM && !["/v1/introspect", "/v1/revocations"].contains(&path) {
                // A password that is taken nowhere here is that of a site in front.
                assert_eq!(answer.header("www-authenticate"), "Bearer", "{path}");
                continue;
            }
            assert!(
                answer.text("detail").starts_with("The API key is unknown, expired or deleted"),
                "{answer:?}"
            );
            assert_eq!(answer.header("www-authenticate"), challenge, "{path} {credential}");
        }
    }
    // A person's token that has expired is one to refresh, and a browser must not ask for the password of a proxy again.
    server.account(ADA).await;
    let (access, _) = server.tokens(ADA).await;
    let expired = format!("{}AAAA", &access[..access.len() - 4]);
    let answer = server.get_as("/v1/admin/users", &expired).await;
    assert!(answer.text("detail").contains("/v1/refresh"), "{}", answer.body);
    let staging = basic("staging", "a secret of the proxy");
    let request = server.request(Method::GET, "/v1/admin/users").header("authorization", staging);
    let answer = send(request.header("sec-fetch-site", "same-origin")).await;
    assert_eq!(answer.header("www-authenticate"), "Bearer");
}

/// The kind: what is between a client and us collects, drops or rewrites what its author thought to be of no use.
#[tokio::test]
async fn a_stream_is_not_to_be_collected_and_a_deletion_needs_no_body_of_a_delete() {
    let server = TestServer::start();
    let admin = server.operator_account("root@test.org", &["admin"]).await;
    let stream = server.request(Method::HEAD, "/v1/revocations").bearer_auth(&admin);
    let stream = stream.header("accept", "text/event-stream, */*;q=0.1").send().await.unwrap();
    assert_eq!(stream.headers()["x-accel-buffering"], "no");
    assert_eq!(stream.headers()["cache-control"], "no-store");

    server.account(ADA).await;
    let (access, _) = server.tokens(ADA).await;
    let dropped = server.request(Method::DELETE, "/v1/me").bearer_auth(&access);
    assert_eq!(send(dropped).await.problem(), (415, "unsupported_media_type"));
    let delete = |password: &str| server.post_as("/v1/me/delete", &access, json!({"password": password}));
    assert_eq!(delete("wrong").await.problem(), (401, "invalid_credentials"));
    assert_eq!(delete(PASSWORD).await.status.as_u16(), 204);
    assert_eq!(server.log_in(ADA, PASSWORD).await.problem(), (401, "invalid_credentials"));
}

/// The kind: a plus sign in a query that nobody escaped is a blank.
#[tokio::test]
async fn a_time_with_an_offset_needs_no_escape() {
    let server = TestServer::start();
    let admin = server.operator_account("root@test.org", &["admin"]).await;
    for (since, status) in [
        ("2026-01-01T00:00:00+01:00", 200),
        ("2026-01-01T00:00:00%2B01:00", 200),
        ("2026-01-01T00:00:00.5+01:00", 200),
        ("2026-01-01T00:00:00Z", 200),
        ("2026-01-01T00:00:00-05:30", 200),
        ("2026-01-01T00:00:00", 422),
        ("2026-01-01", 422),
        ("", 422),
        ("%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9", 422),
    ] {
        let answer = server.get_as(&format!("/v1/admin/audit?since={since}"), &admin).await;
        assert_eq!(answer.status.as_u16(), status, "{since}: {}", answer.body);
    }
}

/// The kind: a page is refused, and its author must be told which of five reasons it is.
#[tokio::test]
async fn a_page_is_told_why_its_request_is_refused() {
    const APP: &str = "http://app.test";
    let server = TestServer::with(&[("http.allowed_origins", APP)]);
    server.account(ADA).await;
    let opened = server.log_in_for_cookie(ADA).await;
    let (cookie, csrf) = (opened.session_cookie(), opened.text("csrf_token"));
    let own = [("sec-fetch-site", "same-origin"), ("origin", ORIGIN), ("x-csrf-token", &csrf)];
    let told = async |headers: &[(&str, &str)]| {
        let mut request = server.request(Method::POST, "/v1/logout").header("cookie", &cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = send(request.json(&json!({}))).await;
        (answer.problem().1.to_owned(), answer.text("detail"))
    };
    let cross = ("sec-fetch-site", "cross-site");
    for (headers, code, hint) in [
        (&[cross, ("origin", APP), own[2]][..], "cookie_needs_same_site", "`mode` set to `token`"),
        (&[cross, ("origin", ORIGIN), own[2]], "csrf_rejected", "not one of ours"),
        (&[cross, ("origin", "http://evil.test"), own[2]], "csrf_rejected", "http.allowed_origins"),
        (&[own[2]], "csrf_rejected", "send `Origin`"),
        (&[own[0], own[1]], "csrf_rejected", "GET /v1/csrf has it"),
        (&[own[0], own[1], ("x-csrf-token", "old")], "csrf_rejected", "log-in in another tab"),
    ] {
        let (told_code, detail) = told(headers).await;
        assert_eq!(told_code, code, "{headers:?}");
        assert!(detail.contains(hint), "{headers:?}: {detail}");
    }
    // A log-in by cookie from a page of another site is refused likewise: the cookie would be lost.
    let body = json!({"email": ADA, "password": PASSWORD, "mode": "cookie"});
    let log_in = server.request(Method::POST, "/v1/login").header(cross.0, cross.1).header("origin", APP);
    assert_eq!(send(log_in.json(&body)).await.problem(), (403, "cookie_needs_same_site"));

    // One call tells a page all that it needs after a reload.
    let session = server.get_with_cookie("/v1/session", &cookie).await;
    assert_eq!(session.text("csrf_token"), csrf);
    let (access, _) = server.tokens(ADA).await;
    assert_eq!(server.get_as("/v1/session", &access).await.body.get("csrf_token"), None);
}
