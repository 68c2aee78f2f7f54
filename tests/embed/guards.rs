//! Handlers of the program's own, guarded by the extractors.

use std::time::Duration;

use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, web};
use portcullis::testing::TestEngine;
use portcullis::{HasRole, MaybeSignedIn, Recent, Role, SignedIn, actix};

use super::read;

struct Editor;

impl Role for Editor {
    const ROLE: &'static str = "editor";
}

/// The routes of a program.
fn routes(config: &mut web::ServiceConfig) {
    let page = async |who: MaybeSignedIn| {
        who.identity().map_or_else(|| "nobody".into(), |who| who.email().to_owned())
    };
    config
        .route("/me", web::get().to(async |who: SignedIn| who.account_id().to_string()))
        .route("/notes", web::post().to(async |_: SignedIn| "written"))
        .route("/page", web::get().to(page))
        .route("/page", web::post().to(async |_: MaybeSignedIn| "posted"))
        .route("/lenient", web::get().to(async |who: Option<SignedIn>| who.is_some().to_string()))
        .route(
            "/edit",
            web::post().to(async |who: HasRole<Editor>| who.roles().collect::<Vec<_>>().join(",")),
        )
        .route("/pay", web::post().to(async |_: Recent<300>| "paid"));
}

/// Calls an application of a program that has mounted the API of `$auth` and answers with status, headers and body.
macro_rules! call {
    ($auth:expr, $request:expr) => {{
        let app = init_service(App::new().configure(actix::mount("/auth", &$auth)).configure(routes)).await;
        read(call_service(&app, $request.to_request()).await).await
    }};
}

#[tokio::test]
async fn a_handler_knows_its_user_by_token_and_by_cookie() {
    let auth = TestEngine::start().await.unwrap();
    let ada = auth.account("ada@example.org").await.unwrap();
    for credentials in [auth.log_in_as(ada.id()).await, auth.log_in_with_cookie(ada.id()).await] {
        let (status, _, body) = call!(auth, credentials.unwrap().on(TestRequest::get().uri("/me")));
        assert_eq!(status, 200);
        assert_eq!(body, serde_json::json!(ada.id().to_string()).as_str().unwrap());
    }
}

#[tokio::test]
async fn a_refusal_is_the_problem_of_the_api_with_its_headers() {
    let auth = TestEngine::start().await.unwrap();
    let (status, headers, body) = call!(auth, TestRequest::get().uri("/me"));
    assert_eq!((status, &body["code"]), (401, &"unauthenticated".into()));
    let (ours, our_headers, our_body) = call!(auth, TestRequest::get().uri("/auth/v1/me"));
    assert_eq!(ours, status);
    for field in ["type", "title", "status", "detail", "code"] {
        assert_eq!(body[field], our_body[field], "{field}");
    }
    let names = |headers: &actix_web::http::header::HeaderMap| {
        let mut names: Vec<_> = headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(names(&headers), names(&our_headers));
    for name in ["cache-control", "content-type", "www-authenticate", "content-security-policy"] {
        assert_eq!(headers.get(name), our_headers.get(name), "{name}");
    }
    assert_eq!(headers.get("x-request-id").unwrap().to_str().unwrap(), body["request_id"].as_str().unwrap());
    let bad = TestRequest::get().uri("/me").insert_header(("authorization", "Bearer x.y.z"));
    let (status, headers, body) = call!(auth, bad);
    assert_eq!(status, 401);
    assert_eq!(headers.get("www-authenticate").unwrap(), "Bearer error=\"invalid_token\"");
    assert!(body["detail"].as_str().unwrap().contains("/v1/refresh"), "{body}");
}

#[tokio::test]
async fn a_request_of_another_site_with_the_cookie_changes_nothing() {
    let auth = TestEngine::start().await.unwrap();
    let ada = auth.account("ada@example.org").await.unwrap();
    let cookie = auth.log_in_with_cookie(ada.id()).await.unwrap();
    let without = |name: &str| {
        let kept = cookie.iter().filter(|(header, _)| *header != name);
        kept.fold(TestRequest::post().uri("/notes"), TestRequest::insert_header)
    };
    assert_eq!(call!(auth, without("nothing")).0, 200);
    for request in [
        without("x-csrf-token"),
        without("origin"),
        without("x-csrf-token").insert_header(("x-csrf-token", "another")),
        without("origin").insert_header(("origin", "https://evil.example")),
        without("nothing").insert_header(("sec-fetch-site", "cross-site")),
    ] {
        let (status, _, body) = call!(auth, request);
        assert_eq!((status, &body["code"]), (403, &"csrf_rejected".into()));
    }
    // The other extractors are stricter, never laxer.
    for path in ["/edit", "/pay", "/page"] {
        let request = cookie.iter().filter(|(header, _)| *header == "cookie" || *header == "user-agent");
        let request = request.fold(TestRequest::post().uri(path), TestRequest::insert_header);
        assert_eq!(call!(auth, request).0, 403, "{path}");
    }
}

#[tokio::test]
async fn nobody_is_no_error_where_the_handler_says_so_and_a_bad_credential_is() {
    let auth = TestEngine::start().await.unwrap();
    let ada = auth.account("ada@example.org").await.unwrap();
    let access = auth.log_in_as(ada.id()).await.unwrap();
    let bad = || ("authorization", "Bearer x.y.z");
    assert_eq!(call!(auth, TestRequest::get().uri("/page")).2, "nobody");
    assert_eq!(call!(auth, access.on(TestRequest::get().uri("/page"))).2, "ada@example.org");
    assert_eq!(call!(auth, TestRequest::get().uri("/page").insert_header(bad())).0, 401);
    assert_eq!(call!(auth, TestRequest::get().uri("/lenient").insert_header(bad())).2, false);
    assert_eq!(call!(auth, access.on(TestRequest::get().uri("/lenient"))).2, true);
}

#[tokio::test]
async fn a_role_opens_a_handler_from_the_moment_it_is_given() {
    let auth = TestEngine::start().await.unwrap();
    let ada = auth.account("ada@example.org").await.unwrap();
    let access = auth.log_in_as(ada.id()).await.unwrap();
    let (status, _, body) = call!(auth, access.on(TestRequest::post().uri("/edit")));
    assert_eq!((status, &body["code"]), (403, &"insufficient_role".into()));
    auth.accounts().set_roles(ada.id(), ["editor", "author"]).await.unwrap();
    assert_eq!(call!(auth, access.on(TestRequest::post().uri("/edit"))).2, "author,editor");
    auth.accounts().set_roles(ada.id(), ["author"]).await.unwrap();
    // A token that has the role ends with it.
    assert_eq!(call!(auth, access.on(TestRequest::post().uri("/edit"))).0, 401);
}

#[tokio::test]
async fn an_act_that_needs_a_recent_proof_is_refused_with_the_age_that_it_may_have() {
    let auth = TestEngine::start().await.unwrap();
    let ada = auth.account("ada@example.org").await.unwrap();
    let cookie = auth.log_in_with_cookie(ada.id()).await.unwrap();
    assert_eq!(call!(auth, cookie.on(TestRequest::post().uri("/pay"))).2, "paid");
    auth.advance(Duration::from_secs(299));
    assert_eq!(call!(auth, cookie.on(TestRequest::post().uri("/pay"))).2, "paid");
    auth.advance(Duration::from_secs(2));
    let (status, headers, body) = call!(auth, cookie.on(TestRequest::post().uri("/pay")));
    assert_eq!((status, &body["code"]), (401, &"step_up_required".into()));
    let challenge = headers.get("www-authenticate").unwrap().to_str().unwrap();
    assert!(challenge.contains("insufficient_user_authentication"), "{challenge}");
    assert!(challenge.ends_with("max_age=\"300\""), "{challenge}");
    assert_eq!(call!(auth, cookie.on(TestRequest::post().uri("/notes"))).0, 200);
}

#[tokio::test]
async fn pages_of_an_allowed_origin_can_read_a_refusal() {
    let origins =
        |config: portcullis::ConfigBuilder| config.set("http.allowed_origins", "https://app.localhost");
    let auth = TestEngine::start_with(origins).await.unwrap();
    let (_, headers, _) =
        call!(auth, TestRequest::get().uri("/me").insert_header(("origin", "https://app.localhost")));
    assert_eq!(headers.get("access-control-allow-origin").unwrap(), "https://app.localhost");
    let (_, headers, _) =
        call!(auth, TestRequest::get().uri("/me").insert_header(("origin", "https://evil.example")));
    assert_eq!(headers.get("access-control-allow-origin"), None);
}

/// Kind: a program that forgets a line gets a panic, or lets everybody in.
#[tokio::test]
async fn without_an_engine_a_guarded_handler_refuses_everybody() {
    let app = init_service(App::new().configure(routes)).await;
    for request in [
        TestRequest::get().uri("/me"),
        TestRequest::get().uri("/page"),
        TestRequest::post().uri("/edit"),
        TestRequest::post().uri("/pay"),
    ] {
        let (status, headers, body) = read(call_service(&app, request.to_request()).await).await;
        assert_eq!((status, &body["code"]), (500, &"no_engine".into()));
        assert_eq!(headers.get("content-type").unwrap(), "application/problem+json");
    }
}
