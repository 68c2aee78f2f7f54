//! Sessions that the program opens without a password.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, HttpResponse, web};
use portcullis::testing::TestEngine;
use portcullis::{AccountId, Client, Engine, Error, MailKind, Mode, NewAccount, actix, flow};
use serde_json::{Value, json};

use super::read;
use crate::support::PASSWORD;

fn client(user_agent: &str) -> Client {
    Client::new(IpAddr::V4(Ipv4Addr::LOCALHOST), user_agent)
}

/// Returns the lines of the log of security events.
pub fn audit_lines(auth: &TestEngine) -> Vec<Value> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(auth.data_dir().join("audit")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        lines.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
    }
    lines
}

/// The way back from another provider, as a program writes it.
async fn back_from_provider(
    engine: web::Data<Engine>,
    client: Client,
    account: web::Path<String>,
) -> Result<HttpResponse, Error> {
    let id: AccountId = account.parse().unwrap();
    let opened = flow::issue(&engine, id, &client, Mode::cookie(), "github").await?;
    Ok(opened.into_redirect(&engine, "/welcome"))
}

#[tokio::test]
async fn a_log_in_by_another_provider_leads_to_a_session_with_the_checks_of_a_log_in() {
    let auth = TestEngine::start().await.unwrap();
    let ada = auth.account("ada@example.org").await.unwrap();
    let app = App::new().configure(actix::mount("/auth", &auth));
    let app = init_service(app.route("/back/{id}", web::get().to(back_from_provider))).await;
    let back = || TestRequest::get().uri(&format!("/back/{}", ada.id())).to_request();
    let (status, headers, _) = read(call_service(&app, back()).await).await;
    assert_eq!(status, 303);
    assert_eq!(headers.get("location").unwrap(), "/welcome");
    assert_eq!(headers.get("cache-control").unwrap(), "no-store");
    let cookies: Vec<_> = headers.get_all("set-cookie").map(|cookie| cookie.to_str().unwrap()).collect();
    let session = cookies.iter().find(|cookie| cookie.contains("session=")).unwrap();
    assert!(session.contains("HttpOnly") && session.contains("SameSite=Lax"), "{session}");
    let cookie = session.split(';').next().unwrap();
    let me = TestRequest::get().uri("/auth/v1/me").insert_header(("cookie", cookie)).to_request();
    assert_eq!(call_service(&app, me).await.status(), 200);

    let lines = audit_lines(&auth);
    let issued = lines.iter().find(|line| line["event"] == "session.issued").unwrap();
    assert_eq!(issued["reason"], "github");
    assert_eq!(issued["subject"], ada.id().to_string());
    assert!(auth.mail("ada@example.org", MailKind::NewDevice).await.is_some());
    // The same browser is not new again.
    assert_eq!(call_service(&app, back()).await.status(), 303);
    let told = auth.mails().iter().filter(|mail| mail.kind == MailKind::NewDevice).count();
    assert_eq!(told, 1);

    auth.accounts().set_active(ada.id(), false).await.unwrap();
    let (status, headers, body) = read(call_service(&app, back()).await).await;
    assert_eq!((status, &body["code"]), (403, &"account_disabled".into()));
    assert_eq!(headers.get("content-type").unwrap(), "application/problem+json");
    assert!(headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn no_session_is_issued_to_whom_a_log_in_would_refuse() {
    let auth = TestEngine::start().await.unwrap();
    let unproved = auth.accounts().create(NewAccount::new("eve@example.org")).await.unwrap();
    let refused = flow::issue(&auth, unproved.id(), &client(""), Mode::tokens(), "test").await.unwrap_err();
    assert!(refused.is_refusal());
    let ada = auth.account("ada@example.org").await.unwrap();
    auth.accounts().delete(ada.id()).await.unwrap();
    let refused = flow::issue(&auth, ada.id(), &client(""), Mode::tokens(), "test").await.unwrap_err();
    assert!(refused.is_not_found());
}

/// Returns the claims of an access token.
fn claims(access: &Value) -> Value {
    let claims = access.as_str().unwrap().split('.').nth(1).unwrap();
    let claims = <base64ct::Base64UrlUnpadded as base64ct::Encoding>::decode_vec(claims).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

/// Whoever reads `amr` must not take the word of the program for a password.
#[tokio::test]
async fn a_session_without_a_password_says_so_until_its_owner_has_entered_one() {
    let auth = TestEngine::start().await.unwrap();
    let new = NewAccount::new("ada@example.org").password(PASSWORD).verified();
    let ada = auth.accounts().create(new).await.unwrap();
    let app = init_service(App::new().configure(actix::mount("/auth", &auth))).await;
    let post = |path: &str, body: Value| TestRequest::post().uri(&format!("/auth/v1/{path}")).set_json(body);
    let log_in = json!({"email": "ada@example.org", "password": PASSWORD});
    let (_, _, opened) = read(call_service(&app, post("login", log_in).to_request()).await).await;
    assert_eq!(claims(&opened["access_token"])["amr"], json!(["pwd"]));

    let issued = auth.log_in_as(ada.id()).await.unwrap();
    let prove = issued.on(post("reauthenticate", json!({"password": PASSWORD}))).to_request();
    let (status, _, proved) = read(call_service(&app, prove).await).await;
    assert_eq!(status, 200, "{proved}");
    assert_eq!(claims(&proved["access_token"])["amr"], json!(["pwd"]));
}

#[tokio::test]
async fn issued_tokens_are_those_of_a_log_in_and_end_with_it() {
    let auth = TestEngine::start().await.unwrap();
    let ada = auth.account("ada@example.org").await.unwrap();
    let opened =
        flow::issue(&auth, ada.id(), &client("app"), Mode::tokens(), "line\r\nbreak\u{0}").await.unwrap();
    let response = opened.into_response(&auth);
    assert_eq!(response.headers().get("cache-control").unwrap(), "no-store");
    let body = actix_web::body::to_bytes(response.into_body()).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let app = init_service(App::new().configure(actix::mount("/auth", &auth))).await;
    let me = || {
        let access = format!("Bearer {}", body["access_token"].as_str().unwrap());
        TestRequest::get().uri("/auth/v1/me").insert_header(("authorization", access)).to_request()
    };
    assert_eq!(call_service(&app, me()).await.status(), 200);
    let refresh = json!({"refresh_token": body["refresh_token"]});
    let refresh = TestRequest::post().uri("/auth/v1/refresh").set_json(refresh).to_request();
    let (status, _, renewed) = read(call_service(&app, refresh).await).await;
    assert_eq!(status, 200);
    for access in [&body["access_token"], &renewed["access_token"]] {
        assert_eq!(claims(access)["amr"], json!([]), "nobody has entered a password");
    }
    auth.accounts().end_sessions(ada.id()).await.unwrap();
    assert_eq!(call_service(&app, me()).await.status(), 401);
    let lines = audit_lines(&auth);
    assert!(lines.iter().any(|line| line["event"] == "session.issued" && line["reason"] == "linebreak"));
}
