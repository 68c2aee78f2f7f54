//! The figures of `/metrics`, as a collector reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use portcullis::audit::event::Event;
use reqwest::{Method, StatusCode};

use crate::support::process::skipped;
use crate::support::{Answer, TestServer, send};

/// The page that explains each figure.
const PAGE: &str = include_str!("../../src/http/api/README.md");

/// What is said of one figure, and its samples: their text up to the value, and the value.
#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    samples: BTreeMap<String, f64>,
}

/// Says whether `name` is one that a figure or a label may have.
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Splits the series of a sample into its name and its labels.
fn series(text: &str) -> (&str, Vec<(&str, &str)>) {
    let Some((name, labels)) = text.split_once('{') else { return (text, Vec::new()) };
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("labels without an end: {text}"));
    let labels = labels.split("\",").map(|label| {
        let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("no label: {text}"));
        assert!(is_name(name), "{text}");
        (name, value.trim_end_matches('"'))
    });
    (name, labels.collect())
}

/// Parses figures by the rules of the format: HELP and TYPE before the samples, each series once, samples of a figure
/// together. `total` is what a sample of a counter has after the name that HELP and TYPE give.
fn parse(text: &str, total: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut name = String::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (of, help) = help.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
            of.clone_into(&mut name);
            let family = Family { help: help.to_owned(), ..Family::default() };
            assert!(families.insert(name.clone(), family).is_none(), "{name} is there twice");
            continue;
        }
        let family = families.get_mut(&name).unwrap_or_else(|| panic!("no figure has begun: {line}"));
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let kind = kind.strip_prefix(&format!("{name} ")).unwrap_or_else(|| panic!("{line} in {name}"));
            assert!(family.samples.is_empty(), "{line} after a sample");
            kind.clone_into(&mut family.kind);
            continue;
        }
        let (key, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        let suffixes: &[&str] = match family.kind.as_str() {
            "counter" => &[total],
            "gauge" => &[""],
            "histogram" => &["_sum", "_count", "_bucket"],
            kind => panic!("{name} is a {kind:?}"),
        };
        let sampled = series(key).0;
        assert!(suffixes.iter().any(|suffix| sampled == format!("{name}{suffix}")), "{line} in {name}");
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert!(family.samples.insert(key.to_owned(), value).is_none(), "{key} is there twice");
    }
    families
}

/// Labels of a series, and the upper bound and the count of each of its buckets.
type Buckets<'a> = BTreeMap<Vec<(&'a str, &'a str)>, Vec<(f64, f64)>>;

/// Asserts that the buckets of a histogram only rise, and that the last one holds all.
fn check_histogram(name: &str, family: &Family) {
    let mut buckets = Buckets::new();
    for (key, value) in &family.samples {
        let (sampled, mut labels) = series(key);
        if !sampled.ends_with("_bucket") {
            continue;
        }
        let at = labels.iter().position(|(name, _)| *name == "le").unwrap_or_else(|| panic!("no le: {key}"));
        let bound = labels.remove(at).1.parse().unwrap();
        buckets.entry(labels).or_default().push((bound, *value));
    }
    assert!(!buckets.is_empty(), "{name}");
    for (labels, mut buckets) in buckets {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{name} {labels:?}: {buckets:?}");
        let (bound, all) = *buckets.last().unwrap();
        assert!(bound.is_infinite(), "{name} {labels:?}");
        let of: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let count = family.samples[&format!("{name}_count{{{}}}", of.join(","))];
        assert_eq!(count.to_string(), all.to_string(), "{name} {labels:?}");
    }
}

async fn figures_in(server: &TestServer, access: &str, accept: &str) -> Answer {
    let request = server.request(Method::GET, "/metrics").bearer_auth(access);
    send(request.header("accept", accept)).await
}

fn text(answer: &Answer) -> &str {
    assert_eq!(answer.status, StatusCode::OK);
    std::str::from_utf8(&answer.bytes).unwrap()
}

/// Kind of fault: a figure that breaks the rules of its format, is not on the page, or is not there from the start.
#[tokio::test]
async fn every_figure_follows_the_rules_and_is_on_the_page_from_the_start() {
    let server = TestServer::start();
    let (key, _) = server.api_key(&["metrics"], None).await;
    let plain = figures_in(&server, &key, "text/plain;version=0.0.4").await;
    assert!(plain.header("content-type").starts_with("text/plain; version=0.0.4"));
    let families = parse(text(&plain), "");
    for (name, family) in &families {
        assert!(is_name(name), "{name}");
        assert!(!family.help.is_empty(), "{name}");
        assert!(!family.samples.is_empty(), "{name} has no series");
        assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name} is a {}", family.kind);
        for not_a_base_unit in ["milli", "micro", "_ms", "_us", "minutes", "percent", "permille", "kib"] {
            assert!(!name.contains(not_a_base_unit), "{name}");
        }
        if family.kind == "histogram" {
            check_histogram(name, family);
        }
    }
    // A program that keeps no log of its own has no figures of it, and one without webhooks none of those.
    let elsewhere = [
        "portcullis_log_lost_total",
        "portcullis_log_folded_total",
        "portcullis_webhook_taken_total",
        "portcullis_webhook_failed_total",
        "portcullis_webhook_disabled",
        "portcullis_webhook_lag_seconds",
    ];
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next());
    let on_page: BTreeSet<&str> = rows.filter(|name| name.contains('_') && !name.contains('/')).collect();
    let mut shown: BTreeSet<&str> = families.keys().map(String::as_str).collect();
    shown.extend(elsewhere);
    assert_eq!(shown, on_page);
    for event in Event::ALL {
        let name = event.name();
        let key = format!("portcullis_events_total{{event=\"{name}\"}}");
        assert!(families["portcullis_events_total"].samples.contains_key(&key), "{key}");
        assert!(PAGE.contains(&format!("`{name}`")), "{name} is not on the page");
    }
    let open = figures_in(&server, &key, "application/openmetrics-text;version=1.0.0").await;
    assert!(open.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    let of_open = parse(text(&open).strip_suffix("# EOF\n").unwrap(), "_total");
    let open_names = of_open.iter().map(|(name, family)| match family.kind.as_str() {
        "counter" => format!("{name}_total"),
        _ => name.clone(),
    });
    let open_names: BTreeSet<String> = open_names.collect();
    assert!(open_names.iter().eq(families.keys()), "the two formats have different figures");
}

/// Kind of fault: a request that no figure counts, or a series of it that is missing before the first request.
#[tokio::test]
async fn requests_are_counted_by_route_and_status_and_unknown_paths_by_one_name() {
    let server = TestServer::start();
    let (key, _) = server.api_key(&["metrics"], None).await;
    let counted = async |route: &str, status: &str| {
        let name = format!("http_requests_total{{route=\"{route}\",status=\"{status}\"}}");
        server.figure(&key, &name).await
    };
    assert_eq!(counted("/v1/sessions/{id}", "401").await, Some(0));
    assert_eq!(counted("/v1/login", "503").await, Some(0));
    server.delete_as("/v1/sessions/1234", "garbage", serde_json::Value::Null).await;
    server.delete_as("/v1/sessions/5678", "garbage", serde_json::Value::Null).await;
    assert_eq!(counted("/v1/sessions/{id}", "401").await, Some(2));
    for path in ["/nothing", "/v1/nothing", "/v1/sessions/1/2/3"] {
        assert_eq!(server.get(path).await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(counted("other", "404").await, Some(3));
    // Another method of a path, and a body that is refused before the endpoint is called.
    assert_eq!(server.get("/v1/login").await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(counted("/v1/login", "405").await, Some(1));
    let large = server.request(Method::POST, "/v1/login").body(vec![b' '; 100_000]);
    assert_eq!(send(large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(counted("/v1/login", "413").await, Some(1));
    let durations = server.figure(&key, "http_request_seconds_count{route=\"/v1/login\"}").await;
    assert_eq!(durations, Some(2));
}

/// Kind of fault: HEAD and GET of one page that differ.
#[tokio::test]
async fn head_answers_like_get_without_the_body() {
    let server = TestServer::start();
    let (key, _) = server.api_key(&["metrics"], None).await;
    for accept in ["text/plain", "application/openmetrics-text"] {
        let get = figures_in(&server, &key, accept).await;
        let head = server.request(Method::HEAD, "/metrics").bearer_auth(&key).header("accept", accept);
        let head = send(head).await;
        assert_eq!(head.status, StatusCode::OK);
        assert!(head.bytes.is_empty());
        assert_eq!(head.header("content-type"), get.header("content-type"));
    }
}

/// Kind of fault: what the linter of Prometheus finds.
#[tokio::test]
async fn the_linter_of_prometheus_finds_nothing() {
    let server = TestServer::start();
    let (key, _) = server.api_key(&["metrics"], None).await;
    let figures = figures_in(&server, &key, "text/plain").await;
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut promtool) = promtool.spawn() else {
        return skipped("the linter of Prometheus", "promtool is missing: install Debian's prometheus");
    };
    let mut stdin = promtool.stdin.take().unwrap();
    let bytes = figures.bytes.clone();
    let writing = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = promtool.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
}
