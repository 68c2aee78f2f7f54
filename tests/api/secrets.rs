//! No log of the real binary, however verbose, and no file of its directory holds a secret that went through it.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::process::{Process, mailed_token, serve};
use crate::support::values::files;
use crate::support::{PASSWORD, TestServer};

const NEXT: &str = "an entirely different phrase";
const WRONG: &str = "the wrong phrase of a stranger";
const NAME: &str = "ada@test.org";
const STRANGER: &str = "stranger@nowhere.test";

/// A client of the real binary.
struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    /// Posts `body`, asserts the status and returns the body of the answer.
    async fn post(&self, path: &str, bearer: Option<&str>, body: Value, status: u16) -> Value {
        let mut request = self.http.post(format!("{}{path}", self.url)).json(&body);
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null)
    }
}

fn text(body: &Value, field: &str) -> String {
    body[field].as_str().unwrap().to_owned()
}

/// Walks through everything that a user does with a secret, and returns all of these secrets.
async fn story(client: &Client, outbox: &Path) -> Vec<String> {
    // Sign-up.
    let signed_up = client.post("/v1/signup", None, json!({"email": NAME, "password": PASSWORD}), 202).await;
    let half = text(&signed_up, "signup_token");
    let verify = mailed_token(outbox, "verify").await;
    client.post("/v1/email/verify", None, json!({"token": verify, "signup_token": half}), 204).await;

    // Log-ins that fail, one that succeeds, and a refresh.
    for email in [NAME, STRANGER] {
        client.post("/v1/login", None, json!({"email": email, "password": WRONG}), 401).await;
    }
    let opened = client.post("/v1/login", None, json!({"email": NAME, "password": PASSWORD}), 200).await;
    let access = text(&opened, "access_token");
    let refresh = text(&opened, "refresh_token");
    let next = client.post("/v1/refresh", None, json!({"refresh_token": refresh}), 200).await;

    // A change of address, a reset, and two tokens in a wrong place.
    let change = json!({"email": "new@test.org", "password": PASSWORD});
    client.post("/v1/email/change", Some(&access), change, 202).await;
    let email = mailed_token(outbox, "email-change").await;
    client.post("/v1/password/forgot", None, json!({"email": NAME}), 202).await;
    let reset = mailed_token(outbox, "reset").await;
    let path = format!("/v1/unlock?token={reset}");
    client.post(&path, Some("x.y.z"), json!({"token": "pcm_garbage"}), 400).await;
    let set = json!({"token": reset, "new_password": NEXT});
    client.post("/v1/password/reset", None, set, 204).await;

    let mut secrets = [PASSWORD, NEXT, WRONG, STRANGER].map(ToOwned::to_owned).to_vec();
    secrets.extend([half, verify, email, reset, access, refresh]);
    secrets.extend([text(&next, "access_token"), text(&next, "refresh_token")]);
    secrets
}

#[tokio::test]
async fn no_log_of_a_whole_story_holds_a_secret_at_any_level() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let log = dir.path().join("log");
    let error_log = dir.path().join("err");
    let mut command = serve(&data);
    command.envs([
        ("PORTCULLIS__SIGNUP__VERIFY_EMAIL", "required"),
        ("PORTCULLIS__MAIL__CONSOLE", "false"),
        ("RUST_LOG", "trace"),
    ]);
    let mut process = Process::spawn_into(command, &log, &error_log);
    let client = Client { http: reqwest::Client::new(), url: process.url.clone() };
    let secrets = story(&client, &data.join("outbox")).await;
    // A stop in order, so that everything is written.
    process.stop();

    let mut logs = vec![log.clone(), error_log];
    logs.extend(std::fs::read_dir(data.join("audit")).unwrap().map(|entry| entry.unwrap().path()));
    assert!(logs.len() >= 3, "{logs:?}");
    assert!(std::fs::read_to_string(&log).unwrap().lines().count() > 50);
    for path in logs {
        let text = std::fs::read_to_string(&path).unwrap();
        for secret in &secrets {
            let line = text.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(line, None, "{secret} is in {}", path.display());
        }
    }
}

#[tokio::test]
async fn no_file_of_the_data_directory_holds_a_secret_of_a_client() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (access, refresh) = server.tokens(NAME).await;
    let next = server.refresh(&refresh).await.text("refresh_token");
    server.log_in(STRANGER, WRONG).await;
    server.forgot(NAME).await;
    let mailed = server.mailed(NAME, "new password").await;
    let server = server.restart();
    let mut searched = 0;
    for path in files(server.data_dir()) {
        // The operator's socket cannot be read.
        let Ok(bytes) = std::fs::read(&path) else { continue };
        searched += 1;
        for secret in [PASSWORD, &access, &refresh, &next, &mailed, WRONG, STRANGER] {
            let is_found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!is_found, "{secret} is in {}", path.display());
        }
    }
    assert!(searched > 10, "{searched}");
}
