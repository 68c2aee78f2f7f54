//! Prometheus reads the figures.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::install::{PROMETHEUS, PROMTOOL, installed};
use super::program::{Program, free_port, wait_until};
use super::reply::{Reply, ask};
use super::server::Server;

/// A server with a listener for operators, and its URL there.
fn server() -> (Server, String) {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    (Server::with(&[("admin.listen", &address)]), format!("http://{address}"))
}

#[test]
fn prometheus_reads_the_figures_and_answers_questions_about_them() {
    if !installed(&[PROMETHEUS]) {
        return;
    }
    let (server, operators) = server();
    let dir = tempfile::tempdir().unwrap();
    let target = operators.strip_prefix("http://").unwrap();
    let config = json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "portcullis", "static_configs": [{"targets": [target]}]}],
    });
    // JSON is YAML as well.
    let file = dir.path().join("prometheus.yml");
    std::fs::write(&file, config.to_string()).unwrap();
    let port = free_port();
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let prometheus = Program::start(command, &dir.path().join("log")).listens_at(port);
    let url = format!("http://127.0.0.1:{port}");
    let query = |path: &str| {
        let reply = ask(&url, "GET", path, &[], &Value::Null);
        if reply.status == 200 { reply.json()["data"].take() } else { Value::Null }
    };
    let value = |name: &str| query(&format!("/api/v1/query?query={name}"))["result"][0]["value"][1].clone();
    wait_until("the target is up", || value("up") == "1");
    let target = &query("/api/v1/targets")["activeTargets"][0];
    assert_eq!(
        (&target["health"], &target["lastError"]),
        (&json!("up"), &json!("")),
        "{}",
        prometheus.said()
    );

    // A log-in with a wrong name is an event that is counted.
    server.post("/v1/login", &json!({"email": "eve@near.test", "password": "not the password"})).is(401);
    let counted =
        || value("sum(portcullis_events_total)").as_str().and_then(|value| value.parse::<f64>().ok());
    wait_until("the event is counted", || counted().is_some_and(|count| count >= 1.0));
    let kinds = query("/api/v1/targets/metadata?metric=portcullis_events");
    let kinds = if kinds == json!([]) {
        query("/api/v1/targets/metadata?metric=portcullis_events_total")
    } else {
        kinds
    };
    assert_eq!(kinds[0]["type"], "counter", "{kinds}");
}

/// Returns what promtool says against the figures.
fn complaints(figures: &Reply) -> String {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = command.spawn().unwrap();
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), &figures.body).unwrap();
    let output = promtool.wait_with_output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn promtool_finds_nothing_to_complain_of_in_the_text_format() {
    if !installed(&[PROMTOOL]) {
        return;
    }
    let (_server, operators) = server();
    let figures =
        ask(&operators, "GET", "/metrics", &[("accept", "text/plain;version=0.0.4")], &Value::Null).is(200);
    assert!(figures.header("content-type").starts_with("text/plain; version=0.0.4"), "{:?}", figures.headers);
    assert_eq!(complaints(&figures), "");
}

#[test]
fn promtool_finds_nothing_to_complain_of_in_openmetrics() {
    if !installed(&[PROMTOOL]) {
        return;
    }
    let (_server, operators) = server();
    let accept = [("accept", "application/openmetrics-text;version=1.0.0")];
    let figures = ask(&operators, "GET", "/metrics", &accept, &Value::Null).is(200);
    assert!(
        figures.header("content-type").starts_with("application/openmetrics-text"),
        "{:?}",
        figures.headers
    );
    assert!(figures.body.ends_with(b"\n# EOF\n"));
    let complaints = complaints(&figures);
    // It reads the older format, in which the help of a counter names it with its ending.
    let complaints: Vec<&str> =
        complaints.lines().filter(|line| !line.ends_with("_total no help text")).collect();
    assert_eq!(complaints, Vec::<&str>::new());
}
