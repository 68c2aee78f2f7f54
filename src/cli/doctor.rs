//! `portcullis doctor`: the security checklist. Each check prints one line, so that `grep fail` shows all there is to
//! do: the state, the setting, what is unsafe about it, and what to do.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use portcullis::audit::ends::Record;
use portcullis::audit::verify::verify;
use portcullis::config::checks::{CHECKS, Check, State};
use portcullis::config::{Config, Finding, MailTransport};
use portcullis::engine::partition::key_files;
use portcullis::password::{HashPool, KnownBad, pool};
use portcullis::server::operator::operation::Operation;
use portcullis::server::operator::socket;
use portcullis::storage::local::LocalStorage;
use portcullis::system::clock::{Clock, FAR_AHEAD};
use portcullis::system::fail_stop::FailStop;
use portcullis::system::memory;
use portcullis::system::random::Random;
use portcullis::token::Keys;
use serde_json::{Value, json};

use super::{Cli, Failure, counted, key_checks, operate, remembered, say};

/// A hash that takes less time than this is too cheap to guess.
const HASH_MS_MIN: u128 = 10;

/// The result of one check.
struct Line {
    /// `pass`, `warn` or `fail`.
    state: &'static str,
    /// The setting, or what else was checked.
    what: String,
    /// The reason why it is unsafe.
    why: String,
    /// The remedy.
    fix: String,
}

impl Line {
    /// Creates a line whose state is `pass` if `is_good` and `otherwise` if not.
    fn new(
        is_good: bool,
        otherwise: &'static str,
        what: impl Into<String>,
        why: &str,
        fix: impl Into<String>,
    ) -> Self {
        let state = if is_good { "pass" } else { otherwise };
        Self { state, what: what.into(), why: why.to_owned(), fix: fix.into() }
    }

    fn text(&self) -> String {
        let Self { state, what, why, fix } = self;
        if *state == "pass" { format!("{state}  {what}") } else { format!("{state}  {what}: {why}: {fix}") }
    }

    fn json(&self) -> Value {
        json!({"state": self.state, "what": self.what, "why": self.why, "fix": self.fix})
    }
}

pub(super) fn run(cli: &Cli) -> Result<(), Failure> {
    let config = cli.load()?;
    let mut lines = settings(&config);
    lines.extend(files(&config));
    lines.extend(key_checks::checks(&config).into_iter().map(|check| {
        let key_checks::Checked { is_good, otherwise, what, why, fix } = check;
        Line::new(is_good, otherwise, what, why, fix)
    }));
    lines.extend(hashing(&config));
    lines.extend(audit_log(&config));
    lines.extend(clock(&config));
    lines.extend(mail_server(&config));
    lines.extend(running_server(&config));
    if cli.json {
        let items: Vec<Value> = lines.iter().map(Line::json).collect();
        say(&json!({ "items": items }).to_string());
    } else {
        for line in &lines {
            say(&line.text());
        }
    }
    match lines.iter().filter(|line| line.state == "fail").count() as u64 {
        0 => Ok(()),
        failed => Err(Failure::refused(format!("{} failed", counted(failed, "check", "checks")))),
    }
}

/// Checks the settings alone. If only this machine reaches the server, a setting that is unsafe in public is only a
/// warning.
fn settings(config: &Config) -> Vec<Line> {
    let is_public = config.http.is_public();
    let line = |check: &Check| {
        let state = match check.state(config) {
            State::Good => "pass",
            State::Unsafe if is_public => "fail",
            State::Unsafe | State::Doubtful => "warn",
        };
        Line { state, what: check.key.to_owned(), why: check.why.to_owned(), fix: check.fix.to_owned() }
    };
    CHECKS.iter().map(line).collect()
}

/// Checks directories and files: who can read them.
fn files(config: &Config) -> Vec<Line> {
    let mut lines = Vec::new();
    for dir in [&config.data_dir, &config.keys.dir, &config.audit.dir] {
        let what = format!("permissions of {}", dir.display());
        let why = "a user who can read it can forge tokens, guess passwords offline, or learn who logs in from where";
        let fix = format!("chmod 0700 {}", dir.display());
        lines.push(Line::new(is_private(dir), "fail", what, why, fix));
    }
    for file in secret_files(config) {
        let first_line =
            std::fs::read_to_string(file).map(|text| text.lines().next().unwrap_or("").to_owned());
        let holds_secret = first_line.is_ok_and(|line| !line.is_empty());
        let what = format!("secret in {}", file.display());
        let why = "it is missing, or other users can read it: mails or alerts cannot be sent, or others can send them";
        let fix = format!("write the secret into its first line, and chmod 0600 {}", file.display());
        lines.push(Line::new(holds_secret && is_private(file), "fail", what, why, fix));
    }
    let list = KnownBad::load(config.password.list_file.as_deref());
    let fix = list.as_ref().err().map_or_else(String::new, |error| format!("make it readable: {error}"));
    lines.push(Line::new(
        list.is_ok(),
        "fail",
        "list of known passwords",
        "password.list_file cannot be read, so the server will not start",
        fix,
    ));
    lines
}

fn secret_files(config: &Config) -> Vec<&Path> {
    let mut files = Vec::new();
    if let MailTransport::Smtp { login: Some((_, file)), .. } = &config.mail.transport {
        files.push(file.as_path());
    }
    if let Some(hook) = &config.alert.hook {
        files.push(hook.secret_file.as_path());
    }
    files
}

/// Says whether only its owner can read `path`. A path that does not exist yet will be created that way.
fn is_private(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |metadata| metadata.permissions().mode().trailing_zeros() >= 6)
}

/// Checks that there is memory for hashing, and that a hash on this machine is not too cheap.
fn hashing(config: &Config) -> Vec<Line> {
    let threads = config.password.threads;
    let memory_kib = config.password.cost.memory_kib;
    let mut lines = Vec::new();
    if let Some(free) = memory::free_kib() {
        let needed = threads as u64 * u64::from(memory_kib);
        let what = format!("memory for hashing, {needed} KiB of {free} KiB that are free");
        let why = "if memory runs out the kernel ends the server, so it starts with fewer threads than are set, \
                   but at least one";
        let threads_within = memory::threads_within(free, threads, memory_kib);
        let fix = if threads_within < threads {
            format!("set [password] threads = {threads_within}")
        } else {
            String::from("give the machine more memory")
        };
        lines.push(Line::new(memory::is_enough(free, threads, memory_kib), "fail", what, why, fix));
    }
    let options = pool::Options {
        threads: 1,
        wait_budget: config.password.wait_budget,
        cost: config.password.cost,
        implementation: config.password.implementation,
    };
    let fail_stop = FailStop::new(|_| {});
    let pool = HashPool::start(options, &Clock::system(), &Arc::new(Random::system()), &fail_stop);
    if let Ok(pool) = pool {
        let hash_time = pool.stats().hash_time;
        let rate = threads as f64 / hash_time.as_secs_f64().max(1e-6);
        let what =
            format!("time of a hash, {} ms, so about {rate:.0} log-ins per second", hash_time.as_millis());
        let why = "a hash this fast is as fast for an attacker with a stolen copy";
        let fix = format!("set [password] memory_kib = {}", (memory_kib * 2).min(262_144));
        lines.push(Line::new(hash_time.as_millis() >= HASH_MS_MIN, "warn", what, why, fix));
    }
    lines
}

/// Checks that the log of security events is unbroken.
fn audit_log(config: &Config) -> Vec<Line> {
    // A new machine has neither keys nor a log yet, and a check must not create them.
    if LocalStorage::open_existing(&config.keys.dir).is_err() {
        return Vec::new();
    }
    let files = key_files(config, &Arc::new(Random::system())).ok();
    let Some(key) = files.and_then(|files| Keys::load_audit(&files).ok()) else { return Vec::new() };
    let data = LocalStorage::open_existing(&config.data_dir).ok();
    let record = data.as_ref().and_then(|data| Record::read(data, &key).ok());
    let Ok(verified) = verify(&config.audit.dir, &key, record.as_ref()) else { return Vec::new() };
    let known = data.as_ref().and_then(|data| remembered::audit_end(data));
    let removed = known.zip(record).and_then(|(known, record)| record.compare(&known));
    let broken = verified.as_ref().err().map(ToString::to_string).or(removed);
    let what = match (&verified, &broken) {
        (Ok(log), None) => format!("log of security events, {}", counted(log.lines, "line", "lines")),
        (_, broken) => format!("log of security events, {}", broken.as_deref().unwrap_or_default()),
    };
    let why = "it was changed, or a crash cut it short, which the next start mends";
    let fix =
        "keep a copy of audit.dir, find out who could write to it, and run: portcullis audit acknowledge";
    vec![Line::new(broken.is_none(), "fail", what, why, fix)]
}

/// Checks that a stopped directory has seen no time that is still to come. A running server is asked.
fn clock(config: &Config) -> Option<Line> {
    let data = LocalStorage::open_existing(&config.data_dir).ok()?;
    let ahead = remembered::latest_time(&data)?.since(Clock::system().now());
    let Finding { why, fix, .. } = Finding::clock_ahead(ahead);
    Some(Line::new(ahead < FAR_AHEAD, "fail", "clock, compared with the journal", &why, fix))
}

/// Speaks to the mail server up to the log-in, if one is set.
fn mail_server(config: &Config) -> Vec<Line> {
    let MailTransport::Smtp { host, port, .. } = &config.mail.transport else { return Vec::new() };
    let Some(probed) = super::mail::probe(config) else { return Vec::new() };
    let what = match &probed {
        Ok(()) => format!("mail server {host}:{port}"),
        Err(error) => format!("mail server {host}:{port}, {error}"),
    };
    let why = "no mail leaves, so users cannot prove addresses or reset passwords";
    let fix = "check [mail.smtp] host, port, tls, ca_file, username and password_file";
    vec![Line::new(probed.is_ok(), "fail", what, why, fix)]
}

/// Asks the running server, if there is one, for what only it can know.
fn running_server(config: &Config) -> Vec<Line> {
    let Ok(stream) = UnixStream::connect(socket::path(&config.data_dir)) else { return Vec::new() };
    let Ok(answer) = operate::ask(stream, &Operation::Findings) else { return Vec::new() };
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
