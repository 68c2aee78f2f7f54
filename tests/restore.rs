//! Backups of the running binary, and what a restore makes of them: an old past in which nobody is logged in.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::crash::{PASSWORD, Process, post};
use super::support::TestServer;

fn run(args: &[&str], dir: &Path) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(args)
        .arg("--data-dir")
        .arg(dir)
        .env("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&said).into_owned())
}

async fn open(http: &reqwest::Client, url: &str, email: &str) -> serde_json::Value {
    let body = json!({"email": email, "password": PASSWORD});
    let (status, opened) = post(http, url, "/v1/signup", body).await.unwrap();
    assert_eq!(status, 201, "{opened}");
    opened
}

async fn log_in(http: &reqwest::Client, url: &str, email: &str) -> u16 {
    post(http, url, "/v1/login", json!({"email": email, "password": PASSWORD})).await.unwrap().0
}

async fn me(http: &reqwest::Client, url: &str, access: &str) -> u16 {
    http.get(format!("{url}/v1/me")).bearer_auth(access).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn after_a_restore_everybody_logs_in_again_and_nothing_of_before_is_honoured() {
    let root = tempfile::tempdir().unwrap();
    let (data, copy, new) = (root.path().join("data"), root.path().join("copy"), root.path().join("new"));
    let http = reqwest::Client::new();
    let process = Process::start(&data);
    let ada = open(&http, &process.url, "ada@test.org").await;
    let cookie = http
        .post(format!("{}/v1/login", process.url))
        .header("sec-fetch-site", "same-origin")
        .json(&json!({"email": "ada@test.org", "password": PASSWORD, "mode": "cookie"}))
        .send()
        .await
        .unwrap();
    assert_eq!(cookie.status().as_u16(), 200);
    let cookies: Vec<_> = cookie.headers().get_all("set-cookie").iter().cloned().collect();
    let cookies: Vec<_> =
        cookies.iter().map(|c| c.to_str().unwrap().split(';').next().unwrap().to_owned()).collect();
    let forgot = post(&http, &process.url, "/v1/password/forgot", json!({"email": "ada@test.org"})).await;
    assert_eq!(forgot.unwrap().0, 202);
    let token = super::crash::newest_token(&data.join("outbox")).await;

    let (code, said) = run(&["data", "backup", copy.to_str().unwrap(), "--with-keys"], &data);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("proved by a restore"), "{said}");
    let bob = open(&http, &process.url, "bob@test.org").await;
    let access = ada["access_token"].as_str().unwrap();
    assert_eq!(me(&http, &process.url, access).await, 200);
    process.kill();

    let (code, said) = run(&["data", "restore", copy.to_str().unwrap()], &data);
    assert_eq!(code, 1, "a directory in use was restored over: {said}");
    let (code, said) = run(&["data", "restore", copy.to_str().unwrap()], &new);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("timeline 2") && said.contains("dead"), "{said}");
    let process = Process::start(&new);
    let url = &process.url;
    for credential in [&ada, &bob] {
        assert_eq!(me(&http, url, credential["access_token"].as_str().unwrap()).await, 401);
        let body = json!({"refresh_token": credential["refresh_token"]});
        assert_eq!(post(&http, url, "/v1/refresh", body).await.unwrap().0, 401);
    }
    let session = http.get(format!("{url}/v1/me")).header("cookie", cookies.join("; ")).send().await.unwrap();
    assert_eq!(session.status().as_u16(), 401);
    let reset = json!({"token": token, "new_password": "an entirely different phrase"});
    assert_eq!(post(&http, url, "/v1/password/reset", reset).await.unwrap().0, 400);
    assert_eq!(log_in(&http, url, "ada@test.org").await, 200);
    assert_eq!(log_in(&http, url, "bob@test.org").await, 401, "came after the backup");
    // What is opened from here on holds, also over another restart.
    let eve = open(&http, url, "eve@test.org").await;
    process.kill();
    let process = Process::start(&new);
    let body = json!({"refresh_token": eve["refresh_token"]});
    assert_eq!(post(&http, &process.url, "/v1/refresh", body).await.unwrap().0, 200);
    process.kill();
    assert_eq!(run(&["data", "verify"], &new).0, 0);
}

#[tokio::test]
async fn a_restore_stops_at_a_point_and_a_changed_backup_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (data, copy, new) = (root.path().join("data"), root.path().join("copy"), root.path().join("new"));
    let http = reqwest::Client::new();
    let process = Process::start(&data);
    open(&http, &process.url, "ada@test.org").await;
    let at = data.join("here");
    assert_eq!(run(&["data", "backup", at.to_str().unwrap()], &data).0, 0);
    let (_, said) = run(&["data", "inspect"], &data);
    assert!(said.contains("Data batch"), "{said}");
    open(&http, &process.url, "bob@test.org").await;
    process.kill();
    let (code, said) = run(&["data", "backup", copy.to_str().unwrap(), "--with-keys"], &data);
    assert_eq!(code, 0, "{said}");
    let reached = |said: &str| -> u64 {
        let rest = said.split("up to sequence ").nth(1).unwrap();
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let before_bob = {
        let (code, said) = run(
            &["data", "restore", at.to_str().unwrap(), "--keys", data.join("keys").to_str().unwrap()],
            &new,
        );
        assert_eq!(code, 0, "{said}");
        std::fs::remove_dir_all(&new).unwrap();
        reached(&said)
    };
    assert!(before_bob < reached(&said));
    let to = before_bob.to_string();
    let (code, said) = run(&["data", "restore", copy.to_str().unwrap(), "--to-seq", &to], &new);
    assert_eq!((code, reached(&said)), (0, before_bob), "{said}");
    let process = Process::start(&new);
    assert_eq!(log_in(&http, &process.url, "ada@test.org").await, 200);
    assert_eq!(log_in(&http, &process.url, "bob@test.org").await, 401);
    process.kill();
    let (code, said) = run(&["data", "dump"], &new);
    assert!(code == 0 && said.contains("\"table\":\"account\"") && said.contains("a***@test.org"), "{said}");
    assert!(!said.contains("$argon2") && !said.contains("ada@test.org"), "{said}");

    let segment = std::fs::read_dir(copy.join("journal")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let other = root.path().join("other");
    let (code, said) = run(&["data", "restore", copy.to_str().unwrap()], &other);
    assert!(code == 1 && said.contains("its sum differs"), "{said}");
    assert!(!other.exists());
}

#[tokio::test]
async fn what_a_damaged_directory_still_holds_is_salvaged_and_what_is_lost_is_told() {
    let root = tempfile::tempdir().unwrap();
    let (data, new) = (root.path().join("data"), root.path().join("new"));
    let http = reqwest::Client::new();
    let process = Process::start(&data);
    open(&http, &process.url, "ada@test.org").await;
    for number in 0..5 {
        open(&http, &process.url, &format!("user{number}@test.org")).await;
    }
    process.kill();
    let segment = data.join("journal/0000000000000001.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    // The last frame with entries but some: whoever came before it is there, and so is whoever came after.
    bytes[4096 * 8 + 50] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    assert_eq!(run(&["data", "verify"], &data).0, 1);
    let (code, said) = run(&["data", "salvage", data.to_str().unwrap()], &new);
    assert!(code == 0 && said.contains("passed over: ") && said.contains("lost: sequences "), "{said}");
    let process = Process::start(&new);
    assert_eq!(log_in(&http, &process.url, "ada@test.org").await, 200);
    assert_eq!(log_in(&http, &process.url, "user4@test.org").await, 200);
    process.kill();
}

#[tokio::test]
async fn a_link_that_undoes_a_change_of_address_is_dead_after_a_restore_and_keeps_nobody_from_the_next() {
    let server = TestServer::start();
    server.account("ada@test.org").await;
    let change = async |server: &TestServer, from: &str, to: &str| {
        let (access, _) = server.tokens(from).await;
        let body = json!({"email": to, "password": super::support::PASSWORD});
        let asked = server.post_as("/v1/email/change", &access, body).await;
        assert_eq!(asked.status.as_u16(), 202, "{}", asked.body);
        let link = server.mailed(to, "Confirm your new address").await;
        let token = link.split_once("&email=").unwrap().0;
        let confirmed = server.post("/v1/email/change/confirm", json!({"token": token, "email": to})).await;
        assert_eq!(confirmed.status.as_u16(), 204, "{}", confirmed.body);
    };
    change(&server, "ada@test.org", "new@test.org").await;
    let link = server.mailed("ada@test.org", "was changed").await;
    let undo = json!({"token": link.split_once("&email=").unwrap().0, "email": "ada@test.org"});

    let root = tempfile::tempdir().unwrap();
    let (copy, restored) = (root.path().join("copy"), root.path().join("restored"));
    let server = server.restart_after(|dir| {
        let (code, said) = run(&["data", "backup", copy.to_str().unwrap(), "--with-keys"], dir);
        assert_eq!(code, 0, "{said}");
        let (code, said) = run(&["data", "restore", copy.to_str().unwrap()], &restored);
        assert_eq!(code, 0, "{said}");
        std::fs::remove_dir_all(dir).unwrap();
        std::fs::rename(&restored, dir).unwrap();
    });
    let undone = server.post("/v1/email/change/undo", undo.clone()).await;
    assert_eq!(undone.problem(), (400, "invalid_or_expired_token"));
    // What is dead neither stands in the way of the next change, nor comes before its link.
    change(&server, "new@test.org", "newer@test.org").await;
    let link = server.mailed("new@test.org", "was changed").await;
    let undo = json!({"token": link.split_once("&email=").unwrap().0, "email": "new@test.org"});
    assert_eq!(server.post("/v1/email/change/undo", undo).await.status.as_u16(), 204);
}
