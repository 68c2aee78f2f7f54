//! `portcullis mail`, and the mail server of the configuration.

use std::time::Duration;

use clap::Subcommand;
use portcullis::config::{Config, MailTransport};
use portcullis::mail::outgoing::Outgoing;
use portcullis::mail::smtp::Smtp;
use portcullis::mail::template::Letter;
use portcullis::mail::transport::Transport;
use portcullis::server::mail_server::{self, MailServerError};
use portcullis::system::random::Random;
use portcullis::value::account_name::AccountName;
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
        source: None,
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
    mail_server::transport(config).map_err(failure)
}

/// Returns the mail server of the configuration, if it sets one.
fn smtp(config: &Config) -> Result<Option<Smtp>, Failure> {
    mail_server::smtp(config).map_err(failure)
}

fn failure(error: MailServerError) -> Failure {
    match error {
        MailServerError::Setting(what) => Failure::usage(what),
        MailServerError::Outbox(error) => Failure::refused(error),
    }
}
