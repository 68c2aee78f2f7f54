//! Brute force around the limiter: headers that name another client, addresses without number, a success between
//! failures, a flood that makes the limiter forget, a restart that does.
//!
//! Bound: one client gets its burst and its rate, whatever it writes into headers; a success gives back itself alone.

use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, PASSWORD, TestServer};

const TIGHT: [(&str, &str); 3] = [
    ("throttle.login.burst", "5"),
    ("throttle.login.per_minute", "1"),
    ("http.trusted_proxies", "127.0.0.0/8"),
];

/// A log-in as it arrives from a trusted proxy.
async fn log_in(server: &TestServer, header: (&str, String), number: usize) -> Answer {
    let body = json!({"email": format!("name{number}@test.org"), "password": "a leaked password"});
    let request = server.request(Method::POST, "/v1/login").header(header.0, header.1).json(&body);
    Answer::of(request.send().await.unwrap()).await
}

async fn passed(server: &TestServer, headers: impl Iterator<Item = (&'static str, String)>) -> usize {
    let mut passed = 0;
    for (number, header) in headers.enumerate() {
        let answer = log_in(server, header, number).await;
        assert!([401, 429].contains(&answer.status.as_u16()), "{answer:?}");
        passed += usize::from(answer.status.as_u16() == 401);
    }
    passed
}

#[tokio::test]
async fn what_a_client_writes_into_headers_before_the_proxy_does_not_change_who_it_is() {
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
        // The proxy appends whom it saw, in one of the forms that proxies use.
        let seen = ["203.0.113.9", "::ffff:203.0.113.9", "203.0.113.9:4711"][n % 3];
        ("x-forwarded-for", format!("{lie}, {seen}"))
    });
    assert_eq!(passed(&server, lies).await, 5);
    // The other header is not read: a proxy that does not know it hands on what the client wrote.
    let other = (0..10).map(|n| ("forwarded", format!("for=198.51.100.{n}")));
    assert_eq!(passed(&server, other).await, 5);
    // Beyond what a header may hold at all the request ends there, and no guess is made.
    let long = vec!["127.0.0.1"; 10_000].join(",");
    let request = server.request(Method::POST, "/v1/login").header("x-forwarded-for", long);
    let sent = request.json(&json!({"email": "a@test.org", "password": "x"})).send().await;
    assert!(sent.is_ok_and(|answer| answer.status().is_client_error()));
}

#[tokio::test]
async fn addresses_of_one_owner_share_the_limit_of_their_wider_network() {
    let server = TestServer::with(&TIGHT);
    // A /48 has 65,536 networks of /64; it may do sixteen times what one client may. Each request tries another name, so
    // from the forty-first on it is a suspect as a whole and pays eightfold.
    let v6 = (0..200).map(|n| ("x-forwarded-for", format!("2001:db8:7:{n:x}00::1")));
    assert_eq!(passed(&server, v6).await, 41 + (5 * 16 - 41) / 8);
    let v4 = (0..200).map(|n| ("x-forwarded-for", format!("203.0.113.{n}")));
    assert_eq!(passed(&server, v4).await, 5 * 8);
}

#[tokio::test]
async fn a_success_of_ones_own_does_not_pay_for_guesses_at_others() {
    let server = TestServer::with(&TIGHT);
    server.account("mallory@test.org").await;
    let mut guesses = 0;
    for number in 0..20 {
        let own = json!({"email": "mallory@test.org", "password": PASSWORD});
        let request = server.request(Method::POST, "/v1/login").header("x-forwarded-for", "203.0.113.9");
        request.json(&own).send().await.unwrap();
        let guess = log_in(&server, ("x-forwarded-for", String::from("203.0.113.9")), number).await;
        guesses += usize::from(guess.status.as_u16() == 401);
    }
    assert_eq!(guesses, 5);
}

#[tokio::test]
async fn the_answer_tells_how_the_network_stands_the_same_for_known_and_unknown_names() {
    let server = TestServer::with(&TIGHT);
    server.account("name0@test.org").await;
    let mut told = Vec::new();
    for (number, host) in [(0, 1), (1, 2)] {
        let header = || ("x-forwarded-for", format!("203.0.{host}.1"));
        let mut seen = Vec::new();
        for _ in 0..6 {
            let answer = log_in(&server, header(), number).await;
            seen.push(
                ["ratelimit-policy", "ratelimit", "retry-after"].map(|name| answer.header(name).to_owned()),
            );
        }
        assert_eq!(seen[0], ["\"login\";q=5;w=300", "\"login\";r=4;t=300", ""]);
        assert_eq!(seen[5], ["\"login\";q=5;w=300", "\"login\";r=0;t=60", "60"]);
        told.push(seen);
    }
    assert_eq!(told[0], told[1]);
}

#[tokio::test]
async fn a_forgotten_proxy_is_found_and_a_client_that_sends_the_header_itself_is_not_taken_for_one() {
    use std::io::{BufRead, BufReader, Write};
    let server = TestServer::start();
    let findings = || async {
        let socket = server.data_dir().join("admin.sock");
        let asked = tokio::task::spawn_blocking(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
            writeln!(stream, "{}", json!({"operation": "findings"})).unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            serde_json::from_str::<serde_json::Value>(&line).unwrap()["ok"]["items"].clone()
        });
        asked.await.unwrap()
    };
    let health = |forwarded: bool| {
        let request = server.request(Method::POST, "/v1/refresh").json(&json!({"refresh_token": "x"}));
        if forwarded { request.header("x-forwarded-for", "203.0.113.9").send() } else { request.send() }
    };
    for number in 0..150 {
        health(number % 10 != 0).await.unwrap();
    }
    assert_eq!(findings().await, json!([]));
    for _ in 0..101 {
        health(true).await.unwrap();
    }
    let found = findings().await;
    assert_eq!(found[0]["key"], json!("http.trusted_proxies"));
    assert!(found[0]["fix"].as_str().unwrap().contains("127.0.0.1"), "{found}");
}

/// Guesses of one client that pass, each at another name: a locked one would refuse as well.
async fn guesses_of(server: &TestServer, address: &str) -> usize {
    static NAMES: AtomicUsize = AtomicUsize::new(1000);
    let mut passed = 0;
    for _ in 0..8 {
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let answer = log_in(server, ("x-forwarded-for", address.to_owned()), number).await;
        passed += usize::from(answer.status.as_u16() == 401);
    }
    passed
}

#[tokio::test]
async fn a_restart_in_order_gives_nobody_guesses_back_and_takes_none_from_others() {
    let server = TestServer::with(&TIGHT);
    assert_eq!(guesses_of(&server, "203.0.113.9").await, 5);
    let server = server.restart();
    assert_eq!(guesses_of(&server, "203.0.113.9").await, 0);
    assert_eq!(guesses_of(&server, "198.51.100.9").await, 5);
    // What was spent before the first restart is known after the second.
    let server = server.restart();
    assert_eq!(guesses_of(&server, "203.0.113.9").await + guesses_of(&server, "198.51.100.9").await, 0);
    server.clock.advance(std::time::Duration::from_mins(2));
    let server = server.restart();
    assert_eq!(guesses_of(&server, "203.0.113.9").await, 2);
}

/// What the limiter remembers when something was done to the file that it is kept in.
type Damage = fn(&std::path::Path);

#[tokio::test]
async fn without_what_the_limiter_knew_everybody_begins_half_spent_and_the_server_starts() {
    let damages: [(&str, Damage); 5] = [
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
    let mut server = TestServer::with(&TIGHT);
    for (what, damage) in damages {
        server.clock.advance(std::time::Duration::from_hours(1));
        guesses_of(&server, "203.0.113.9").await;
        server = server.restart_after(|dir| damage(&dir.join("throttle.bin")));
        let guesses = [guesses_of(&server, "203.0.113.9").await, guesses_of(&server, "198.51.100.9").await];
        assert_eq!(guesses, [2, 2], "{what}");
    }
}

#[tokio::test]
async fn a_file_that_an_older_stop_has_left_counts_and_others_begin_half_spent() {
    let server = TestServer::with(&TIGHT);
    assert_eq!(guesses_of(&server, "203.0.113.9").await, 5);
    let mut kept = Vec::new();
    let server = server.restart_after(|dir| kept = std::fs::read(dir.join("throttle.bin")).unwrap());
    server.clock.advance(std::time::Duration::from_secs(150));
    assert_eq!(guesses_of(&server, "203.0.113.9").await, 2);
    assert_eq!(guesses_of(&server, "198.51.100.9").await, 5);
    let server = server.restart_after(|dir| std::fs::write(dir.join("throttle.bin"), &kept).unwrap());
    // Two guesses are forgotten with the newer file, and no more; those of the other are halved.
    assert_eq!(guesses_of(&server, "203.0.113.9").await, 2);
    assert_eq!(guesses_of(&server, "198.51.100.9").await, 2);
}
