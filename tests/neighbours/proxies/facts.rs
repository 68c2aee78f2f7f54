//! What holds behind every proxy.

use std::time::Duration;

use serde_json::{Value, json};

use super::front::{Forwards, Front, Start, USUAL, Wish};
use crate::program::wait_until;
use crate::server::Server;
use crate::support::PASSWORD;

const NAME: &str = "ada@near.test";

fn names() -> Value {
    json!({"email": NAME, "password": PASSWORD})
}

fn for_cookie() -> Value {
    json!({"email": NAME, "password": PASSWORD, "mode": "cookie"})
}

pub fn a_browser_lives_through_sign_up_log_in_change_and_log_out(start: Start) {
    let front = Front::with(start, USUAL);
    let browser = front.client();
    browser.post("/v1/signup", &[], &names()).is(201);
    let in_ = browser.post("/v1/login", &[], &for_cookie()).is(200);
    let cookies = in_.all("set-cookie");
    for name in ["__Host-portcullis_session", "__Host-portcullis_device"] {
        let cookie =
            cookies.iter().find(|cookie| cookie.starts_with(name)).unwrap_or_else(|| panic!("{in_:?}"));
        for attribute in ["; HttpOnly", "; Secure", "; Path=/"] {
            assert!(cookie.contains(attribute), "{attribute} in {cookie}");
        }
    }
    assert_eq!(in_.header("strict-transport-security"), "max-age=63072000; includeSubDomains");
    assert_eq!(in_.header("cache-control"), "no-store");
    let csrf = in_.text("csrf_token");
    browser.get("/v1/session").is(200);
    assert_eq!(browser.get("/v1/csrf").is(200).text("csrf_token"), csrf);

    let change = json!({"new_device_mail": false});
    let patch = |headers: &[(&str, &str)]| browser.ask("PATCH", "/v1/me", headers, &change);
    patch(&[("origin", &front.origin)]).is(403);
    patch(&[("origin", &front.origin), ("x-csrf-token", "wrong")]).is(403);
    patch(&[("origin", "https://evil.test"), ("x-csrf-token", &csrf)]).is(403);
    let me = patch(&[("origin", &front.origin), ("x-csrf-token", &csrf)]).is(200);
    assert_eq!(me.json()["new_device_mail"], false);

    browser.post("/v1/logout", &[("x-csrf-token", &csrf)], &Value::Null).is(204);
    browser.get("/v1/session").is(401);
    let other = front.client();
    other.ask("POST", "/v1/login", &[("origin", "https://evil.test")], &for_cookie()).is(403);
    other.get("/v1/session").is(401);
}

pub fn a_program_logs_in_refreshes_and_logs_out(start: Start) {
    let front = Front::with(start, USUAL);
    let program = front.client();
    program.ask("POST", "/v1/signup", &[], &names()).is(201);
    let first = program.ask("POST", "/v1/login", &[], &names()).is(200).text("refresh_token");
    let refresh = |token: &str| program.ask("POST", "/v1/refresh", &[], &json!({"refresh_token": token}));
    let second = refresh(&first).is(200);
    assert_eq!(refresh(&first).is(200).text("refresh_token"), second.text("refresh_token"));
    let bearer = format!("Bearer {}", second.text("access_token"));
    let as_ada = [("authorization", bearer.as_str())];
    assert_eq!(program.ask("GET", "/v1/me", &as_ada, &Value::Null).is(200).text("email"), NAME);
    program.ask("POST", "/v1/logout", &as_ada, &Value::Null).is(204);
    let refused = program.ask("GET", "/v1/me", &as_ada, &Value::Null).is(401);
    assert_eq!(refused.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    refresh(&second.text("refresh_token")).is(401);
}

pub fn basic_authentication_of_the_proxy_and_the_session_cookie_go_together(start: Start) {
    let front = Front::with(start, Wish { login: Some(("staff", "open-sesame")), ..USUAL });
    let browser = front.client();
    let refused = browser.get("/v1/session").is(401);
    assert!(refused.header("www-authenticate").starts_with("Basic realm"), "{refused:?}");
    // staff:open-sesame
    let basic = ("authorization", "Basic c3RhZmY6b3Blbi1zZXNhbWU=");
    browser.post("/v1/signup", &[basic], &names()).is(201);
    let in_ = browser.post("/v1/login", &[basic], &for_cookie()).is(200);
    browser.ask("GET", "/v1/session", &[basic], &Value::Null).is(200);
    let csrf = in_.text("csrf_token");
    browser.post("/v1/logout", &[basic, ("x-csrf-token", &csrf)], &Value::Null).is(204);
    browser.ask("GET", "/v1/session", &[basic], &Value::Null).is(401);
}

pub fn a_stripped_prefix_of_the_path_changes_nothing(start: Start) {
    let front = Front::with(start, Wish { prefix: Some("/auth/"), ..USUAL });
    let browser = front.client();
    browser.post("/auth/v1/signup", &[], &names()).is(201);
    let csrf = browser.post("/auth/v1/login", &[], &for_cookie()).is(200).text("csrf_token");
    browser.get("/auth/v1/session").is(200);
    browser.get("/auth/v1/nothing").refuses(404, "not_found");
    browser.get("/auth/.well-known/jwks.json").is(200);
    browser.post("/auth/v1/logout", &[("x-csrf-token", &csrf)], &Value::Null).is(204);
    browser.get("/auth/v1/session").is(401);
}

/// Two clients log in, each with a header that names another address, and the sessions show their own networks.
fn networks_are_seen(start: Start, forwards: Forwards, forged: [(&str, &str); 2]) {
    let header = if forwards == Forwards::Forwarded { "forwarded" } else { "x-forwarded-for" };
    let front =
        Front::with(start, Wish { forwards, settings: &[("http.forwarded_header", header)], ..USUAL });
    front.client().ask("POST", "/v1/signup", &[], &names()).is(201);
    let mut access = String::new();
    for address in ["127.0.0.7", "127.0.0.8"] {
        for forged in [&[][..], &forged[..]] {
            let client = front.client().at(address);
            access = client.ask("POST", "/v1/login", forged, &names()).is(200).text("access_token");
        }
    }
    let bearer = format!("Bearer {access}");
    let listed =
        front.client().ask("GET", "/v1/sessions", &[("authorization", &bearer)], &Value::Null).is(200);
    let listed = listed.json();
    let networks = listed["items"].as_array().unwrap().iter().map(|item| item["network"].as_str().unwrap());
    let of = |network: &str| networks.clone().filter(|seen| *seen == network).count();
    assert_eq!((of("127.0.0.7/32"), of("127.0.0.8/32")), (2, 2), "{listed}");
}

const FORGED: [(&str, &str); 2] = [("x-forwarded-for", "198.51.100.9"), ("forwarded", "for=198.51.100.9")];

pub fn the_network_of_each_client_is_seen_by_x_forwarded_for(start: Start) {
    networks_are_seen(start, Forwards::XForwardedFor, FORGED);
}

pub fn the_network_of_each_client_is_seen_by_forwarded(start: Start) {
    networks_are_seen(start, Forwards::Forwarded, FORGED);
}

pub fn a_proxy_that_is_not_trusted_is_reported_in_the_log_and_by_the_doctor(start: Start) {
    let front = Front::with(start, Wish { settings: &[("http.trusted_proxies", "")], ..USUAL });
    let client = front.client();
    wait_until("the log names the setting", || {
        client.ask("POST", "/v1/refresh", &[], &json!({"refresh_token": "none"})).is(401);
        front.server.log().contains("http.trusted_proxies does not name it")
    });
    let told = front.server.run(&["doctor"]).says("127.0.0.1").text;
    let advice = told.split("trusted_proxies = [\"").nth(1).unwrap_or_else(|| panic!("{told}"));
    let advice = advice.split('"').next().unwrap();
    // The advice can be taken as it stands.
    Server::with(&[("http.trusted_proxies", advice)]);
}

pub fn a_connection_is_used_again_after_ten_idle_seconds(start: Start) {
    let front = Front::with(start, USUAL);
    front.client().get("/healthz").is(200);
    let before = front.connections();
    assert_eq!(before.len(), 1, "{before:?}");
    // The fact is about the idle time itself.
    std::thread::sleep(Duration::from_secs(10));
    for _ in 0..3 {
        front.client().get("/healthz").is(200);
    }
    assert_eq!(front.connections(), before);
}

pub fn an_event_of_the_feed_arrives_while_its_stream_is_open(start: Start) {
    let front = Front::with(start, USUAL);
    let key = ["api-key", "create", "shop", "--scopes", "revocations", "--json"];
    let made: Value = serde_json::from_str(&front.server.run(&key).exits(0).text).unwrap();
    let bearer = format!("authorization: Bearer {}", made["key"].as_str().unwrap());
    let program = front.client();
    program.ask("POST", "/v1/signup", &[], &names()).is(201);
    let in_ = program.ask("POST", "/v1/login", &[], &names()).is(200);
    let mut stream =
        front.client().stream("/v1/revocations?since=0", &[&bearer, "accept: text/event-stream"]);
    let bearer = format!("Bearer {}", in_.text("access_token"));
    program.ask("POST", "/v1/logout", &[("authorization", &bearer)], &Value::Null).is(204);
    let session = in_.text("session_id");
    wait_until("the end of the session is in the stream", || {
        assert!(stream.runs(), "the stream has ended");
        stream.said().contains(&session)
    });
}

pub fn large_headers_pass_and_too_large_ones_are_refused_by_the_server_s_own_answer(start: Start) {
    let front = Front::with(start, USUAL);
    let client = front.client();
    let large = "a".repeat(6 * 1024);
    let cookie = format!("other={large}");
    let get = |headers: &[(&str, &str)]| client.ask("GET", "/healthz", headers, &Value::Null);
    get(&[("x-large", &large)]).is(200);
    get(&[("cookie", &cookie), ("x-large", &large)]).is(200);
    let refused = get(&[("cookie", &cookie), ("x-large", &large), ("x-larger", &large)]);
    refused.refuses(431, "request_header_fields_too_large");
    get(&[]).is(200);
}

pub fn a_body_that_is_too_large_is_refused_by_the_server_s_own_answer(start: Start) {
    let front = Front::with(start, USUAL);
    let client = front.client();
    for kib in [17, 64, 300, 900] {
        let body = json!({"email": NAME, "password": "a".repeat(kib * 1024)});
        client.ask("POST", "/v1/login", &[], &body).refuses(413, "payload_too_large");
    }
    client.ask("POST", "/v1/login", &[], &names()).is(401);
}

pub fn every_answer_has_the_headers_of_cors(start: Start) {
    let settings = [
        ("http.allowed_origins", "https://app.house.test"),
        ("throttle.exempt_networks", ""),
        ("throttle.login.burst", "3"),
        ("throttle.login.per_minute", "1"),
    ];
    let front = Front::with(start, Wish { settings: &settings, ..USUAL });
    let client = front.client();
    let page = [("origin", "https://app.house.test")];
    let json = [("origin", "https://app.house.test"), ("content-type", "application/json")];
    let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>, status: u16| {
        let reply = client.send(method, path, headers, body).is(status);
        assert_eq!(reply.header("access-control-allow-origin"), "https://app.house.test", "{reply:?}");
        assert_eq!(reply.header("access-control-allow-credentials"), "true", "{reply:?}");
        assert!(reply.all("vary").iter().any(|value| value.eq_ignore_ascii_case("origin")), "{reply:?}");
    };
    let preflight = [page[0], ("access-control-request-method", "POST")];
    ask("OPTIONS", "/v1/login", &preflight, None, 204);
    ask("GET", "/healthz", &page, None, 200);
    ask("POST", "/v1/login", &json, Some("{"), 400);
    ask("GET", "/v1/session", &page, None, 401);
    ask("GET", "/nothing", &page, None, 404);
    ask("GET", "/v1/login", &page, None, 405);
    ask("POST", "/v1/login", &json, Some(&format!("\"{}\"", "a".repeat(20_000))), 413);
    ask("POST", "/v1/login", &[page[0], ("content-type", "text/plain")], Some("{}"), 415);
    ask("POST", "/v1/login", &json, Some("{\"mail\":1}"), 422);
    let wrong = names().to_string();
    for _ in 0..3 {
        client.send("POST", "/v1/login", &json, Some(&wrong));
    }
    ask("POST", "/v1/login", &json, Some(&wrong), 429);
    let other = client.send("GET", "/healthz", &[("origin", "https://evil.test")], None).is(200);
    assert_eq!(other.header("access-control-allow-origin"), "");
}
