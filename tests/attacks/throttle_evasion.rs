//! Brute force around the rate limiter: I send headers that name another client, use countless addresses, log in with
//! an account of my own between guesses, flood the limiter until it forgets me, or wait for a restart.
//!
//! Bound: one client gets its burst and its rate, whatever it writes into headers; a success gives back only itself.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, TestServer, send};

/// Limits under which a network has five log-ins and then one a minute.
const TIGHT: [(&str, &str); 3] = [
    ("throttle.login.burst", "5"),
    ("throttle.login.per_minute", "1"),
    ("http.trusted_proxies", "127.0.0.0/8"),
];
const ME: &str = "203.0.113.9";
const OTHER: &str = "198.51.100.9";

/// Guesses the password of name `number`, with a header as it arrives from a trusted proxy.
async fn log_in(server: &TestServer, header: (&str, String), number: usize) -> Answer {
    let body = json!({"email": format!("name{number}@test.org"), "password": "a leaked password"});
    send(server.request(Method::POST, "/v1/login").header(header.0, header.1).json(&body)).await
}

/// Guesses once with each of `headers`, each time at another name, and returns how many guesses were checked.
async fn checked(server: &TestServer, headers: impl Iterator<Item = (&'static str, String)>) -> usize {
    let mut checked = 0;
    for (number, header) in headers.enumerate() {
        let answer = log_in(server, header, number).await;
        assert!([401, 429].contains(&answer.status.as_u16()), "{answer:?}");
        checked += usize::from(answer.status.as_u16() == 401);
    }
    checked
}

#[tokio::test]
async fn lies_in_forwarding_headers_do_not_change_who_i_am() {
    let server = TestServer::with(&TIGHT);
    let lies = (0..30).map(|n| {
        let lie = match n % 6 {
            0 => format!("10.0.0.{n}"),
            1 => format!("[2001:db8::{n}]:80, unknown, _hidden"),
            2 => String::from("\"\"\"),,,;;for=for=;="),
            3 => vec![format!("127.0.0.{n}"); 500].join(", "),
            4 => format!("::ffff:127.0.0.{n}"),
            _ => format!("127.0.0.1:{n}"),
        };
        // The proxy appends the address it has seen, in one of the forms that proxies use.
        let seen = ["203.0.113.9", "::ffff:203.0.113.9", "203.0.113.9:4711"][n % 3];
        ("x-forwarded-for", format!("{lie}, {seen}"))
    });
    assert_eq!(checked(&server, lies).await, 5);
    // The other header is not read: a proxy that does not know it passes on what the client wrote.
    let other = (0..10).map(|n| ("forwarded", format!("for=198.51.100.{n}")));
    assert_eq!(checked(&server, other).await, 5);
    // A header that is too long ends the request, and no guess is made.
    let long = vec!["127.0.0.1"; 10_000].join(",");
    let request = server.request(Method::POST, "/v1/login").header("x-forwarded-for", long);
    let answer = request.json(&json!({"email": "a@test.org", "password": "x"})).send().await.unwrap();
    assert!(answer.status().is_client_error(), "{answer:?}");
}

/// Returns the settings of all limits as they are by default, which other tests set high.
fn defaults() -> Vec<(&'static str, &'static str)> {
    let limits = portcullis::config::keys::all().filter(|key| key.name.starts_with("throttle."));
    let rates = limits.filter(|key| key.name.ends_with(".burst") || key.name.ends_with(".per_minute"));
    rates.map(|key| (key.name, key.default)).collect()
}

/// I send requests of each class until I am refused, and go on as fast as the rate allows.
#[tokio::test]
async fn each_class_has_its_burst_and_its_rate() {
    let server = TestServer::with(&defaults());
    let body = json!({"email": "nobody@test.org", "password": "one wrong password", "token": "pcm_x"});
    let field = |names: &[&str]| -> Value { names.iter().map(|name| (*name, body[*name].clone())).collect() };
    for (class, path, fields, burst, per_minute) in [
        ("login", "/v1/login", field(&["email", "password"]), 20, 20),
        ("signup", "/v1/signup", json!({"email": "nobody@test.org", "password": "short"}), 10, 10),
        ("refresh", "/v1/refresh", json!({"refresh_token": "pcr_x"}), 120, 240),
        ("forgot", "/v1/password/forgot", field(&["email"]), 10, 10),
        ("reset", "/v1/password/reset", json!({"token": "pcm_x", "new_password": "x"}), 20, 20),
        ("verify", "/v1/email/verify", field(&["token"]), 20, 20),
        ("unlock", "/v1/unlock", field(&["token"]), 20, 20),
        ("advice", "/v1/password/check", field(&["email", "password"]), 60, 60),
    ] {
        let is_served = async || {
            let answer = server.post(path, fields.clone()).await;
            assert!(
                answer.header("ratelimit-policy").starts_with(&format!("\"{class}\";q={burst};")),
                "{answer:?}"
            );
            answer.body["code"] != json!("too_many_requests")
        };
        for number in 0..burst {
            assert!(is_served().await, "{class}: {number}");
        }
        assert!(!is_served().await, "{class}");
        // A lock of the name is another refusal, and one password counts once.
        for _ in 0..3 {
            server.clock.advance(Duration::from_mins(1) / per_minute);
            assert!(is_served().await, "{class}");
            assert!(!is_served().await, "{class}");
        }
    }
    // Nobody waits until a rejected request is charged, so a few more may pass.
    let rejected = async || server.get_as("/v1/me", "garbage").await.status.as_u16() == 401;
    let mut passed = 0;
    while rejected().await {
        passed += 1;
    }
    assert!((120..=125).contains(&passed), "{passed}");
    server.clock.advance(Duration::from_secs(5));
    let mut passed = 0;
    while rejected().await {
        passed += 1;
    }
    assert!((20..=25).contains(&passed), "{passed}");
}

/// A form asks for advice at every key, and I behind the same address ask without end. Users change their passwords all the
/// same.
#[tokio::test]
async fn a_form_that_asks_at_every_key_uses_up_nothing_else() {
    const NAME: &str = "ada@test.org";
    let server = TestServer::with(&defaults());
    server.account(NAME).await;
    let (access, _) = server.tokens(NAME).await;
    let mut judged = 0;
    while server.post("/v1/password/check", json!({"password": "a"})).await.status.as_u16() == 200 {
        judged += 1;
    }
    assert_eq!(judged, 60);
    // A wrong password each time, since one network may ask for the same often.
    for left in (0..20).rev() {
        let body = json!({"password": format!("wrong {left}")});
        let answer = server.post_as("/v1/reauthenticate", &access, body).await;
        assert!(answer.header("ratelimit").starts_with(&format!("\"check\";r={left};")), "{answer:?}");
    }
    let refused = server.post_as("/v1/reauthenticate", &access, json!({"password": "wrong"})).await;
    assert_eq!(refused.problem(), (429, "too_many_requests"));
}

#[tokio::test]
async fn addresses_of_one_owner_share_the_limit_of_their_wider_network() {
    let server = TestServer::with(&TIGHT);
    // A /48 has 65,536 networks of /64, and may do sixteen times what one client may. Each request tries another name,
    // so from the forty-first on the whole /48 is suspected of stuffing and pays eightfold.
    let v6 = (0..200).map(|n| ("x-forwarded-for", format!("2001:db8:7:{n:x}00::1")));
    assert_eq!(checked(&server, v6).await, 41 + (5 * 16 - 41) / 8);
    let v4 = (0..200).map(|n| ("x-forwarded-for", format!("203.0.113.{n}")));
    assert_eq!(checked(&server, v4).await, 5 * 8);
}

#[tokio::test]
async fn a_success_with_my_own_account_does_not_pay_for_guesses_at_others() {
    let server = TestServer::with(&TIGHT);
    server.account("mallory@test.org").await;
    let mut guesses = 0;
    for number in 0..20 {
        let own = json!({"email": "mallory@test.org", "password": PASSWORD});
        let request = server.request(Method::POST, "/v1/login").header("x-forwarded-for", ME);
        request.json(&own).send().await.unwrap();
        let guess = log_in(&server, ("x-forwarded-for", ME.to_owned()), number).await;
        guesses += usize::from(guess.status.as_u16() == 401);
    }
    assert_eq!(guesses, 5);
}

#[tokio::test]
async fn rate_limit_headers_are_the_same_for_known_and_unknown_names() {
    let server = TestServer::with(&TIGHT);
    server.account("name0@test.org").await;
    let mut seen = Vec::new();
    for (number, host) in [(0, 1), (1, 2)] {
        let mut headers = Vec::new();
        for _ in 0..6 {
            let from = format!("203.0.{host}.1");
            let answer = log_in(&server, ("x-forwarded-for", from), number).await;
            let names = ["ratelimit-policy", "ratelimit", "retry-after"];
            headers.push(names.map(|name| answer.header(name).to_owned()));
        }
        assert_eq!(headers[0], ["\"login\";q=5;w=300", "\"login\";r=4;t=300", ""]);
        assert_eq!(headers[5], ["\"login\";q=5;w=300", "\"login\";r=0;t=60", "60"]);
        seen.push(headers);
    }
    assert_eq!(seen[0], seen[1]);
}

/// Returns what the checklist has noticed while the server ran.
async fn findings(server: &TestServer) -> Value {
    server.operated(json!({"operation": "findings"})).await["items"].take()
}

/// A proxy that the configuration forgets makes all clients one. A client that sends the header itself must not be
/// taken for such a proxy.
#[tokio::test]
async fn a_forgotten_proxy_is_found_and_no_client_is_mistaken_for_one() {
    let server = TestServer::start();
    let request = async |forwarded: bool| {
        let request = server.request(Method::POST, "/v1/refresh").json(&json!({"refresh_token": "x"}));
        let request = if forwarded { request.header("x-forwarded-for", ME) } else { request };
        request.send().await.unwrap();
    };
    for number in 0..150 {
        request(number % 10 != 0).await;
    }
    assert_eq!(findings(&server).await, json!([]));
    // Requests without a credential show it too. Probes are asked past the proxy.
    request(false).await;
    for _ in 0..20 {
        send(server.request(Method::GET, "/v1/me").header("x-forwarded-for", ME)).await;
        server.get("/healthz").await;
    }
    let found = findings(&server).await;
    assert_eq!(found[0]["key"], json!("http.trusted_proxies"));
    // The remedy can be pasted: it is a value that the setting takes.
    let fix = found[0]["fix"].as_str().unwrap();
    let network = fix.split('"').nth(1).unwrap();
    assert_eq!(network, "127.0.0.1");
    TestServer::with(&[("http.trusted_proxies", network)]);
}

/// Makes eight guesses from `address` and returns how many were checked. Each is at another name, since a locked name
/// would refuse as well.
async fn guesses_of(server: &TestServer, address: &str) -> usize {
    static NAMES: AtomicUsize = AtomicUsize::new(1000);
    let mut checked = 0;
    for _ in 0..8 {
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let answer = log_in(server, ("x-forwarded-for", address.to_owned()), number).await;
        checked += usize::from(answer.status.as_u16() == 401);
    }
    checked
}

#[tokio::test]
async fn a_restart_in_order_neither_gives_guesses_back_nor_takes_any() {
    let server = TestServer::with(&TIGHT);
    assert_eq!(guesses_of(&server, ME).await, 5);
    let server = server.restart();
    assert_eq!(guesses_of(&server, ME).await, 0);
    assert_eq!(guesses_of(&server, OTHER).await, 5);
    // Guesses spent before the first restart are known after the second.
    let server = server.restart();
    assert_eq!(guesses_of(&server, ME).await, 0);
    assert_eq!(guesses_of(&server, OTHER).await, 0);
    server.clock.advance(Duration::from_mins(2));
    let server = server.restart();
    assert_eq!(guesses_of(&server, ME).await, 2);
}

/// A change of the file in which the limiter is kept.
type Damage = fn(&Path);

const DAMAGES: [(&str, Damage); 5] = [
    ("missing", |file| std::fs::remove_file(file).unwrap()),
    ("empty", |file| std::fs::write(file, "").unwrap()),
    ("cut", |file| {
        let bytes = std::fs::read(file).unwrap();
        std::fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
    }),
    ("damaged", |file| {
        let mut bytes = std::fs::read(file).unwrap();
        bytes[4096 + 3] ^= 1;
        std::fs::write(file, bytes).unwrap();
    }),
    ("of a newer version", |file| {
        let mut bytes = std::fs::read(file).unwrap();
        bytes[14] = 2;
        let crc = crc32c::crc32c(&bytes[12..4096]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(file, bytes).unwrap();
    }),
];

#[tokio::test]
async fn without_its_file_the_limiter_starts_with_every_network_half_spent() {
    let mut server = TestServer::with(&TIGHT);
    for (what, damage) in DAMAGES {
        server.clock.advance(Duration::from_hours(1));
        guesses_of(&server, ME).await;
        server = server.restart_after(|dir| damage(&dir.join("throttle.bin")));
        assert_eq!(guesses_of(&server, ME).await, 2, "{what}");
        assert_eq!(guesses_of(&server, OTHER).await, 2, "{what}");
    }
}

#[tokio::test]
async fn an_older_file_of_the_limiter_counts_and_others_start_half_spent() {
    let server = TestServer::with(&TIGHT);
    assert_eq!(guesses_of(&server, ME).await, 5);
    let mut older = Vec::new();
    let server = server.restart_after(|dir| older = std::fs::read(dir.join("throttle.bin")).unwrap());
    server.clock.advance(Duration::from_secs(150));
    assert_eq!(guesses_of(&server, ME).await, 2);
    assert_eq!(guesses_of(&server, OTHER).await, 5);
    let server = server.restart_after(|dir| std::fs::write(dir.join("throttle.bin"), &older).unwrap());
    // Two guesses are forgotten with the newer file, and no more; those of the other network are halved.
    assert_eq!(guesses_of(&server, ME).await, 2);
    assert_eq!(guesses_of(&server, OTHER).await, 2);
}

/// I send bodies that cannot be read to endpoints that charge nobody for the others.
#[tokio::test]
async fn a_body_that_cannot_be_read_is_charged_where_good_ones_are_not() {
    let limits = [("throttle.rejected.burst", "5"), ("throttle.rejected.per_minute", "1")];
    let server = TestServer::with(&[&limits[..], &[("token.access_ttl_secs", "3600")]].concat());
    server.account("ada@test.org").await;
    let (access, _) = server.tokens("ada@test.org").await;
    for (method, path) in [
        (Method::PATCH, "/v1/me"),
        (Method::POST, "/v1/logout"),
        (Method::DELETE, "/v1/devices"),
        (Method::DELETE, "/v1/sessions/00000000000000000000000000000000"),
    ] {
        let mut statuses = Vec::new();
        for _ in 0..8 {
            let request = server.request(method.clone(), path).bearer_auth(&access);
            let request = request.header("content-type", "application/json").body("{");
            statuses.push(send(request).await.status.as_u16());
        }
        assert_eq!(statuses, [400, 400, 400, 400, 400, 429, 429, 429], "{method} {path}");
        // Good requests of the same network are served.
        let good = server.patch_as("/v1/me", &access, json!({"new_device_mail": true})).await;
        assert_eq!(good.status.as_u16(), 200);
        server.clock.advance(Duration::from_mins(6));
    }
}
