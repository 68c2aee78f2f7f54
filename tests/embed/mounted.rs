//! The API in an application of the program's own: the same answers as our own server gives, below a prefix.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, HttpServer, web};
use portcullis::testing::TestEngine;
use portcullis::{Config, Embedded, Engine, MailKind, NewAccount, SignedIn, actix, flow};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use super::read;
use crate::support::{ORIGIN, PASSWORD, TestServer};

/// An `HttpServer` of a program that has mounted the API below `/auth`.
struct Program {
    url: String,
    handle: ServerHandle,
    auth: Embedded,
}

impl Program {
    async fn start(config: Config) -> Self {
        let auth = Engine::start(config).await.unwrap();
        let engine = auth.engine();
        let app = move || {
            let own = async |who: SignedIn| who.email().to_owned();
            App::new().configure(actix::mount("/auth", &engine)).route("/own", web::get().to(own))
        };
        let server = HttpServer::new(app).workers(1).on_connect(actix::connection_limit(&auth));
        let server = server.bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        let server = server.disable_signals().run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { url, handle, auth }
    }

    async fn stop(self) {
        self.handle.stop(true).await;
        self.auth.stop().await;
    }
}

fn config(dir: &std::path::Path) -> Config {
    let config =
        Config::builder().data_dir(dir).public_origin(ORIGIN).set("http.allowed_origins", "https://app.test");
    config.password(|password| password.memory_kib(64).passes(1).threads(1)).build().unwrap()
}

/// Method, path, headers and body of a request.
type Case = (Method, &'static str, &'static [(&'static str, &'static str)], String);

/// Requests whose answers show every part of what is around the endpoints.
fn cases() -> Vec<Case> {
    let json: &[_] = &[("content-type", "application/json")];
    let none: &[_] = &[];
    let body = |body: Value| body.to_string();
    let wrong = || body(json!({"email": "ada@example.org", "password": "a wrong one entirely"}));
    vec![
        (Method::GET, "/healthz", none, String::new()),
        (Method::HEAD, "/healthz", none, String::new()),
        (Method::GET, "/readyz", none, String::new()),
        (Method::GET, "/nowhere", none, String::new()),
        (Method::GET, "/v1/nowhere/at/all", none, String::new()),
        (Method::GET, "/openapi.json", none, String::new()),
        (Method::GET, "/problems/weak-password", none, String::new()),
        (Method::GET, "/problems/weak-password", &[("accept", "text/html")], String::new()),
        (Method::GET, "/problems/nothing", none, String::new()),
        (Method::GET, "/v1/me", json, body(json!({"name": "Ada"}))),
        (Method::GET, "/v1/login", json, body(json!({"name": "Ada"}))),
        (Method::GET, "", none, String::new()),
        (Method::GET, "/v1/login", none, String::new()),
        (Method::PUT, "/v1/me", json, body(json!({}))),
        (Method::POST, "/v1/login", json, wrong()),
        (Method::POST, "/v1/login", json, String::from("{")),
        (Method::POST, "/v1/login", none, wrong()),
        (Method::POST, "/v1/login", json, body(json!({"email": "ada@example.org", "passwort": "x"}))),
        (Method::POST, "/v1/login", json, format!("\"{}\"", "x".repeat(20_000))),
        (
            Method::POST,
            "/v1/login",
            &[("content-type", "application/json"), ("content-encoding", "gzip")],
            wrong(),
        ),
        (
            Method::POST,
            "/v1/login",
            json,
            body(json!({"email": "ada@example.org", "password": "x", "mode": "cookie"})),
        ),
        (Method::POST, "/v1/signup", json, body(json!({"email": "ada@example.org", "password": "short"}))),
        (Method::POST, "/v1/password/forgot", json, body(json!({"email": "ada@example.org"}))),
        (Method::GET, "/v1/me", none, String::new()),
        (Method::GET, "/v1/me", &[("authorization", "Bearer x.y.z")], String::new()),
        (
            Method::GET,
            "/v1/me",
            &[("authorization", "Bearer x"), ("cookie", "portcullis_session=x")],
            String::new(),
        ),
        (Method::GET, "/v1/session?optional", none, String::new()),
        (Method::GET, "/v1/admin/users", none, String::new()),
        (Method::GET, "/metrics", none, String::new()),
        (Method::GET, "/v1/me", &[("origin", "https://app.test")], String::new()),
        (Method::GET, "/v1/me", &[("origin", "https://evil.test")], String::new()),
        (
            Method::OPTIONS,
            "/v1/login",
            &[("origin", "https://app.test"), ("access-control-request-method", "POST")],
            String::new(),
        ),
        (Method::OPTIONS, "/v1/login", &[("origin", "https://evil.test")], String::new()),
        (Method::GET, "/v1/me", &[("host", "a b")], String::new()),
        (Method::GET, "/healthz", &[("connection", "upgrade"), ("upgrade", "h2c")], String::new()),
    ]
}

async fn send(http: &Client, url: &str, (method, path, headers, body): &Case) -> Response {
    let mut request = http.request(method.clone(), format!("{url}{path}"));
    for (name, value) in *headers {
        request = request.header(*name, *value);
    }
    if !body.is_empty() {
        request = request.body(body.clone());
    }
    request.send().await.unwrap()
}

/// Returns an answer without what differs from request to request: ids and times.
async fn comparable(response: Response) -> (u16, Vec<(String, String)>, String) {
    let status = response.status().as_u16();
    let varies = ["date", "x-request-id", "content-length", "ratelimit"];
    let headers = response.headers().iter().filter(|(name, _)| !varies.contains(&name.as_str()));
    let mut headers: Vec<_> =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    headers.sort();
    let id = response.headers().get("x-request-id").map(|id| id.to_str().unwrap().to_owned());
    let body = response.text().await.unwrap();
    (status, headers, id.map_or(body.clone(), |id| body.replace(&id, "ID")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_api_answers_like_our_own_server() {
    let dir = tempfile::tempdir().unwrap();
    let ours = TestServer::with(&[("http.allowed_origins", "https://app.test")]);
    let program = Program::start(config(dir.path())).await;
    let below = format!("{}/auth", program.url);
    let http = Client::builder().user_agent("test").build().unwrap();
    let mut statuses = Vec::new();
    for case in cases() {
        let expected = comparable(send(&http, &ours.url, &case).await).await;
        let mounted = comparable(send(&http, &below, &case).await).await;
        let burst = |(status, headers, body): (u16, Vec<(String, String)>, String)| {
            // The test server has other limits.
            let headers =
                headers.into_iter().filter(|(name, _)| name != "ratelimit-policy").collect::<Vec<_>>();
            (status, headers, body)
        };
        statuses.push(expected.0);
        assert_eq!(burst(mounted), burst(expected), "{} {}", case.0, case.1);
    }
    for status in [200, 202, 204, 400, 401, 403, 404, 405, 413, 415, 422] {
        assert!(statuses.contains(&status), "no case has {status}: {statuses:?}");
    }
    // What is not below the prefix is the program's.
    assert_eq!(http.get(format!("{}/healthz", program.url)).send().await.unwrap().status(), 404);
    let own = http.get(format!("{}/own", program.url)).send().await.unwrap();
    assert_eq!(own.status(), 401);
    assert_eq!(own.json::<Value>().await.unwrap()["code"], "unauthenticated");
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_program_goes_from_log_in_to_log_out() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(config(dir.path())).await;
    let new = portcullis::NewAccount::new("ada@example.org").password(PASSWORD).verified();
    program.auth.accounts().create(new).await.unwrap();
    let http = Client::builder().user_agent("test").build().unwrap();
    let url = |path: &str| format!("{}{path}", program.url);
    let log_in = json!({"email": "ada@example.org", "password": PASSWORD});
    let tokens: Value =
        http.post(url("/auth/v1/login")).json(&log_in).send().await.unwrap().json().await.unwrap();
    let access = tokens["access_token"].as_str().unwrap();
    let own = async || http.get(url("/own")).bearer_auth(access).send().await.unwrap();
    assert_eq!(own().await.text().await.unwrap(), "ada@example.org");
    let log_out = http.post(url("/auth/v1/logout")).bearer_auth(access).send().await.unwrap();
    assert_eq!(log_out.status(), 204);
    assert_eq!(own().await.status(), 401);
    program.stop().await;
}

#[tokio::test]
async fn a_path_of_the_public_origin_is_in_everything_that_names_it() {
    let public = |config: portcullis::ConfigBuilder| config.public_origin("https://example.org/auth");
    let auth = TestEngine::start_with(public).await.unwrap();
    let ada = auth.account("ada@example.org").await.unwrap();
    let app = init_service(App::new().configure(actix::mount("/auth", &auth))).await;
    let nobody = TestRequest::get().uri("/auth/v1/me").to_request();
    let (_, headers, body) = read(call_service(&app, nobody).await).await;
    assert_eq!(body["type"], "https://example.org/auth/problems/unauthenticated");
    assert!(headers.contains_key("strict-transport-security"));
    // The interface explains itself below the prefix, and its addresses lead back there.
    let document = TestRequest::get().uri("/auth/openapi.json").to_request();
    let (status, _, document) = read(call_service(&app, document).await).await;
    assert_eq!((status, &document["servers"]), (200, &json!([{"url": "https://example.org/auth"}])));
    assert!(document["paths"].get("/v1/me").is_some());
    let page = body["type"].as_str().unwrap().strip_prefix("https://example.org").unwrap();
    let (status, headers, page) =
        read(call_service(&app, TestRequest::get().uri(page).to_request()).await).await;
    assert_eq!((status, &page["type"]), (200, &body["type"]));
    assert_eq!(headers.get("cache-control").unwrap(), "public, max-age=300");
    let html =
        TestRequest::get().uri("/auth/problems/unauthenticated").insert_header(("accept", "text/html"));
    let html = call_service(&app, html.to_request()).await;
    let policy = html.headers().get_all("content-security-policy").collect::<Vec<_>>();
    assert!(
        matches!(policy[..], [own] if own.to_str().unwrap().contains("style-src 'sha256-")),
        "{policy:?}"
    );

    auth.accounts().send_reset(ada.id()).await.unwrap();
    let mail = auth.mail("ada@example.org", MailKind::Invitation).await.unwrap();
    assert!(mail.link.unwrap().starts_with("https://example.org/auth/reset#token="));

    let client = portcullis::Client::new("127.0.0.1".parse().unwrap(), "app");
    let opened = flow::issue(&auth, ada.id(), &client, portcullis::Mode::tokens(), "test").await.unwrap();
    let body = actix_web::body::to_bytes(opened.into_response(&auth).into_body()).await.unwrap();
    let tokens: Value = serde_json::from_slice(&body).unwrap();
    let access = tokens["access_token"].as_str().unwrap();
    let claims = access.split('.').nth(1).unwrap();
    let claims = <base64ct::Base64UrlUnpadded as base64ct::Encoding>::decode_vec(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["iss"], "https://example.org/auth");
    // Nobody has entered a password.
    assert_eq!(claims["amr"], json!([]));
    assert_eq!(claims["aud"], "https://example.org/auth");
    let keys = TestRequest::get().uri("/auth/.well-known/jwks.json").to_request();
    assert_eq!(call_service(&app, keys).await.status(), 200);

    // A cookie with this prefix must be one of the whole host, whatever the path; a page of any path of the origin is ours.
    let cookie = auth.log_in_with_cookie(ada.id()).await.unwrap();
    let opened = flow::issue(&auth, ada.id(), &client, portcullis::Mode::cookie(), "test").await.unwrap();
    let set = opened.into_response(&auth);
    let set: Vec<_> = set.headers().get_all("set-cookie").map(|cookie| cookie.to_str().unwrap()).collect();
    assert!(set.iter().any(|cookie| cookie.starts_with("__Host-portcullis_session=")), "{set:?}");
    for cookie in set {
        let attributes: Vec<_> = cookie.split("; ").skip(1).collect();
        assert!(attributes.contains(&"Path=/") && attributes.contains(&"Secure"), "{cookie}");
    }
    let log_out = cookie.on(TestRequest::post().uri("/auth/v1/logout")).to_request();
    assert_eq!(call_service(&app, log_out).await.status(), 204);
}

/// So that `?` leads on in a program with errors of its own.
#[test]
fn the_mistakes_of_a_configuration_are_one_error() {
    fn build() -> Result<Config, Box<dyn std::error::Error>> {
        Ok(Config::builder().set("http.lisen", "x").session(|session| session.cookie_name("a b")).build()?)
    }
    let error = build().unwrap_err();
    let faults = error.downcast_ref::<portcullis::ConfigFaults>().unwrap();
    assert_eq!(faults.len(), 2, "{error}");
    assert_eq!(error.to_string().lines().count(), 2, "{error}");
    let said = error.to_string();
    assert!(
        said.contains("did you mean `http.listen`?") && said.contains("letters, digits, - and _"),
        "{said}"
    );
}

/// A browser sends both engines of an origin the same cookies. So each has names of its own.
#[tokio::test]
async fn a_log_in_at_one_engine_of_an_origin_leaves_the_session_at_the_other_one() {
    let engine = async |prefix: &str, name: &str| {
        let set = |config: portcullis::ConfigBuilder| {
            let config = config.public_origin(format!("https://example.org/{prefix}"));
            config.session(|session| session.cookie_name(name))
        };
        TestEngine::start_with(set).await.unwrap()
    };
    let (staff, shop) = (engine("staff", "staff").await, engine("shop", "shop").await);
    let app = App::new().configure(actix::mount("/staff", &staff)).configure(actix::mount("/shop", &shop));
    let app = init_service(app).await;
    for auth in [&staff, &shop] {
        let new = NewAccount::new("ada@example.org").password(PASSWORD).verified();
        auth.accounts().create(new).await.unwrap();
    }
    let mut cookies: BTreeMap<String, String> = BTreeMap::new();
    for place in ["staff", "shop", "staff"] {
        let body = json!({"email": "ada@example.org", "password": PASSWORD, "mode": "cookie"});
        let request = TestRequest::post().uri(&format!("/{place}/v1/login")).set_json(body);
        let request = request.insert_header(("origin", "https://example.org"));
        // As a browser that signs in anew, without the CSRF token of the session of before.
        let others = cookies.iter().filter(|(name, _)| !name.contains(place));
        let others: Vec<_> = others.map(|(name, value)| format!("{name}={value}")).collect();
        let request = request.insert_header(("cookie", others.join("; "))).to_request();
        let answer = call_service(&app, request).await;
        assert_eq!(answer.status(), 200, "{place}");
        for cookie in answer.response().cookies() {
            assert!(cookie.name().starts_with(&format!("__Host-{place}_")), "{cookie}");
            cookies.insert(cookie.name().to_owned(), cookie.value().to_owned());
        }
    }
    let all: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(all.len(), 4, "{all:?}");
    for place in ["staff", "shop"] {
        let request = TestRequest::get().uri(&format!("/{place}/v1/me"));
        let request = request.insert_header(("cookie", all.join("; "))).to_request();
        assert_eq!(call_service(&app, request).await.status(), 200, "{place}");
        let document = TestRequest::get().uri(&format!("/{place}/openapi.json")).to_request();
        let (_, _, document) = read(call_service(&app, document).await).await;
        let name = &document["components"]["securitySchemes"]["cookie"]["name"];
        assert_eq!(name, &json!(format!("__Host-{place}_session")));
    }
}

#[tokio::test]
async fn two_engines_are_mounted_beside_each_other() {
    let staff = TestEngine::start().await.unwrap();
    let customers = TestEngine::start().await.unwrap();
    let (eve, ada) = (
        staff.account("eve@staff.example").await.unwrap(),
        customers.account("ada@example.org").await.unwrap(),
    );
    let who = || web::get().to(async |who: SignedIn| who.email().to_owned());
    let app = App::new()
        .configure(actix::mount("/staff", &staff))
        .configure(actix::mount("/customers", &customers))
        .service(web::scope("/desk").app_data(actix::data(&staff)).route("/who", who()))
        .route("/who", who());
    let app = init_service(app).await;
    let (eve, ada) = (staff.log_in_as(eve.id()).await.unwrap(), customers.log_in_as(ada.id()).await.unwrap());
    for (path, eves, adas) in [
        ("/staff/v1/me", 200, 401),
        ("/customers/v1/me", 401, 200),
        ("/desk/who", 200, 401),
        // The engine that was mounted last serves the rest of the application.
        ("/who", 401, 200),
    ] {
        for (credentials, expected) in [(&eve, eves), (&ada, adas)] {
            let request = credentials.on(TestRequest::get().uri(path)).to_request();
            assert_eq!(call_service(&app, request).await.status(), expected, "{path}");
        }
    }
}

#[tokio::test]
async fn pages_of_the_program_below_the_prefix_are_found_before_and_behind_the_mount() {
    let auth = TestEngine::start().await.unwrap();
    for is_first in [true, false] {
        let (first, last) = if is_first { ("/auth/reset", "/other") } else { ("/other", "/auth/reset") };
        let page = || web::get().to(async || "my page");
        let app = App::new().route(first, page()).configure(actix::mount("/auth", &auth)).route(last, page());
        let app = init_service(app).await;
        for (path, expected) in [("/auth/reset", 200), ("/auth/v1/me", 401), ("/auth/reset/x", 404)] {
            let answer = call_service(&app, TestRequest::get().uri(path).to_request()).await;
            assert_eq!(answer.status(), expected, "{path}");
        }
    }
}

#[tokio::test]
async fn an_api_at_the_root_leaves_the_program_its_own_routes() {
    let auth = TestEngine::start().await.unwrap();
    let app = App::new().route("/own", web::get().to(async || "own")).configure(actix::mount("", &auth));
    let app = init_service(app).await;
    for (path, expected) in [("/own", 200), ("/healthz", 200), ("/v1/me", 401), ("/nowhere", 404)] {
        let request = TestRequest::get().uri(path).to_request();
        let (status, _, body) = read(call_service(&app, request).await).await;
        assert_eq!(status, expected, "{path}");
        assert_eq!(status == 404, body["code"] == "not_found");
    }
    let _: Arc<Engine> = Arc::clone(&auth);
}
