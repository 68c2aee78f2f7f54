//! Filling the disk: I send requests that are refused, as fast as the wire takes them, so that what is written about
//! each of them fills the disk and nobody can log in.
//!
//! Bound: at most two bytes a refused request, in the log of security events and the log of the process together, from
//! one network or from as many as I like.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::support::process::{Process, run, serve};
use crate::support::values::address;
use crate::support::{ORIGIN, PASSWORD, TestServer, send};

/// Requests of one flood.
const REQUESTS: u32 = 20_000;
/// Connections that send them.
const CONNECTIONS: u32 = 4;
/// Requests that are sent before their answers are read.
const PIPELINED: usize = 50;

/// A server in a process of its own, and the files in which it writes what happens.
struct Watched {
    process: Process,
    dir: tempfile::TempDir,
}

impl Watched {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command: Command = serve(&dir.path().join("data"));
        // The levels of a server that nobody has configured.
        command.env_remove("RUST_LOG");
        command.env("PORTCULLIS__HTTP__TRUSTED_PROXIES", "127.0.0.1/32");
        let (out, err) = (dir.path().join("stdout"), dir.path().join("stderr"));
        Self { process: Process::spawn_into(command, &out, &err), dir }
    }

    /// Returns how many bytes are in the log of security events and in the log of the process.
    fn written(&self) -> u64 {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let events = std::fs::read_dir(self.dir.path().join("data/audit")).unwrap();
        let events: u64 = events.map(|entry| size(&entry.unwrap().path())).sum();
        events + size(&self.dir.path().join("stdout")) + size(&self.dir.path().join("stderr"))
    }

    /// Sends [`REQUESTS`] requests, each with the number it gets from `request`, and asserts that every one of them is
    /// answered with `status` or 429, and that the server wrote at most two bytes for each, a stop in order included.
    fn flood(mut self, status: &str, request: impl Fn(u32) -> String + Sync) {
        let before = self.written();
        let address = self.process.url.strip_prefix("http://").unwrap().to_owned();
        std::thread::scope(|scope| {
            for connection in 0..CONNECTIONS {
                let (address, request) = (&address, &request);
                scope.spawn(move || {
                    let each = REQUESTS / CONNECTIONS;
                    let numbers = connection * each..(connection + 1) * each;
                    pipeline(address, numbers.map(request), &[status, "429"]);
                });
            }
        });
        assert_eq!(self.process.stop(), Some(0));
        let written = self.written() - before;
        assert!(written <= 2 * u64::from(REQUESTS), "{written} bytes for {REQUESTS} refused requests");
    }
}

/// Sends `requests` over one connection and checks the status of each answer.
fn pipeline(address: &str, requests: impl Iterator<Item = String>, statuses: &[&str]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let requests: Vec<String> = requests.collect();
    let mut answers = String::new();
    for batch in requests.chunks(PIPELINED) {
        stream.write_all(batch.concat().as_bytes()).unwrap();
        let mut seen = 0;
        while seen < batch.len() {
            let mut bytes = [0; 16_384];
            let read = stream.read(&mut bytes).unwrap();
            assert!(read > 0, "the server closed the connection after {answers:?}");
            answers.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
            // Every body of a refusal ends its own answer.
            while let Some((answer, rest)) = split_answer(&answers) {
                let status = answer.split(' ').nth(1).unwrap();
                assert!(statuses.contains(&status), "{answer}");
                seen += 1;
                answers = rest.to_owned();
            }
        }
    }
}

/// Splits the first whole answer off `text`.
fn split_answer(text: &str) -> Option<(&str, &str)> {
    let head = text.find("\r\n\r\n")? + 4;
    let length = text[..head].lines().find_map(|line| line.strip_prefix("content-length: "));
    let end = head + length.map_or(0, |length| length.parse::<usize>().unwrap());
    text.split_at_checked(end)
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

#[test]
fn garbage_tokens_of_one_network_write_next_to_nothing() {
    let server = Watched::start();
    server
        .flood("401", |_| String::from("GET /v1/me HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\n\r\n"));
}

#[test]
fn garbage_tokens_of_ever_new_networks_write_next_to_nothing() {
    let server = Watched::start();
    server.flood("401", |number| {
        let from = address(number);
        format!(
            "GET /v1/me HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\nx-forwarded-for: {from}\r\n\r\n"
        )
    });
}

#[test]
fn log_ins_of_another_origin_write_next_to_nothing() {
    let server = Watched::start();
    let body = json!({"email": "ada@test.org", "password": PASSWORD, "mode": "cookie"}).to_string();
    server.flood("403", |number| {
        let headers = format!("origin: http://evil.test\r\nx-forwarded-for: {}\r\n", address(number));
        post("/v1/login", &headers, &body)
    });
}

#[test]
fn log_ins_to_a_locked_name_write_next_to_nothing() {
    let server = Watched::start();
    let body = json!({"email": "ada@test.org", "password": "not the password at all"}).to_string();
    // Each wrong password counts once, so I lock the name with several.
    let address_of_server = server.process.url.strip_prefix("http://").unwrap().to_owned();
    let guesses = (0..6).map(|number| {
        let guess = json!({"email": "ada@test.org", "password": format!("wrong password {number}")});
        post("/v1/login", "x-forwarded-for: 10.0.0.1\r\n", &guess.to_string())
    });
    pipeline(&address_of_server, guesses, &["401", "429"]);
    server.flood("429", |number| {
        post("/v1/login", &format!("x-forwarded-for: {}\r\n", address(number)), &body)
    });
}

/// I ask for links from ever new networks: for a name whose mails are used up, and for names that nobody has. Nothing is
/// sent, but each request is answered alike, and so has an entry written.
#[test]
fn requests_for_links_that_are_not_sent_do_not_fill_the_journal() {
    let mut server = Watched::start();
    let address_of_server = server.process.url.strip_prefix("http://").unwrap().to_owned();
    let requests = (0..REQUESTS / 2).map(|number| {
        let name = if number % 2 == 0 { "ada".into() } else { format!("nobody{number}") };
        let body = json!({"email": format!("{name}@test.org")}).to_string();
        post("/v1/password/forgot", &format!("x-forwarded-for: {}\r\n", address(number)), &body)
    });
    pipeline(&address_of_server, requests, &["202"]);
    assert_eq!(server.process.stop(), Some(0));
    let verified = run(&["data", "verify", "--json"], &server.dir.path().join("data"));
    let sequence = &serde_json::from_str::<serde_json::Value>(&verified.text).unwrap()["sequence"];
    let entries = u32::try_from(sequence.as_u64().unwrap()).unwrap();
    // Two for each that is written.
    assert!((1000..REQUESTS / 2).contains(&entries), "{entries} entries");
}

#[test]
fn malformed_requests_write_next_to_nothing() {
    const CONNECTIONS: usize = 2000;
    let mut server = Watched::start();
    let before = server.written();
    let address = server.process.url.strip_prefix("http://").unwrap().to_owned();
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "a".repeat(140_000));
    let malformed = [
        "\r\n\0\0\0 nonsense\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nbad header\r\n\r\n",
        &long,
    ];
    for number in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // The server may have closed the connection before it read all of it.
        let _ = stream.write_all(malformed[number % 4].as_bytes());
        let _ = stream.read(&mut [0; 1024]);
    }
    assert_eq!(server.process.stop(), Some(0));
    let written = server.written() - before;
    assert!(written <= 2 * CONNECTIONS as u64, "{written} bytes for {CONNECTIONS} malformed requests");
}

/// Returns how often `event` happened, by the metrics.
async fn count(server: &TestServer, access: &str, event: &str) -> u64 {
    server.figure(access, &format!("events_total{{event=\"{event}\"}}")).await.unwrap_or(0)
}

#[tokio::test]
async fn what_is_not_written_is_counted_and_summed_up_in_one_line() {
    let server = TestServer::start();
    let access = server.operator_account("metrics@test.org", &["metrics"]).await;
    for _ in 0..50 {
        assert_eq!(server.get_as("/v1/me", "garbage").await.problem(), (401, "unauthenticated"));
    }
    assert_eq!(count(&server, &access, "token.rejected").await, 50);
    // A stop writes the sums that are due at the end of the minute.
    let server = server.restart();
    let audit = std::fs::read_dir(server.data_dir().join("audit")).unwrap();
    let text: String = audit.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rejected: Vec<_> = lines.iter().filter(|line| line["event"] == "token.rejected").collect();
    assert_eq!(rejected.len(), 6);
    assert!(rejected.iter().all(|line| line["network"] == "127.0.0.1/32"), "{rejected:?}");
    assert_eq!(rejected[5]["folded"], 45);
}

/// I go on long after I am refused. Nobody reads a line for each request, and nobody misses that it happened.
#[tokio::test]
async fn requests_over_a_limit_are_summed_up_in_one_line() {
    let settings = [("throttle.forgot.burst", "3"), ("throttle.forgot.per_minute", "1")];
    let server = TestServer::with(&settings);
    let mut refused = 0;
    for _ in 0..40 {
        refused += u64::from(server.forgot("nobody@test.org").await.status.as_u16() == 429);
    }
    assert_eq!(refused, 37);
    // A stop writes the sums that are due at the end of the minute.
    let server = server.restart();
    let audit = std::fs::read_dir(server.data_dir().join("audit")).unwrap();
    let text: String = audit.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let sums: Vec<_> = lines.filter(|line| line["event"] == "request.throttled").collect();
    assert_eq!(sums.len(), 1, "{sums:?}");
    assert_eq!(sums[0]["folded"], refused);
}

#[tokio::test]
async fn a_network_that_sends_garbage_is_refused_and_its_honest_users_are_served() {
    let settings = [("throttle.rejected.burst", "10"), ("throttle.rejected.per_minute", "1")];
    let server = TestServer::with(&settings);
    server.account("ada@test.org").await;
    let (before, _) = server.tokens("ada@test.org").await;
    let mut statuses = Vec::new();
    for number in 0..30 {
        statuses.push(server.get_as("/v1/me", &format!("garbage-{number}")).await.status.as_u16());
    }
    assert_eq!(statuses[..9], [401; 9]);
    assert_eq!(statuses[15..], [429; 15]);
    // Signed with another key, as mine, and in the form of an access token.
    let mut parts: Vec<&str> = before.split('.').collect();
    parts[2] = "AAAA";
    let forged = server.get_as("/v1/me", &parts.join(".")).await;
    assert!([401, 429].contains(&forged.status.as_u16()), "{forged:?}");

    // Credentials that the server has not seen on any request before.
    assert_eq!(server.get_as("/v1/me", &before).await.status, 200);
    let (after, _) = server.tokens("ada@test.org").await;
    assert_eq!(server.get_as("/v1/me", &after).await.status, 200);
    let opened = server.log_in_for_cookie("ada@test.org").await;
    let cookie = opened.session_cookie();
    assert_eq!(server.get_with_cookie("/v1/me", &cookie).await.status, 200);
    // A token that has expired gets the answer that makes its client refresh it.
    server.clock.advance(Duration::from_hours(1));
    for number in 0..30 {
        server.get_as("/v1/me", &format!("garbage-{number}")).await;
    }
    assert_eq!(server.get_as("/v1/me", &after).await.problem(), (401, "unauthenticated"));
}

#[tokio::test]
async fn forged_origins_are_charged_and_the_own_page_goes_on() {
    let settings = [("throttle.rejected.burst", "10"), ("throttle.rejected.per_minute", "1")];
    let server = TestServer::with(&settings);
    server.account("ada@test.org").await;
    let body = json!({"email": "ada@test.org", "password": PASSWORD, "mode": "cookie"});
    let mut statuses = Vec::new();
    for _ in 0..30 {
        let request = server.request(reqwest::Method::POST, "/v1/login").header("origin", "http://evil.test");
        statuses.push(send(request.json(&body)).await.status.as_u16());
    }
    assert_eq!(statuses[..9], [403; 9]);
    assert_eq!(statuses[15..], [429; 15]);
    let request = server.request(reqwest::Method::POST, "/v1/login").header("origin", ORIGIN);
    assert_eq!(send(request.json(&body)).await.status, 200);
}

/// The limits of a network as they are by default, which other tests set high.
const DEFAULT_LIMITS: [(&str, &str); 22] = [
    ("throttle.login.burst", "20"),
    ("throttle.login.per_minute", "20"),
    ("throttle.signup.burst", "10"),
    ("throttle.signup.per_minute", "10"),
    ("throttle.refresh.burst", "120"),
    ("throttle.refresh.per_minute", "240"),
    ("throttle.forgot.burst", "10"),
    ("throttle.forgot.per_minute", "10"),
    ("throttle.reset.burst", "20"),
    ("throttle.reset.per_minute", "20"),
    ("throttle.verify.burst", "20"),
    ("throttle.verify.per_minute", "20"),
    ("throttle.unlock.burst", "20"),
    ("throttle.unlock.per_minute", "20"),
    ("throttle.check.burst", "20"),
    ("throttle.check.per_minute", "20"),
    ("throttle.rejected.burst", "120"),
    ("throttle.rejected.per_minute", "240"),
    ("throttle.change.burst", "60"),
    ("throttle.change.per_minute", "60"),
    ("throttle.advice.burst", "60"),
    ("throttle.advice.per_minute", "60"),
];

/// Every store that the page of the log of security events lists: how much of it I can cause to be written.
#[derive(Debug)]
struct Stores {
    /// Bytes of the log of security events.
    events: u64,
    /// Bytes of journal entries.
    journal: u64,
    /// Mails that left, or wait in the outbox.
    mails: usize,
}

impl Stores {
    async fn of(server: &TestServer, access: &str) -> Self {
        let figure = async |name: &str| server.figure(access, name).await.unwrap();
        let events = std::fs::read_dir(server.data_dir().join("audit")).unwrap();
        let events = events.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        let waiting = figure("mail_waiting").await as usize;
        let mails = server.mails.lock().len() + waiting;
        Self { events, journal: figure("journal_body_bytes_total").await, mails }
    }
}

/// Every endpoint that asks for no credential, with a body that goes as far as a stranger gets.
fn endpoints(number: usize) -> Vec<(&'static str, serde_json::Value)> {
    let email = format!("someone-{number}@test.org");
    let password = format!("{PASSWORD} {number}");
    vec![
        ("/v1/login", json!({"email": "ada@test.org", "password": password})),
        ("/v1/login", json!({"email": email, "password": password})),
        ("/v1/login", json!({"email": email, "password": password, "mode": "cookie"})),
        ("/v1/signup", json!({"email": email, "password": password})),
        ("/v1/signup", json!({"email": "ada@test.org", "password": password})),
        ("/v1/email/verify", json!({"token": "pcm_garbage"})),
        ("/v1/email/verify/resend", json!({"email": "ada@test.org"})),
        ("/v1/email/change/confirm", json!({"token": "pcm_garbage", "email": "ada@test.org"})),
        ("/v1/email/change/undo", json!({"token": "pcm_garbage", "email": "ada@test.org"})),
        ("/v1/refresh", json!({"refresh_token": "pcr_garbage"})),
        ("/v1/logout", json!({"refresh_token": "pcr_garbage"})),
        ("/v1/password/forgot", json!({"email": "ada@test.org"})),
        ("/v1/password/forgot", json!({"email": email})),
        ("/v1/password/reset", json!({"token": "pcm_garbage", "new_password": password})),
        ("/v1/password/check", json!({"password": password})),
        ("/v1/unlock", json!({"token": "pcm_garbage"})),
        ("/v1/nowhere", json!({})),
    ]
}

#[tokio::test]
async fn all_endpoints_together_write_within_the_bounds_of_one_network() {
    let server = TestServer::with(&DEFAULT_LIMITS);
    let access = server.operator_account("metrics@test.org", &["metrics"]).await;
    server.account("ada@test.org").await;
    let before = Stores::of(&server, &access).await;
    for number in 0..60 {
        for (path, body) in endpoints(number) {
            let answer = server.post(path, body).await;
            let is_unknown = answer.status == reqwest::StatusCode::NOT_FOUND;
            assert_eq!(is_unknown, path == "/v1/nowhere", "{path}: {}", answer.body);
        }
        server.get_as("/v1/me", "garbage").await;
        server.get_with_cookie("/v1/me", "portcullis_session=pcs_garbage").await;
    }
    // The log is written within a moment.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let after = Stores::of(&server, &access).await;
    // A thousand requests, of which the limits of the network admit 100 that write. Each of these makes a few entries.
    let (events, journal) = (after.events - before.events, after.journal - before.journal);
    assert!(events <= 20_000, "{events} bytes of security events");
    assert!(journal <= 150_000, "{journal} bytes of journal entries");
    assert!(after.mails - before.mails <= 30, "{} mails", after.mails - before.mails);
}

/// I have an account, and change what needs no password, from ever new networks, as fast as I am served.
#[tokio::test]
async fn the_holder_of_an_account_writes_within_the_bounds_of_a_class() {
    let server = TestServer::behind_proxy_with(&DEFAULT_LIMITS);
    let access = server.operator_account("metrics@test.org", &["metrics"]).await;
    server.account("ada@test.org").await;
    let (mine, _) = server.tokens("ada@test.org").await;
    let journal = async || server.figure(&access, "journal_body_bytes_total").await.unwrap();
    let before = journal().await;
    let mut statuses = std::collections::BTreeMap::<(usize, u16), usize>::new();
    for number in 0..400 {
        let asked = |method: reqwest::Method, path: &str| {
            server
                .request(method, path)
                .bearer_auth(&mine)
                .header("x-forwarded-for", format!("10.{}.{}.1", number / 200, number % 200))
        };
        let wishes = [
            asked(reqwest::Method::DELETE, "/v1/devices"),
            asked(reqwest::Method::PATCH, "/v1/me").json(&json!({"new_device_mail": number % 2 == 1})),
            asked(reqwest::Method::POST, "/v1/logout").json(&json!({"scope": "others"})),
        ];
        for (wish, request) in wishes.into_iter().enumerate() {
            let status = request.send().await.unwrap().status().as_u16();
            *statuses.entry((wish, status)).or_default() += 1;
        }
    }
    let written = journal().await - before;
    // One end of the device of the log-in, and as many changes of the setting as the class admits; the clock stands still.
    let expected = [((0, 204), 400), ((1, 200), 60), ((1, 429), 340), ((2, 204), 400)];
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), expected);
    assert!(written <= 60_000, "{written} bytes of journal entries");
    let refused = server.patch_as("/v1/me", &mine, json!({"new_device_mail": false})).await;
    assert_eq!(refused.problem(), (429, "too_many_requests"));
    assert_eq!(refused.text("detail"), "Too many changes to this account; wait, then try again.");
    // What is refused to me is open to others, and to me after a second.
    server.clock.advance(Duration::from_secs(1));
    let again = server.patch_as("/v1/me", &mine, json!({"new_device_mail": true})).await;
    assert_eq!(again.status.as_u16(), 200, "{}", again.body);
    assert!(again.header("ratelimit-policy").starts_with("\"change\";q=60;"), "{again:?}");
}
