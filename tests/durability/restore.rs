//! Backups of the running binary, and what a restore makes of them: an older state in which no client is logged in.

use std::path::Path;
use std::time::Duration;

use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use crate::support::backup::{Directories, back_up, restore, restored};
use crate::support::process::{Process, Ran, log_in, mailed_token, post, run, sign_up};
use crate::support::{PASSWORD, TestServer};

/// Flips one bit of the file `path`.
fn damage(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Signs up `email` and returns the tokens.
async fn open(http: &reqwest::Client, url: &str, email: &str) -> Value {
    let (status, opened) = sign_up(http, url, email).await.unwrap();
    assert_eq!(status, 201, "{opened}");
    opened
}

/// Logs `email` in as a browser does and returns its `cookie` header.
async fn open_with_cookie(http: &reqwest::Client, url: &str, email: &str) -> String {
    let body = json!({"email": email, "password": PASSWORD, "mode": "cookie"});
    let request = http.post(format!("{url}/v1/login")).header("sec-fetch-site", "same-origin").json(&body);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let pair = |cookie: &HeaderValue| cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
    let pairs: Vec<String> = answer.headers().get_all("set-cookie").iter().map(pair).collect();
    pairs.join("; ")
}

/// Returns the status of `/v1/me` for an access token.
async fn me(http: &reqwest::Client, url: &str, opened: &Value) -> u16 {
    let access = opened["access_token"].as_str().unwrap();
    http.get(format!("{url}/v1/me")).bearer_auth(access).send().await.unwrap().status().as_u16()
}

/// Returns the status of a refresh.
async fn refresh(http: &reqwest::Client, url: &str, opened: &Value) -> u16 {
    let body = json!({"refresh_token": opened["refresh_token"]});
    post(http, url, "/v1/refresh", body).await.unwrap().0
}

#[tokio::test]
async fn after_a_restore_everybody_logs_in_again_and_older_credentials_are_dead() {
    let Directories { data, backup, restored, root: _root } = Directories::new();
    let http = reqwest::Client::new();

    // Before the backup Ada holds tokens, a session cookie and a link that resets her password. Bob comes after it.
    let process = Process::start(&data);
    let ada = open(&http, &process.url, "ada@test.org").await;
    let cookie = open_with_cookie(&http, &process.url, "ada@test.org").await;
    let forgot = post(&http, &process.url, "/v1/password/forgot", json!({"email": "ada@test.org"})).await;
    assert_eq!(forgot.unwrap().0, 202);
    let reset_token = mailed_token(&data.join("outbox"), "reset").await;
    back_up(&data, &backup).says("proved by a restore");
    let bob = open(&http, &process.url, "bob@test.org").await;
    assert_eq!(me(&http, &process.url, &ada).await, 200);
    process.kill();

    // A directory in use is not restored over.
    restore(&backup, &[], &data).exits(1);
    restore(&backup, &[], &restored).exits(0).says("timeline 2").says("dead");

    // No credential from before the restore is honoured.
    let process = Process::start(&restored);
    let url = &process.url;
    for opened in [&ada, &bob] {
        assert_eq!(me(&http, url, opened).await, 401);
        assert_eq!(refresh(&http, url, opened).await, 401);
    }
    let session = http.get(format!("{url}/v1/me")).header("cookie", cookie).send().await.unwrap();
    assert_eq!(session.status().as_u16(), 401);
    let reset = json!({"token": reset_token, "new_password": "an entirely different phrase"});
    assert_eq!(post(&http, url, "/v1/password/reset", reset).await.unwrap().0, 400);

    // The account of the backup logs in; the later one does not exist.
    assert_eq!(log_in(&http, url, "ada@test.org", PASSWORD).await, 200);
    assert_eq!(log_in(&http, url, "bob@test.org", PASSWORD).await, 401, "came after the backup");

    // Credentials from after the restore hold, also over another restart.
    let eve = open(&http, url, "eve@test.org").await;
    process.kill();
    let process = Process::start(&restored);
    assert_eq!(refresh(&http, &process.url, &eve).await, 200);
    process.kill();
    run(&["data", "verify"], &restored).exits(0);
}

/// Returns the sequence number that a backup or restore says it has reached.
fn reached(ran: &Ran) -> u64 {
    let rest = ran.text.split("up to sequence ").nth(1).unwrap();
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// Ada signs up, then Bob. Returns the directories with a backup of both, and the sequence number between the two.
async fn ada_then_bob() -> (Directories, u64) {
    let directories = Directories::new();
    let data = &directories.data;
    let http = reqwest::Client::new();
    let process = Process::start(data);
    open(&http, &process.url, "ada@test.org").await;
    let with_ada = data.join("here");
    run(&["data", "backup", with_ada.to_str().unwrap()], data).exits(0);
    run(&["data", "inspect"], data).says("Data batch");
    open(&http, &process.url, "bob@test.org").await;
    process.kill();
    let whole = back_up(data, &directories.backup);

    // A start on a backup without keys is refused, and leaves it as it was.
    let refused = run(&["user", "list"], &with_ada);
    assert!(
        refused.text.contains("is a backup") && refused.text.contains("data restore"),
        "{}",
        refused.text
    );

    // A backup without keys is restored with those of the server.
    let keys = data.join("keys");
    let restored = &directories.restored;
    let between = restore(&with_ada, &["--keys", keys.to_str().unwrap()], restored).exits(0);
    std::fs::remove_dir_all(restored).unwrap();
    assert!(reached(&between) < reached(&whole));
    (directories, reached(&between))
}

#[tokio::test]
async fn a_restore_stops_at_the_sequence_it_is_given() {
    let (Directories { backup, restored, root: _root, .. }, before_bob) = ada_then_bob().await;
    // Kind: a mistyped point, up to which there is nothing or everything.
    for wrong in [["--to-seq", "0"], ["--to-seq", "99999"]]
        .into_iter()
        .chain([["--to-time", "2019-11-30T18:00:00Z"], ["--to-time", "2119-11-30T18:00:00Z"]])
    {
        restore(&backup, &wrong, &restored).exits(1).says("what can be restored is sequence 1 (20");
        assert!(!restored.exists());
    }
    let ran = restore(&backup, &["--to-seq", &before_bob.to_string()], &restored).exits(0);
    assert_eq!(reached(&ran), before_bob, "{}", ran.text);
    let http = reqwest::Client::new();
    let process = Process::start(&restored);
    assert_eq!(log_in(&http, &process.url, "ada@test.org", PASSWORD).await, 200);
    assert_eq!(log_in(&http, &process.url, "bob@test.org", PASSWORD).await, 401);
    process.kill();
    // A dump shows the tables, but neither a hash nor a whole address.
    run(&["data", "dump"], &restored)
        .exits(0)
        .says("\"table\":\"account\"")
        .says("a***@test.org")
        .does_not_say("$argon2")
        .does_not_say("ada@test.org");
}

#[tokio::test]
async fn a_changed_backup_is_refused_and_nothing_is_left_of_the_restore() {
    let (Directories { backup, restored, root: _root, .. }, _) = ada_then_bob().await;
    let segment = std::fs::read_dir(backup.join("journal")).unwrap().next().unwrap().unwrap().path();
    damage(&segment, 5000);
    restore(&backup, &[], &restored).exits(1).says("its sum differs");
    assert!(!restored.exists());
}

#[tokio::test]
async fn a_damaged_directory_is_salvaged_and_the_losses_are_listed() {
    let Directories { data, restored, root: _root, .. } = Directories::new();
    let http = reqwest::Client::new();
    let process = Process::start(&data);
    open(&http, &process.url, "ada@test.org").await;
    for number in 0..5 {
        open(&http, &process.url, &format!("user{number}@test.org")).await;
    }
    process.kill();
    // A frame between the first and the last account: those before it and those after it are salvaged.
    damage(&data.join("journal/0000000000000001.log"), 4096 * 8 + 50);
    run(&["data", "verify"], &data).exits(1);
    run(&["data", "salvage", data.to_str().unwrap()], &restored)
        .exits(0)
        .says("passed over: ")
        .says("lost: sequences ");
    let process = Process::start(&restored);
    assert_eq!(log_in(&http, &process.url, "ada@test.org", PASSWORD).await, 200);
    assert_eq!(log_in(&http, &process.url, "user4@test.org", PASSWORD).await, 200);
    process.kill();
}

/// Moves the account `from` to the address `to`, by the link that is mailed there.
async fn move_address(server: &TestServer, from: &str, to: &str) {
    let (access, _) = server.tokens(from).await;
    let asked = server.change_email(&access, to).await;
    assert_eq!(asked.status.as_u16(), 202, "{}", asked.body);
    let link = server.mailed_link(to, "Confirm your new address").await;
    let confirmed = server.follow_as(&access, "/v1/email/change/confirm", &link).await;
    assert_eq!(confirmed.status.as_u16(), 200, "{}", confirmed.body);
}

/// A restore kills the link that undoes a change of address, though not the time in which it can be undone. The dead link
/// does not take precedence over the link of the next change.
#[tokio::test]
async fn a_restore_kills_the_undo_link_and_the_next_change_has_one_again() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    move_address(&server, "ada@test.org", "new@test.org").await;
    let dead = server.mailed_link("ada@test.org", "was changed").await;

    let server = restored(server);
    let undone = server.follow("/v1/email/change/undo", &dead, None).await;
    assert_eq!(undone.problem(), (400, "invalid_or_expired_token"));

    server.clock.advance(Duration::from_hours(72));
    move_address(&server, "new@test.org", "newer@test.org").await;
    let undo = server.mailed_link("new@test.org", "was changed").await;
    assert_eq!(server.follow("/v1/email/change/undo", &undo, None).await.status.as_u16(), 204);
}
