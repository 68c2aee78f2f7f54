//! `portcullis doctor`: the security checklist, carried out. Each line says pass, warn or fail, why, and the fix.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis::config::checks::{CHECKS, Check, State};
use portcullis::config::{Config, MailTransport};
use portcullis::password::{HashPool, KnownBad, pool};
use portcullis::server::operator::operation::Operation;
use portcullis::server::operator::socket;
use portcullis::storage::local::LocalStorage;
use portcullis::system::clock::Clock;
use portcullis::system::fail_stop::FailStop;
use portcullis::system::memory;
use portcullis::system::random::Random;
use portcullis::token::Keys;
use serde_json::{Value, json};

use super::{Cli, Failure, say};

struct Line {
    state: &'static str,
    what: String,
    why: String,
    fix: String,
}

impl Line {
    fn new(
        good: bool,
        otherwise: &'static str,
        what: impl Into<String>,
        why: &str,
        fix: impl Into<String>,
    ) -> Self {
        let state = if good { "pass" } else { otherwise };
        Self { state, what: what.into(), why: why.to_owned(), fix: fix.into() }
    }
}

pub(super) fn run(cli: &Cli) -> Result<(), Failure> {
    let config = cli.load()?;
    let mut lines = settings(&config);
    lines.extend(files(&config));
    lines.extend(machine(&config));
    lines.extend(audit(&config));
    lines.extend(running(&config));
    let failed = lines.iter().filter(|line| line.state == "fail").count();
    if cli.json {
        let items: Vec<_> = lines
            .iter()
            .map(|line| json!({"state": line.state, "what": line.what, "why": line.why, "fix": line.fix}))
            .collect();
        say(&json!({ "items": items }).to_string());
    } else {
        for Line { state, what, why, fix } in &lines {
            say(&format!("{state}  {what}"));
            if *state != "pass" {
                say(&format!("      why: {why}\n      fix: {fix}"));
            }
        }
    }
    if failed == 0 { Ok(()) } else { Err(Failure::refused(format!("{failed} checks failed"))) }
}

/// On loopback what is unsafe in public is only worth a word.
fn settings(config: &Config) -> Vec<Line> {
    let public = !config.http.listen.ip().is_loopback() || config.http.public_origin.is_https();
    let line = |check: &Check| {
        let state = match check.state(config) {
            State::Good => "pass",
            State::Unsafe if public => "fail",
            State::Unsafe | State::Doubtful => "warn",
        };
        Line { state, what: check.key.to_owned(), why: check.why.to_owned(), fix: check.fix.to_owned() }
    };
    CHECKS.iter().map(line).collect()
}

fn files(config: &Config) -> Vec<Line> {
    let mut lines = Vec::new();
    for dir in [&config.data_dir, &config.keys.dir, &config.audit.dir] {
        let why =
            "whoever reads it can forge tokens, guess passwords at leisure, or learn who logs in from where";
        let fix = format!("chmod 0700 {}", dir.display());
        let what = format!("{} is readable by its owner alone", dir.display());
        lines.push(Line::new(is_private(dir), "fail", what, why, fix));
    }
    let mut secrets = Vec::new();
    if let MailTransport::Smtp { login: Some((_, file)), .. } = &config.mail.transport {
        secrets.push(file);
    }
    if let Some(hook) = &config.alert.hook {
        secrets.push(&hook.secret_file);
    }
    for file in secrets {
        let readable =
            std::fs::read_to_string(file).is_ok_and(|text| !text.lines().next().unwrap_or("").is_empty());
        let what = format!("{} holds a secret and is readable by its owner alone", file.display());
        let fix = format!("write the secret into its first line, and chmod 0600 {}", file.display());
        lines.push(Line::new(
            readable && is_private(file),
            "fail",
            what,
            "mails or alerts cannot be sent, or by others too",
            fix,
        ));
    }
    let list = KnownBad::load(config.password.list_file.as_deref());
    let fix = list.as_ref().err().map_or_else(String::new, ToString::to_string);
    lines.push(Line::new(
        list.is_ok(),
        "fail",
        "password.list_file can be read",
        "the server will not start",
        fix,
    ));
    if let Some(age) = newest_key_age(&config.keys.dir) {
        let days = age.as_secs() / 86_400;
        let what = format!("the signing key is {days} days old");
        let why = "the longer a key signs, the more a leaked one is worth";
        lines.push(Line::new(days <= config.token.key_days, "warn", what, why, "portcullis key rotate"));
    }
    lines
}

/// A path that is not there yet will be made so that its owner alone reads it.
fn is_private(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |found| found.permissions().mode().trailing_zeros() >= 6)
}

fn newest_key_age(dir: &Path) -> Option<Duration> {
    let entries = std::fs::read_dir(dir).ok()?.flatten();
    let signing = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("signing-"));
    let newest = signing.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max()?;
    let made = newest.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Duration::from_secs(Clock::system().now().as_secs()).saturating_sub(made))
}

/// What hashing costs here, and whether there is the memory for it.
fn machine(config: &Config) -> Vec<Line> {
    let mut lines = Vec::new();
    let needed = config.password.threads as u64 * u64::from(config.password.cost.memory_kib);
    if let Some(free) = memory::free_kib() {
        let what = format!("{needed} KiB for hashing of {free} KiB that are free");
        let why = "the system ends the server when memory runs out, so it starts with fewer threads than are set, and one at \
                   least";
        let threads = memory::threads_within(free, config.password.threads, config.password.cost.memory_kib);
        let fix = if threads < config.password.threads {
            format!("[password] threads = {threads}")
        } else {
            String::from("give it more memory")
        };
        let enough = memory::is_enough(free, config.password.threads, config.password.cost.memory_kib);
        lines.push(Line::new(enough, "fail", what, why, fix));
    }
    let options = pool::Options {
        threads: 1,
        wait_budget: config.password.wait_budget,
        cost: config.password.cost,
        implementation: config.password.implementation,
        machine: config.machine,
    };
    let fail_stop = FailStop::new(|_| {});
    let pool = HashPool::start(options, &Clock::system(), &Arc::new(Random::system()), &fail_stop);
    if let Ok(pool) = pool {
        let took = pool.stats().hash_time;
        let rate = config.password.threads as f64 / took.as_secs_f64().max(1e-6);
        let what = format!("a hash takes {} ms here, so about {rate:.0} log-ins a second", took.as_millis());
        let memory = (config.password.cost.memory_kib * 2).min(262_144);
        let why = "a hash this quick is as quick for whoever guesses with a stolen copy";
        lines.push(Line::new(
            took.as_millis() >= 10,
            "warn",
            what,
            why,
            format!("[password] memory_kib = {memory}"),
        ));
    }
    lines
}

fn audit(config: &Config) -> Vec<Line> {
    // A new machine has neither keys nor a log yet, and looking at it makes none.
    let keys = LocalStorage::open_existing(&config.keys.dir).ok().filter(|keys| Keys::exist(keys));
    let Some(key) = keys.and_then(|keys| Keys::load(&keys).ok()).map(|keys| keys.audit()) else {
        return Vec::new();
    };
    let Ok(walked) = portcullis::audit::verify::verify(&config.audit.dir, &key) else { return Vec::new() };
    let what = match &walked {
        Ok(lines) => format!("the log of security events is whole: {lines} lines"),
        Err(broken) => format!("the log of security events is whole: {broken}"),
    };
    let why = "somebody changed it, or a crash cut it short, which the next start mends";
    vec![Line::new(
        walked.is_ok(),
        "fail",
        what,
        why,
        "keep a copy of audit.dir, and find out who could write to it",
    )]
}

/// What only a running server can know, if one runs.
fn running(config: &Config) -> Vec<Line> {
    let Ok(stream) = UnixStream::connect(socket::path(&config.data_dir)) else { return Vec::new() };
    let Ok(answer) = super::user::ask(stream, &Operation::Findings) else { return Vec::new() };
    let items = answer.pointer("/ok/items").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |item: &Value, field: &str| item.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
    let fail = |item: &Value| Line {
        state: "fail",
        what: text(item, "key"),
        why: text(item, "why"),
        fix: text(item, "fix"),
    };
    items.iter().map(fail).collect()
}
