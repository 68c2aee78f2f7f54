//! `portcullis serve`.

mod signals;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use portcullis::config::checks::unsafe_settings;
use portcullis::config::{Config, Finding, MailTransport};
use portcullis::mail::transport::Transport;
use portcullis::server;
use portcullis::server::operator::socket;
use portcullis::storage::local::LocalStorage;
use portcullis::system::clock::Clock;
use portcullis::system::fail_stop::FailStop;
use serde_json::json;

use self::signals::Signals;
use super::delivery::mail::transport;
use super::doctor::ownership;
use super::log::{ProcessLog, START};
use super::new_directory::refuse_backup;
use super::{Cli, Failure, counted, shown};

/// How long after a fault the process may live, even if its last line cannot be written.
const EXIT_WITHIN: Duration = Duration::from_millis(100);

/// How to serve.
#[derive(Args, Debug, Default)]
pub struct Serve {
    /// Refuse to start with an unsafe setting, even if only this machine reaches the server. With a public address or
    /// origin this always holds.
    #[arg(long)]
    production: bool,
    /// Start with unsafe settings although others may reach the server: to try it out under a name, or in a container.
    #[arg(long, conflicts_with = "production")]
    development: bool,
    /// Start although the journal is more than a day ahead of the system's clock.
    #[arg(long)]
    accept_clock_floor: bool,
    /// Stop when standard input ends, and delete the data directory, which must be empty at the start.
    #[arg(long, hide = true)]
    throw_away: bool,
}

impl Serve {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let signals = Signals::watch().map_err(Failure::fault)?;
        let config = cli.load()?;
        let _throw_away = self.throw_away.then(|| ThrowAway::begin(&config.data_dir)).transpose()?;
        if self.throw_away {
            signals.stop_without_parent().map_err(Failure::fault)?;
        }
        refuse_backup(&config.data_dir)?;
        ownership::refuse_root_among_others(&config)?;
        ownership::refuse_foreign_files(&config)?;
        let findings = unsafe_settings(&config);
        let is_strict = self.production || (config.http.is_public() && !self.development);
        if is_strict && !findings.is_empty() {
            return Err(self.refusal(&findings));
        }
        // Before anything is made in the data directory.
        socket::check_path(&config.data_dir).map_err(Failure::refused)?;
        let clock = Clock::system();
        let log = Arc::new(ProcessLog::start(&config, &clock)?);
        signals.log_to(&log);
        if config.http.is_public() {
            for Finding { key, why, fix } in &findings {
                tracing::warn!("unsafe setting {key}, allowed by --development: {why}; {fix}");
            }
        }
        let fail_stop = FailStop::new(end_process);
        #[cfg(debug_assertions)]
        let fail_stop = fail_stop.planning(std::env::var("PORTCULLIS_PANIC_IN").ok());
        // Before anything in it, so that an error names the directory that has to be made.
        LocalStorage::open(&config.data_dir).map_err(Failure::refused)?;
        let transport = transport(&config)?;
        let served = actix_web::rt::System::new()
            .block_on(self.serve(config, clock, transport, fail_stop, &log, &signals));
        log.end();
        served
    }

    fn refusal(&self, findings: &[Finding]) -> Failure {
        let lines: Vec<String> = findings
            .iter()
            .map(|finding| format!("  {}: {}: {}", finding.key, finding.why, finding.fix))
            .collect();
        let place = if self.production { "with --production" } else { "with a public address or origin" };
        let settings = counted(findings.len() as u64, "setting is", "settings are");
        Failure::usage(format!("refused to start {place}, since {settings} unsafe:\n{}", lines.join("\n")))
    }

    async fn serve(
        &self,
        config: Config,
        clock: Clock,
        transport: Transport,
        fail_stop: FailStop,
        log: &Arc<ProcessLog>,
        signals: &Signals,
    ) -> Result<(), Failure> {
        let server = server::build(config, clock, self.accept_clock_floor, Some(transport), &fail_stop)?;
        for warning in server.found().warnings.iter().chain(server.engine.services.pool.warnings()) {
            tracing::warn!(target: START, "{warning}");
        }
        server.engine.services.set_log_figures(log.figures());
        log.keep_summing_up();
        let stop = signals.started(log);
        let banner = Banner::of(&server);
        log.say(&if log.is_for_people() { banner.text() } else { banner.json() });
        log.say_in_file(|is_text| if is_text { banner.line() } else { banner.json() });
        let signal = stop.await.map_err(Failure::fault)?;
        tracing::info!("received {signal}: finishing the open requests, then stopping");
        server.stop().await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// The data directory of a throw-away server. Dropping it deletes the directory.
struct ThrowAway(PathBuf);

impl ThrowAway {
    /// Errors: the directory is not there, or something is in it, which would be lost.
    fn begin(dir: &Path) -> Result<Self, Failure> {
        let mut entries = dir.read_dir().map_err(|error| Failure::at(dir, &error))?;
        if entries.next().is_some() {
            let what = "is not empty, and --throw-away would delete what is in it";
            return Err(Failure::usage(format!("{} {what}", dir.display())));
        }
        Ok(Self(dir.to_owned()))
    }
}

impl Drop for ThrowAway {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Ends the process with exit code 70 after a fault, for the reason `why`.
fn end_process(why: &str) {
    // The reader of stderr may have stopped reading, so that the write below blocks; the process must end nevertheless.
    let _ = std::thread::Builder::new().name("watchdog".into()).spawn(|| {
        std::thread::sleep(EXIT_WITHIN);
        abort();
    });
    // Straight to stderr, without the log. Then exit, not abort, since a core file would hold secrets.
    let _ = writeln!(std::io::stderr(), "portcullis: fault, the process ends: {why}");
    std::process::exit(70);
}

/// Aborts the process, without a core file, which would hold secrets.
fn abort() -> ! {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    std::process::abort()
}

/// What a start says: where the server is reached, where its data are, and how fast it hashes.
struct Banner<'a> {
    server: &'a server::RunningServer,
    config: &'a Config,
    /// Time of one hash in milliseconds.
    hash_ms: f64,
    log_ins_per_second: f64,
    mails: String,
}

impl<'a> Banner<'a> {
    fn of(server: &'a server::RunningServer) -> Self {
        let config = &server.engine.services.config;
        let pool = &server.engine.services.pool;
        let hash_time = pool.stats().hash_time;
        let mails = match &config.mail.transport {
            MailTransport::File => format!("written to {}", shown(&config.data_dir.join("outbox"))),
            MailTransport::Smtp { host, port, .. } => format!("sent through {host}:{port}"),
        };
        Self {
            server,
            config,
            hash_ms: (hash_time.as_secs_f64() * 10_000.0).round() / 10.0,
            log_ins_per_second: (pool.threads() as f64
                / hash_time.max(Duration::from_micros(1)).as_secs_f64())
            .round(),
            mails,
        }
    }

    /// Returns the text for people.
    fn text(&self) -> String {
        let Self { server, config, hash_ms, log_ins_per_second, mails } = self;
        let links = if config.mail.console { ", links printed here" } else { "" };
        let found = server.found();
        let state = if found.first_start {
            String::from("new")
        } else {
            let records = counted(found.records, "record", "records");
            let entries = counted(found.entries, "entry", "entries");
            format!("{records} and {entries} recovered")
        };
        format!(
            "Portcullis {}\n  url    {}\n  api    {}/v1, keys at {}/.well-known/jwks.json\n  data   {} ({state})\n  \
             mails  {mails}{links}\n  hash   {hash_ms:.0} ms each, about {log_ins_per_second:.0} log-ins per second \
             ({})\n  ready on {}",
            env!("CARGO_PKG_VERSION"),
            config.http.public_origin,
            config.http.public_origin,
            config.http.public_origin,
            shown(&config.data_dir),
            server.engine.services.pool.implementation(),
            server.address,
        )
    }

    /// Returns a line like the others of a log for people.
    fn line(&self) -> String {
        let Self { server, config, .. } = self;
        let found = server.found();
        format!(
            "{}  INFO Portcullis {} is ready on {}: url {}, data {}, {} and {} recovered",
            server.engine.clock.now().rfc3339(),
            env!("CARGO_PKG_VERSION"),
            server.address,
            config.http.public_origin,
            shown(&config.data_dir),
            counted(found.records, "record", "records"),
            counted(found.entries, "entry", "entries"),
        )
    }

    /// Returns a line like the others of a log for programs. It is there whatever levels are set.
    fn json(&self) -> String {
        let Self { server, config, hash_ms, log_ins_per_second, mails } = self;
        let found = server.found();
        json!({
            "timestamp": server.engine.clock.now().rfc3339(),
            "level": "INFO",
            "message": format!("ready on {}", server.address),
            "version": env!("CARGO_PKG_VERSION"),
            "url": config.http.public_origin.as_str(),
            "data_dir": shown(&config.data_dir),
            "first_start": found.first_start,
            "operators": server.operators_address.map(|address| address.to_string()),
            "records": found.records,
            "entries": found.entries,
            "mails": mails,
            "hash_ms": hash_ms,
            "log_ins_per_second": log_ins_per_second,
            "hashing": server.engine.services.pool.implementation(),
            "target": START,
        })
        .to_string()
    }
}
