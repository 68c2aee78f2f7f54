//! Brute force: I guess a password, one by one or many at once, from one network or many, or only to lock the owner
//! out.

use std::sync::Arc;
use std::time::Duration;

use portcullis::config::{Config, Reader};
use portcullis::engine::{Engine, Fault};
use portcullis::flow::admin::{self, Admin, New};
use portcullis::flow::client::Client;
use portcullis::flow::log_in::{self, Mode};
use portcullis::flow::refusal::{FlowError, Refusal};
use portcullis::password::stats::Stats;
use portcullis::registry::refresh::Audience;
use portcullis::server::{self, Running};
use portcullis::system::clock::{Clock, Timestamp};
use portcullis::system::fail_stop::FailStop;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, TestServer, send, wait_until};

/// Returns the parts of an answer that must not depend on the name: status, body and headers, without those that differ
/// between any two requests.
fn comparable(answer: &Answer) -> (StatusCode, Value, Vec<String>) {
    let mut body = answer.body.clone();
    body["instance"] = json!("");
    body["request_id"] = json!("");
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| !["date", "x-request-id", "ratelimit"].contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    (answer.status, body, headers)
}

#[tokio::test]
async fn five_guesses_lock_a_known_and_an_unknown_name_alike_over_restarts() {
    let mut server = TestServer::start();
    server.account("ada@test.org").await;
    let mut answers = Vec::new();
    for email in ["ada@test.org", "nobody@test.org"] {
        let mut seen = Vec::new();
        for guess in 0..7 {
            seen.push(comparable(&server.log_in(email, &format!("guess {guess}")).await));
        }
        let statuses: Vec<u16> = seen.iter().map(|(status, ..)| status.as_u16()).collect();
        assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429], "{email}");
        answers.push(seen);
    }
    assert_eq!(answers[0], answers[1]);
    for _ in 0..2 {
        // The right password is refused as well, or the lockout would tell me that I have guessed it.
        let locked = server.log_in("ada@test.org", PASSWORD).await;
        assert_eq!(locked.problem(), (429, "too_many_attempts"));
        assert_eq!(locked.header("retry-after"), "60");
        server = server.restart();
    }
    server.clock.advance(Duration::from_mins(1));
    assert_eq!(server.log_in("ada@test.org", PASSWORD).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_attacker_cannot_lock_the_owner_out_of_a_known_device() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let device = server.log_in("ada@test.org", PASSWORD).await.header("x-device-token").to_owned();
    for guess in 0..20 {
        server.log_in("ada@test.org", &format!("guess {guess}")).await;
    }
    assert_eq!(server.log_in_on("ada@test.org", PASSWORD, &device).await.status, StatusCode::OK);
    assert_eq!(server.log_in("ada@test.org", PASSWORD).await.problem(), (429, "too_many_attempts"));
    // A device is known for its own name alone.
    server.account("bob@test.org").await;
    for guess in 0..5 {
        server.log_in("bob@test.org", &format!("guess {guess}")).await;
    }
    let bobs = server.log_in_on("bob@test.org", PASSWORD, &device).await;
    assert_eq!(bobs.status, StatusCode::TOO_MANY_REQUESTS);
    let token = server.mailed("ada@test.org", "locked").await;
    assert_eq!(server.post("/v1/unlock", json!({"token": token})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.log_in("ada@test.org", PASSWORD).await.status, StatusCode::OK);
}

#[tokio::test]
async fn parallel_guesses_get_no_further_than_guesses_in_a_row() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let mut tasks = tokio::task::JoinSet::new();
    for guess in 0..60 {
        let body = json!({"email": "ada@test.org", "password": format!("guess {guess}")});
        tasks.spawn(send(server.request(Method::POST, "/v1/login").json(&body)));
    }
    let answers = tasks.join_all().await;
    let checked = answers.iter().filter(|answer| answer.status == StatusCode::UNAUTHORIZED).count();
    assert_eq!(checked, 5);
}

/// An engine whose single thread takes half a second for a hash, so that every job after the first one waits.
struct Slow {
    engine: Arc<Engine>,
    running: Running,
    dir: tempfile::TempDir,
}

impl Slow {
    fn start(clock: Clock, settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = Reader::new();
        for (key, value) in [
            ("data_dir", dir.path().to_str().unwrap()),
            ("password.threads", "1"),
            ("password.memory_kib", "262144"),
            ("password.passes", "10"),
            ("mail.console", "false"),
        ]
        .iter()
        .chain(settings)
        {
            reader.plain(key, value, "test");
        }
        let fail_stop = FailStop::new(|why| panic!("{why}"));
        let (engine, running) =
            server::start(Config::from_reader(reader).unwrap(), clock, true, None, &fail_stop).unwrap();
        Self { engine, running, dir }
    }

    /// Begins a log-in from the address `from`.
    fn log_in(
        &self,
        from: &str,
        email: &'static str,
        password: String,
    ) -> tokio::task::JoinHandle<Option<FlowError>> {
        let engine = Arc::clone(&self.engine);
        let client = Client::new(from.parse().unwrap(), "test");
        tokio::task::spawn_local(async move {
            let opened = log_in::log_in(
                &engine,
                &client,
                email,
                &password,
                Mode::Token { audience: Audience::App },
                None,
            )
            .await;
            opened.result.err()
        })
    }

    /// Waits until the state of the hash queue satisfies `is_so`.
    async fn until(&self, is_so: impl Fn(&Stats) -> bool) {
        let stats = || self.engine.services.pool.stats();
        wait_until("the hash queue is as told", async || is_so(&stats())).await;
    }

    async fn stop(self) {
        let Self { engine, running, dir } = self;
        drop(engine);
        tokio::task::spawn_blocking(move || running.stop()).await.unwrap();
        drop(dir);
    }
}

#[actix_web::test]
async fn a_guess_whose_client_hangs_up_before_its_hash_is_neither_judged_nor_charged() {
    let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
    let slow = Slow::start(clock, &[("password.wait_budget_ms", "600000")]);
    let try_it = |email, password| slow.log_in("192.0.2.1", email, password);
    let busy = try_it("nobody@test.org", "a guess of somebody else".into());
    slow.until(|stats| stats.running == 1).await;
    for guess in 0..5 {
        let waiting = try_it("ada@test.org", format!("guess {guess}"));
        slow.until(|stats| stats.queued() == 1).await;
        waiting.abort();
        slow.until(|stats| stats.queued() == 0).await;
    }
    // Only one hash was begun, and it may still be running.
    let stats = slow.engine.services.pool.stats();
    let lane = stats.lanes.iter().max_by_key(|lane| (lane.done, lane.abandoned)).unwrap();
    assert_eq!(lane.done, 1, "{stats:?}");
    assert_eq!(lane.abandoned, 5, "{stats:?}");
    // The five abandoned guesses do not count towards the lockout, so the sixth is not refused: it waits for its hash.
    let sixth = try_it("ada@test.org", "guess 5".into());
    slow.until(|stats| stats.queued() == 1).await;
    assert!(!sixth.is_finished());
    sixth.abort();
    slow.until(|stats| stats.queued() == 0).await;
    drop(busy);
    slow.stop().await;
}

/// The application gives up after a moment and tries again, with the right password on a known device.
#[actix_web::test]
async fn a_log_in_whose_client_hangs_up_during_the_hash_is_settled_and_costs_no_device() {
    let slow = Slow::start(
        Clock::manual(Timestamp::from_secs(1_800_000_000)),
        &[("password.wait_budget_ms", "600000"), ("password.passes", "2")],
    );
    let new = New { email: "ada@test.org", password: Some(PASSWORD), verified: true, ..New::default() };
    admin::create(&slow.engine, &Admin::operator(), new).await.unwrap();
    let client = Client::new("192.0.2.1".parse().unwrap(), "test");
    let log_in = |password: String, device: Option<String>| {
        let (engine, client) = (Arc::clone(&slow.engine), client.clone());
        tokio::task::spawn_local(async move {
            let email = "ada@test.org";
            let mode = Mode::Token { audience: Audience::App };
            log_in::log_in(&engine, &client, email, &password, mode, device.as_deref()).await.result
        })
    };
    let device = log_in(PASSWORD.into(), None).await.unwrap().unwrap().device;
    for _ in 0..6 {
        let given_up = log_in(PASSWORD.into(), device.clone());
        slow.until(|stats| stats.running == 1).await;
        given_up.abort();
        slow.until(|stats| stats.running == 0 && stats.queued() == 0).await;
    }
    // A guesser who gives up during the hash is counted.
    for guess in 0..5 {
        let given_up = log_in(format!("guess {guess}"), None);
        slow.until(|stats| stats.running == 1).await;
        given_up.abort();
        slow.until(|stats| stats.running == 0 && stats.queued() == 0).await;
    }
    let locked = log_in(PASSWORD.into(), None).await.unwrap();
    assert!(matches!(locked, Err(FlowError::Refused(Refusal::Locked { .. }))));
    assert!(log_in(PASSWORD.into(), device).await.unwrap().is_ok());
    slow.stop().await;
}

#[actix_web::test]
async fn a_log_in_that_is_shed_is_not_charged() {
    // The time of a hash is measured by the clock, so it must run.
    let slow = Slow::start(
        Clock::system(),
        &[
            ("password.wait_budget_ms", "1"),
            ("throttle.login.burst", "2"),
            ("throttle.login.per_minute", "1"),
        ],
    );
    let begun = slow.log_in("192.0.2.1", "nobody@test.org", "a guess".into());
    slow.until(|stats| stats.running == 1).await;
    let waiting = slow.log_in("198.51.100.1", "nobody@test.org", "another guess".into());
    slow.until(|stats| stats.queued() == 1).await;
    // Only the lane of networks with recent failures, which is served last, would have room.
    for _ in 0..5 {
        let refused = slow.log_in("203.0.113.1", "ada@test.org", PASSWORD.into()).await.unwrap();
        assert!(matches!(refused, Some(FlowError::Fault(Fault::Shed(_)))), "{refused:?}");
    }
    assert_eq!(slow.engine.services.pool.stats().shed(), 5);
    begun.abort();
    waiting.abort();
    slow.stop().await;
}

#[tokio::test]
async fn one_network_is_throttled_whatever_names_and_headers_it_sends() {
    let server = TestServer::with(&[("throttle.login.burst", "20"), ("throttle.login.per_minute", "20")]);
    let mut passed = 0;
    for n in 0..40 {
        let request =
            server.request(Method::POST, "/v1/login").header("x-forwarded-for", format!("198.51.100.{n}"));
        let body = json!({"email": format!("name{n}@test.org"), "password": "leaked password"});
        let answer = send(request.json(&body)).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.problem(), (429, "too_many_requests"));
            assert_eq!(answer.header("ratelimit-policy"), "\"login\";q=20;w=60");
            assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 3);
        } else {
            passed += 1;
        }
    }
    // After ten names each counts eightfold: the defence against stuffing is at work as well.
    assert_eq!(passed, 12);
}
