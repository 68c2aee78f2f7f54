//! The log of the process, as a collector reads it.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::process::{Process, log_in, post, serve, sign_up};
use crate::support::{PASSWORD, wait_until};

/// A name that nobody has, in a form that no other text has.
const TYPED: &str = "nobody-types-this@example.org";

/// A server whose output goes to files.
struct Logged {
    process: Process,
    dir: tempfile::TempDir,
}

impl Logged {
    fn start(levels: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = serve(&dir.path().join("data"));
        command.env("RUST_LOG", levels);
        let process = Process::spawn_into(command, &dir.path().join("out"), &dir.path().join("err"));
        Self { process, dir }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("out")).unwrap()
    }

    /// Stops the server and returns the lines that it has written, each of which must be an object of JSON.
    fn lines(mut self) -> Vec<Value> {
        assert_eq!(self.process.stop(), Some(0));
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(&self.dir.path().join("err")), "");
        let lines = self.text();
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        lines.lines().map(parse).inspect(|line: &Value| assert!(line.is_object(), "{line}")).collect()
    }
}

/// Kinds of fault: a line that is no JSON among lines of JSON; a figure that is a string; a name typed at log-in.
#[tokio::test]
async fn every_line_is_json_its_figures_are_numbers_and_no_name_that_was_typed_is_in_it() {
    let server = Logged::start("debug");
    let http = reqwest::Client::new();
    let url = server.process.url.clone();
    assert_eq!(sign_up(&http, &url, "ada@example.org").await.unwrap().0, 201);
    for _ in 0..8 {
        for name in ["ada@example.org", TYPED, "no address of nobody-types-this"] {
            log_in(&http, &url, name, "none of these is right").await;
        }
    }
    for path in ["/v1/password/forgot", "/v1/email/verify/resend"] {
        post(&http, &url, path, json!({"email": TYPED})).await;
    }
    let text = server.text();
    let lines = server.lines();
    assert!(!text.contains("nobody-types-this"), "a typed name is in the log");
    let ready = &lines[lines.iter().position(|line| line["version"].is_string()).unwrap()];
    assert!(ready["message"].as_str().unwrap().starts_with("ready on 127.0.0.1:"), "{ready}");
    let requests: Vec<_> = lines.iter().filter(|line| line["message"] == "request").collect();
    assert!(requests.len() >= 27, "{}", requests.len());
    for request in requests {
        assert_eq!(request["network"], json!("127.0.0.1/32"), "{request}");
        assert!(request["status"].is_u64(), "{request}");
    }
    let units = ["_ms", "_secs", "_bytes", "count", "folded", "status", "tries", "threshold", "entries"];
    let mut figures = 0;
    for (name, value) in lines.iter().filter_map(Value::as_object).flatten() {
        if units.iter().any(|unit| name.ends_with(unit)) {
            assert!(value.is_number(), "{name}: {value}");
            figures += 1;
        }
    }
    assert!(figures > 50, "{figures}");
}

/// Kind of fault: a probe, which machines send every few seconds, that fills the log.
#[tokio::test]
async fn probes_leave_no_line() {
    let server = Logged::start("info");
    let http = reqwest::Client::new();
    let probes = ["/healthz", "/readyz", "/.well-known/jwks.json"];
    for path in probes {
        for _ in 0..20 {
            http.get(format!("{}{path}", server.process.url)).send().await.unwrap();
        }
    }
    let lines = server.lines();
    // Those of the start and the stop.
    assert!(lines.len() < 20, "{} lines", lines.len());
    for line in lines {
        assert!(probes.iter().all(|path| !line.to_string().contains(path)), "{line}");
    }
}

/// Kind of fault: a setting that only a running server can find wrong, of which the log says nothing.
#[tokio::test]
async fn a_forgotten_proxy_is_named_in_the_log_once_also_by_requests_without_a_credential() {
    let server = Logged::start("info");
    let http = reqwest::Client::new();
    let named = || {
        let text = server.text();
        text.lines().filter(|line| line.contains("trusted_proxies = [")).count()
    };
    for number in 0..25 {
        let request = http.request(Method::GET, format!("{}/v1/me", server.process.url));
        request.header("x-forwarded-for", format!("203.0.113.{number}")).send().await.unwrap();
    }
    wait_until("the log names the proxy", async || named() == 1).await;
    for _ in 0..50 {
        log_in(&http, &server.process.url, "ada@example.org", PASSWORD).await;
    }
    let lines = server.lines();
    let named = lines.iter().filter(|line| line["proxy"] == json!("127.0.0.1")).count();
    assert_eq!(named, 1);
}
