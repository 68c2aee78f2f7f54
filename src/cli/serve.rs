//! `portcullis serve`.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use portcullis::config::{Config, MailTransport, SmtpTls};
use portcullis::engine::start::StartError;
use portcullis::mail::smtp::Smtp;
use portcullis::mail::transport::Transport;
use portcullis::server;
use portcullis::storage::local::LocalStorage;
use portcullis::system::clock::Clock;
use portcullis::system::fail_stop::FailStop;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::prelude::*;

use super::{Cli, Failure, say};

/// A process at fault is gone by then, also where its last line cannot be written.
const EXIT_WITHIN: Duration = Duration::from_millis(100);

/// How to serve.
#[derive(Args, Debug, Default)]
pub struct Serve {
    /// Refuse to start while an unsafe setting stands.
    #[arg(long)]
    production: bool,
    /// Start although the journal is more than a day ahead of the system's clock.
    #[arg(long)]
    accept_clock_floor: bool,
}

impl Serve {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let config = cli.load()?;
        let public = !config.http.listen.ip().is_loopback();
        let found = config.unsafe_settings();
        if (self.production || public) && !found.is_empty() {
            let lines: Vec<String> =
                found.iter().map(|f| format!("  {}: {}; {}", f.key, f.why, f.fix)).collect();
            let why = if self.production { "--production" } else { "the public address" };
            return Err(Failure::usage(format!(
                "{why} does not go with these settings:\n{}",
                lines.join("\n")
            )));
        }
        start_log();
        let fail_stop = FailStop::new(|why| {
            // Whoever reads the last line may have stopped reading; the process ends all the same.
            let _ = std::thread::Builder::new().name("watchdog".into()).spawn(|| {
                std::thread::sleep(EXIT_WITHIN);
                // As little as an exit does this leave secrets in a core file.
                let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
                let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
                std::process::abort();
            });
            // The last line, straight to where it is read; exit and not abort, since a core file would hold secrets.
            let _ = writeln!(std::io::stderr(), "portcullis: fault, the process ends: {why}");
            std::process::exit(70);
        });
        #[cfg(debug_assertions)]
        let fail_stop = fail_stop.planning(std::env::var("PORTCULLIS_PANIC_IN").ok());
        let transport = transport(&config)?;
        actix_web::rt::System::new().block_on(self.serve(config, transport, fail_stop))
    }

    async fn serve(&self, config: Config, transport: Transport, fail_stop: FailStop) -> Result<(), Failure> {
        let built =
            server::build(config, Clock::system(), self.accept_clock_floor, Some(transport), &fail_stop);
        let server = built.map_err(|error| match error {
            StartError::Refused(refusal) => Failure::refused(refusal),
            StartError::Io(error) => Failure::refused(error),
            StartError::Key(error) => Failure::fault(error),
        })?;
        for warning in server.found().warnings.iter().chain(server.engine.services.pool.warnings()) {
            tracing::warn!("{warning}");
        }
        banner(&server);
        let signal = stop_signal().await.map_err(Failure::fault)?;
        tracing::info!("{signal}: stopping; requests are drained first");
        server.stop().await;
        tracing::info!("stopped");
        Ok(())
    }
}

fn banner(server: &server::Server) {
    let config = &server.engine.services.config;
    let pool = server.engine.services.pool.stats();
    let hash_ms = pool.hash_time.as_secs_f64() * 1000.0;
    let threads = server.engine.services.pool.threads() as f64;
    let rate = threads / pool.hash_time.max(Duration::from_micros(1)).as_secs_f64();
    let mails = match &config.mail.transport {
        MailTransport::File => format!("written to {}", config.data_dir.join("outbox").display()),
        MailTransport::Smtp { host, port, .. } => format!("sent through {host}:{port}"),
    };
    let shown = if config.mail.console { ", links shown here" } else { "" };
    let found = server.found();
    let past = if found.first_start {
        String::from("new")
    } else {
        format!("{} records and {} entries recovered", found.records, found.entries)
    };
    say(&format!(
        "Portcullis {}\n  url    {}\n  api    {}/v1, keys at {}/.well-known/jwks.json\n  data   {} ({past})\n  mails  \
         {mails}{shown}\n  hash   {hash_ms:.0} ms each, about {rate:.0} log-ins a second ({})\n  ready on {}",
        env!("CARGO_PKG_VERSION"),
        config.http.public_origin,
        config.http.public_origin,
        config.http.public_origin,
        config.data_dir.display(),
        server.engine.services.pool.implementation(),
        server.address,
    ));
}

fn start_log() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,lettre=warn,actix_server=warn,portcullis::event=info"));
    let registry = tracing_subscriber::registry().with(filter);
    if std::io::stdout().is_terminal() {
        registry.with(tracing_subscriber::fmt::layer().with_target(false)).init();
    } else {
        registry.with(tracing_subscriber::fmt::layer().json().flatten_event(true)).init();
    }
}

fn transport(config: &Config) -> Result<Transport, Failure> {
    match &config.mail.transport {
        MailTransport::File => {
            let storage = LocalStorage::open(&config.data_dir.join("outbox")).map_err(Failure::refused)?;
            Ok(Transport::Files(Arc::new(storage)))
        }
        MailTransport::Smtp { host, port, tls, login } => {
            use lettre::transport::smtp::client::{Tls, TlsParameters};
            let parameters = || TlsParameters::new(host.clone()).map_err(Failure::usage);
            let tls = match tls {
                SmtpTls::Starttls => Tls::Required(parameters()?),
                SmtpTls::Tls => Tls::Wrapper(parameters()?),
                SmtpTls::None => Tls::None,
            };
            let domain = config.mail.from.rsplit('@').next().unwrap_or("localhost");
            let mut server = Smtp::new(host, *port, tls, domain);
            if let Some((name, file)) = login {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
                server = server.logging_in(name, text.lines().next().unwrap_or_default());
            }
            Ok(Transport::Smtp(server))
        }
    }
}

async fn stop_signal() -> std::io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
