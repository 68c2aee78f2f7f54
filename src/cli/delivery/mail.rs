//! `portcullis mail`, and the mail server of the configuration.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use lettre::transport::smtp::client::Tls;
use portcullis::config::{Config, MailTransport, SmtpTls};
use portcullis::mail::outgoing::Outgoing;
use portcullis::mail::smtp::{Smtp, tls_parameters};
use portcullis::mail::template::Letter;
use portcullis::mail::transport::Transport;
use portcullis::storage::local::LocalStorage;
use portcullis::system::random::Random;
use portcullis::value::account_name::AccountName;
use portcullis::value::file_text;
use portcullis::value::id::hex;
use serde_json::json;

use super::run_async;
use crate::cli::doctor::ownership::refuse_root_among_others;
use crate::cli::new_directory::refuse_backup;
use crate::cli::{Cli, Failure, say};

/// How long a test of the mail server may take. Its operator waits for it.
const TEST_DEADLINE: Duration = Duration::from_secs(15);

/// The subcommands for mails.
#[derive(Debug, Subcommand)]
pub enum MailCommand {
    /// Send a test mail, in the way that the configuration sets, and say what became of it.
    ///
    /// Needs no running server. Exits with 1 if the mail server does not take the mail.
    Test {
        /// Address that the mail goes to.
        address: String,
    },
}

impl MailCommand {
    pub(in crate::cli) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let Self::Test { address } = self;
        let config = cli.load()?;
        let to =
            AccountName::parse(address).map_err(|error| Failure::usage(format!("{address}: {error}")))?;
        let (transport, by) = match &config.mail.transport {
            MailTransport::File => {
                refuse_backup(&config.data_dir)?;
                refuse_root_among_others(&config)?;
                (transport(&config)?, format!("written to {}", config.data_dir.join("outbox").display()))
            }
            MailTransport::Smtp { host, port, .. } => {
                let server = smtp(&config)?.map(|server| server.within(TEST_DEADLINE));
                let server = server.ok_or_else(|| Failure::usage("no mail server is set"))?;
                (Transport::Smtp(server), format!("taken by {host}:{port}"))
            }
        };
        let mail = test_mail(&config, to.as_str())?;
        let id = mail.message_id.clone();
        run_async(transport.deliver(mail))?
            .map_err(|error| Failure::refused(format!("the mail was not sent: {error}")))?;
        if cli.json {
            say(&json!({"to": to.as_str(), "message_id": id, "result": by}).to_string());
        } else {
            say(&format!("mail to {}: {by}, Message-ID {id}", to.as_str()));
        }
        Ok(())
    }
}

fn test_mail(config: &Config, to: &str) -> Result<Outgoing, Failure> {
    let from = &config.mail.from;
    let id: [u8; 16] = Random::system().bytes().map_err(Failure::fault)?;
    let text = "This is a test. If you can read it, mails of this service reach you.";
    Ok(Outgoing {
        message_id: format!("<{}@{}>", hex(&id), from.domain),
        from: from.address(),
        from_name: from.name.clone(),
        to: to.to_owned(),
        letter: Letter {
            subject: format!("Test mail of {}", config.service_name),
            text: format!("{text}\n"),
            html: format!("<!doctype html><html lang=\"en\"><body><p>{text}</p></body></html>"),
            link: None,
        },
    })
}

/// Speaks to the mail server up to the log-in, sends nothing, and leaves. `None` if no server is set.
pub(in crate::cli) fn probe(config: &Config) -> Option<Result<(), String>> {
    let server = match smtp(config) {
        Ok(server) => server?.within(TEST_DEADLINE),
        Err(Failure(_, why)) => return Some(Err(why)),
    };
    Some(match run_async(server.probe()) {
        Ok(probed) => probed.map_err(|error| error.to_string()),
        Err(Failure(_, why)) => Err(why),
    })
}

/// Creates the transport for mails.
pub(in crate::cli) fn transport(config: &Config) -> Result<Transport, Failure> {
    if let Some(server) = smtp(config)? {
        return Ok(Transport::Smtp(server));
    }
    let storage = LocalStorage::open(&config.data_dir.join("outbox")).map_err(Failure::refused)?;
    Ok(Transport::Files(Arc::new(storage)))
}

/// Returns the mail server of the configuration, if it sets one.
fn smtp(config: &Config) -> Result<Option<Smtp>, Failure> {
    let MailTransport::Smtp { host, port, tls, ca_file, login } = &config.mail.transport else {
        return Ok(None);
    };
    let authorities = ca_file.as_deref().map(authorities).transpose()?;
    let parameters = || {
        tls_parameters(host, authorities.as_deref()).map_err(|error| {
            let file = ca_file.as_deref().map_or_else(String::new, |file| format!(" {}", file.display()));
            Failure::usage(format!("cannot use TLS to the mail server with mail.smtp.ca_file{file}: {error}"))
        })
    };
    let tls = match tls {
        SmtpTls::Starttls => Tls::Required(parameters()?),
        SmtpTls::Tls => Tls::Wrapper(parameters()?),
        SmtpTls::None => Tls::None,
    };
    let server = Smtp::new(host, *port, tls, &config.mail.from.domain);
    let mut server = server.taking_utf8(config.mail.utf8);
    if let Some((name, file)) = login {
        let password = file.read_line();
        let password = password
            .map_err(|error| Failure::usage(format!("cannot use mail.smtp.password_file: {error}")))?;
        server = server.logging_in(name, password.as_str());
    }
    Ok(Some(server))
}

/// Reads the PEM file of the authorities.
fn authorities(file: &Path) -> Result<String, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot read mail.smtp.ca_file {}: {why}", file.display()))
    };
    let bytes = std::fs::read(file).map_err(|error| wrong(&error))?;
    file_text::text(&bytes).map(ToOwned::to_owned).map_err(|error| wrong(&error))
}
