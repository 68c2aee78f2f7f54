//! `portcullis doctor`: the security checklist. Each check prints one line, so that `grep fail` shows all there is to
//! do: the state, the setting, what is unsafe about it, and what to do.

mod files;
mod keys;
pub(super) mod ownership;

use std::sync::Arc;
use std::time::Duration;

use portcullis::audit::ends::Record;
use portcullis::audit::verify::verify;
use portcullis::config::checks::{CHECKS, Check, State};
use portcullis::config::{Config, Finding, MailTransport, SmtpTls};
use portcullis::engine::partition::key_files;
use portcullis::password::{Cost, HashPool, pool};
use portcullis::server::operator::operation::Operation;
use portcullis::server::operator::socket;
use portcullis::storage::local::LocalStorage;
use portcullis::system::clock::{Clock, FAR_AHEAD};
use portcullis::system::fail_stop::FailStop;
use portcullis::system::random::Random;
use portcullis::system::{descriptors, memory};
use portcullis::token::Keys;
use serde_json::{Value, json};

use super::delivery::receivers::Probed;
use super::{Cli, Failure, counted, operate, remembered, say};

/// A hash that takes less time than this is too cheap to guess.
const HASH_TIME_MIN: Duration = Duration::from_millis(10);
/// How often a hash is timed.
const HASH_TRIES: usize = 5;
/// The most that `password.memory_kib` and `password.passes` take.
const MEMORY_KIB_MAX: u32 = 262_144;
const PASSES_MAX: u32 = 10;
/// With fewer open files than this, connections are few.
const OPEN_FILES_MIN: u64 = 4096;

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
    lines.extend(files::checks(&config));
    lines.extend(keys::checks(&config).into_iter().map(|check| {
        let keys::Checked { is_good, otherwise, what, why, fix } = check;
        Line::new(is_good, otherwise, what, why, fix)
    }));
    let (hashing, hash_time) = hashing(&config);
    lines.extend(hashing);
    lines.push(open_files());
    lines.extend(audit_log(&config));
    lines.extend(clock(&config));
    lines.extend(mail_server(&config));
    lines.extend(receivers(&config));
    lines.extend(running_server(&config, hash_time));
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
    let all: Vec<Line> = CHECKS.iter().map(line).collect();
    let unsafe_keys: Vec<String> =
        all.iter().filter(|line| line.state != "pass").map(|line| line.what.clone()).collect();
    let mut lines: Vec<Line> = Vec::new();
    for line in all {
        // A key with several checks passes once, and only if it passes all.
        let is_said = unsafe_keys.contains(&line.what) || lines.iter().any(|said| said.what == line.what);
        if line.state != "pass" || !is_said {
            lines.push(line);
        }
    }
    lines
}

/// Checks that there is memory for hashing, and that a hash on this machine is not too cheap. Returns its time, too.
fn hashing(config: &Config) -> (Vec<Line>, Option<Duration>) {
    let threads = config.password.threads;
    let memory_kib = config.password.cost.memory_kib;
    let free = memory::free_kib();
    let mut lines = Vec::new();
    if let Some(free) = free {
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
    let mut times = hash_times(config);
    times.sort_unstable();
    if let (Some(least), Some(middle), Some(most)) = (times.first(), times.get(times.len() / 2), times.last())
    {
        let rate = threads as f64 / middle.as_secs_f64().max(1e-6);
        let what = format!(
            "time of a hash, {} ms ({} to {} ms in {} tries), so about {rate:.0} log-ins per second",
            middle.as_millis(),
            least.as_millis(),
            most.as_millis(),
            times.len()
        );
        let why = "a hash this fast is as fast for an attacker with a stolen copy";
        let fix = dearer(config.password.cost, threads, *middle, free);
        lines.push(Line::new(*middle >= HASH_TIME_MIN, "warn", what, why, fix));
    }
    (lines, times.get(times.len() / 2).copied())
}

/// Returns how long a hash takes here, several times: one alone says little on a machine that others use too.
fn hash_times(config: &Config) -> Vec<Duration> {
    let time = || {
        let options = pool::Options {
            threads: 1,
            wait_budget: config.password.wait_budget,
            cost: config.password.cost,
            implementation: config.password.implementation,
            memory_kib: u64::from(config.password.cost.memory_kib),
        };
        let fail_stop = FailStop::new(|_| {});
        let pool = HashPool::start(options, &Clock::system(), &Arc::new(Random::system()), &fail_stop);
        pool.ok().map(|pool| pool.stats().hash_time)
    };
    (0..HASH_TRIES).filter_map(|_| time()).collect()
}

/// Says which setting makes a hash that takes `time` long enough: more memory as far as that fits into what is `free`, or
/// else more passes.
fn dearer(cost: Cost, threads: usize, time: Duration, free: Option<u64>) -> String {
    if cost.memory_kib < Cost::SAFE.memory_kib || cost.passes < Cost::SAFE.passes {
        return String::from("see password.memory_kib above");
    }
    let factor = (HASH_TIME_MIN.as_secs_f64() / time.as_secs_f64().max(1e-6)).max(1.0);
    let memory_kib = (f64::from(cost.memory_kib) * factor / 1024.0).ceil() as u32 * 1024;
    if memory_kib <= MEMORY_KIB_MAX && free.is_none_or(|free| memory::is_enough(free, threads, memory_kib)) {
        return format!("set [password] memory_kib = {memory_kib}");
    }
    let passes = ((f64::from(cost.passes) * factor).ceil() as u32).clamp(cost.passes + 1, PASSES_MAX);
    format!("set [password] passes = {passes}, since there is no room for more memory")
}

/// Checks how many files and connections the process may have open.
fn open_files() -> Line {
    let limit = descriptors::raise();
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let most = descriptors::connections(limit, workers) * workers;
    let what = format!(
        "limit of open files, {limit}, so at most {}",
        counted(most as u64, "connection", "connections")
    );
    let why = "further clients wait until one of them goes, so a few slow clients keep the others out";
    let fix = "set LimitNOFILE=65536 in the unit, or ulimit -Hn in the shell";
    Line::new(limit >= OPEN_FILES_MIN, "warn", what, why, fix)
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

/// Speaks to the mail server: connects, secures the connection and logs in. Sends nothing.
fn mail_server(config: &Config) -> Vec<Line> {
    let MailTransport::Smtp { host, port, .. } = &config.mail.transport else {
        let what = "mail server, not asked: mail.transport is \"file\"";
        return vec![Line::new(true, "fail", what, "", "")];
    };
    let Some(probed) = super::delivery::mail::probe(config) else { return Vec::new() };
    let what = match &probed {
        Ok(()) => format!("mail server {host}:{port}, connected, {}", asked(config)),
        Err(error) => format!("mail server {host}:{port}, {error}"),
    };
    let why = "no mail leaves, so users cannot prove addresses or reset passwords";
    let fix = "check [mail.smtp] host, port, tls, ca_file, username and password_file";
    vec![Line::new(probed.is_ok(), "fail", what, why, fix)]
}

/// Connects to every program that the server calls: the webhook of alerts, webhooks and hooks. Asks nothing of them.
fn receivers(config: &Config) -> Vec<Line> {
    let probed = super::delivery::receivers::probe_all(config).into_iter();
    let line = |Probed { what, is_reached, why, fix }: Probed| Line::new(is_reached, "fail", what, &why, fix);
    probed.map(line).collect()
}

/// Says what the mail server was asked for.
fn asked(config: &Config) -> &'static str {
    match &config.mail.transport {
        MailTransport::Smtp { tls: SmtpTls::None, login: None, .. } => {
            "without TLS and without a log-in, as is set"
        }
        MailTransport::Smtp { tls: SmtpTls::None, .. } => "without TLS, as is set, and logged in",
        MailTransport::Smtp { login: None, .. } => "by TLS and without a log-in, since no username is set",
        _ => "by TLS and logged in",
    }
}

/// Asks the running server, if there is one, for what only it can know.
fn running_server(config: &Config, hash_time: Option<Duration>) -> Vec<Line> {
    let Ok(stream) = socket::connect(&config.data_dir) else { return Vec::new() };
    let Ok(answer) = operate::ask(stream, &Operation::Findings) else { return Vec::new() };
    let items = answer.pointer("/ok/items").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |item: &Value, field: &str| item.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
    let fail = |item: &Value| Line {
        state: "fail",
        what: text(item, "key"),
        why: text(item, "why"),
        fix: text(item, "fix"),
    };
    let mut lines: Vec<Line> = items.iter().map(fail).collect();
    lines.extend(answer.pointer("/ok/ready").map(readiness));
    let foreign = answer.pointer("/ok/foreign_hashes").and_then(Value::as_u64).unwrap_or(0);
    let log_in_kib = answer.pointer("/ok/log_in_kib").and_then(Value::as_u64).unwrap_or(0);
    lines.extend((foreign > 0).then(|| foreign_hashes(config, foreign, log_in_kib, hash_time)));
    lines
}

/// Says how many hashes of other systems are left, and what each log-in takes for them, if that is `log_in_kib` in all. They
/// stay for ever unless a time is set.
fn foreign_hashes(config: &Config, count: u64, log_in_kib: u64, hash_time: Option<Duration>) -> Line {
    let hashes = counted(count, "account has", "accounts have");
    let times = log_in_kib as f64 / (config.password.cost.work() as f64).max(1.0);
    let time = hash_time.map(|one| one.as_secs_f64() * times).filter(|secs| *secs > 0.0);
    let time = time.map_or_else(String::new, |secs| {
        let rate = config.password.threads as f64 / secs;
        format!(", up to {:.0} ms, so at least {rate:.1} log-ins per second", secs * 1000.0)
    });
    let what = format!(
        "hashes of other systems: {hashes} one that no log-in has replaced yet; each log-in takes the work of {times:.1} hashes \
         of our own{time}"
    );
    let why = "each check of a password takes the work of theirs too, and a copy of the old system can be guessed at";
    let fix = String::from("set [password] drop_foreign_after_days = 180");
    Line::new(config.password.foreign_for.is_some(), "warn", what, why, fix)
}

/// Checks what the running server says of itself, as `/readyz` does.
fn readiness(ready: &Value) -> Line {
    let text = |field: &str| ready.get(field).and_then(Value::as_str).unwrap_or_default().replace('_', " ");
    let reasons = ready.get("reasons").and_then(Value::as_array).into_iter().flatten();
    let reasons: Vec<&str> = reasons.filter_map(Value::as_str).collect();
    let status = text("status");
    let state = match status.as_str() {
        "ready" => "pass",
        "degraded" => "warn",
        _ => "fail",
    };
    let what = match reasons.as_slice() {
        [] => format!("running server, {status}"),
        reasons => format!("running server, {status}: {}", reasons.join(", ")),
    };
    let why = match state {
        "warn" => "/readyz names what does not work, though requests are answered",
        _ => "/readyz answers 503, so a load balancer sends no requests",
    };
    let fix = reasons.iter().map(|reason| remedy(reason)).collect::<Vec<_>>().join("; ");
    Line { state, what, why: why.to_owned(), fix }
}

/// Says what to do about a reason that `/readyz` gives.
fn remedy(reason: &str) -> &str {
    match reason {
        "storage_full" => "make room on the disk of data_dir",
        "audit_unavailable" => "make room on the disk of audit.dir, and let the server write there",
        "snapshot_failing" => "look into the server's log for the reason",
        "clock_ahead" => "set the clock of this machine right, and see portcullis data reset-clock-floor",
        "mails_waiting" => "look whether the mail server takes mails: portcullis mail test ADDRESS",
        "stopping" => "wait until it has stopped",
        _ => "look into the server's log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind: two lines of the checklist advise what cannot both be done.
    #[test]
    fn a_dearer_hash_is_advised_only_as_far_as_it_fits() {
        let safe = Cost::SAFE;
        let ms = Duration::from_millis;
        assert_eq!(dearer(safe, 2, ms(5), None), "set [password] memory_kib = 38912");
        assert_eq!(dearer(safe, 2, ms(5), Some(1 << 20)), "set [password] memory_kib = 38912");
        // Half of what is free holds two threads as they are, but no more.
        let passes = dearer(safe, 2, ms(5), Some(u64::from(safe.memory_kib) * 4));
        assert_eq!(passes, "set [password] passes = 4, since there is no room for more memory");
        assert_eq!(dearer(safe, 2, ms(7), None), "set [password] memory_kib = 28672");
        let most = Cost { memory_kib: MEMORY_KIB_MAX, ..safe };
        assert!(dearer(most, 1, ms(9), None).contains("passes = 3"));
        let cheap = Cost { memory_kib: 64, ..safe };
        assert_eq!(dearer(cheap, 2, ms(1), None), "see password.memory_kib above");
    }
}
