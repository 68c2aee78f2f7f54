//! No log of the real binary, however talkative, holds a secret that went through it.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery staple";
const NEXT: &str = "an entirely different phrase";
const WRONG: &str = "the wrong phrase of a stranger";

async fn ask(http: &reqwest::Client, path: String, bearer: Option<&str>, body: Value) -> (u16, Value) {
    let mut request = http.post(path).json(&body);
    if let Some(bearer) = bearer {
        request = request.bearer_auth(bearer);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
}

/// The token of the mail that links to that page.
async fn mailed(outbox: &std::path::Path, page: &str) -> String {
    for _ in 0..200 {
        for mail in std::fs::read_dir(outbox).into_iter().flatten() {
            let text = std::fs::read_to_string(mail.unwrap().path()).unwrap_or_default();
            let mark = format!("/{page}#token=");
            if let Some(at) = text.find(&mark) {
                return text[at + mark.len()..].chars().take_while(|c| !"& \r\n".contains(*c)).collect();
            }
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("no mail for {page}");
}

#[tokio::test]
async fn no_log_of_a_whole_story_holds_a_secret_at_any_level() {
    let dir = tempfile::tempdir().unwrap();
    let (data, log) = (dir.path().join("data"), dir.path().join("log"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["serve", "--data-dir", data.to_str().unwrap()])
        .env("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0")
        .env("PORTCULLIS__PASSWORD__MEMORY_KIB", "64")
        .env("PORTCULLIS__PASSWORD__PASSES", "1")
        .env("PORTCULLIS__MAIL__CONSOLE", "false")
        .env("RUST_LOG", "trace")
        .stdout(Stdio::from(std::fs::File::create(&log).unwrap()))
        .stderr(Stdio::from(std::fs::File::create(dir.path().join("err")).unwrap()))
        .spawn()
        .unwrap();
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    let mut url = String::new();
    for _ in 0..200 {
        if let Some(line) =
            read().lines().find_map(|line| line.trim().strip_prefix("ready on ").map(ToOwned::to_owned))
        {
            url = format!("http://{line}");
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let http = reqwest::Client::new();
    let post = |url: &str, path: &str, bearer: Option<&'static str>, body: Value| {
        let (http, path) = (http.clone(), format!("{url}{path}"));
        async move { ask(&http, path, bearer, body).await }
    };
    let outbox = data.join("outbox");
    let mut secrets: Vec<String> =
        [PASSWORD, NEXT, WRONG, "stranger@nowhere.test"].map(ToOwned::to_owned).into();
    let name = "ada@test.org";
    assert_eq!(post(&url, "/v1/signup", None, json!({"email": name, "password": PASSWORD})).await.0, 202);
    let verify = mailed(&outbox, "verify").await;
    assert_eq!(post(&url, "/v1/email/verify", None, json!({"token": verify})).await.0, 204);
    for email in [name, "stranger@nowhere.test"] {
        assert_eq!(post(&url, "/v1/login", None, json!({"email": email, "password": WRONG})).await.0, 401);
    }
    let (_, opened) = post(&url, "/v1/login", None, json!({"email": name, "password": PASSWORD})).await;
    let text = |body: &Value, field: &str| body[field].as_str().unwrap().to_owned();
    let (access, refresh) = (text(&opened, "access_token"), text(&opened, "refresh_token"));
    let (_, next) = post(&url, "/v1/refresh", None, json!({"refresh_token": refresh})).await;
    let change = json!({"email": "new@test.org", "password": PASSWORD});
    assert_eq!(ask(&http, format!("{url}/v1/email/change"), Some(&access), change).await.0, 202);
    let email = mailed(&outbox, "email-change").await;
    assert_eq!(post(&url, "/v1/password/forgot", None, json!({"email": name})).await.0, 202);
    let reset = mailed(&outbox, "reset").await;
    post(&url, &format!("/v1/unlock?token={reset}"), Some("x.y.z"), json!({"token": "pcm_garbage"})).await;
    let set = json!({"token": reset, "new_password": NEXT});
    assert_eq!(post(&url, "/v1/password/reset", None, set).await.0, 204);
    secrets.extend([
        verify,
        email,
        reset,
        text(&next, "access_token"),
        text(&next, "refresh_token"),
        access,
        refresh,
    ]);
    // Stopped in order, so that everything is written.
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    child.wait().unwrap();
    let mut logs = vec![log.clone(), dir.path().join("err")];
    logs.extend(std::fs::read_dir(data.join("audit")).unwrap().map(|entry| entry.unwrap().path()));
    assert!(read().lines().count() > 50 && logs.len() >= 3);
    for path in logs {
        let said = std::fs::read_to_string(&path).unwrap();
        for secret in &secrets {
            let line = said.lines().find(|line| line.contains(secret.as_str()));
            assert!(line.is_none(), "{} stands in {}: {}", secret, path.display(), line.unwrap_or_default());
        }
    }
}
