//! The way of mails that the configuration sets.

use std::path::Path;
use std::sync::Arc;

use lettre::transport::smtp::client::Tls;

use crate::config::{Config, MailTransport, SmtpTls};
use crate::mail::smtp::{Smtp, tls_parameters};
use crate::mail::transport::Transport;
use crate::storage::local::LocalStorage;
use crate::value::file_text;

/// Why mails cannot take the way that the configuration sets.
#[derive(Debug, thiserror::Error)]
pub enum MailServerError {
    /// A setting, or a file that one names.
    #[error("{0}")]
    Setting(String),
    /// The directory of mails that are written to files.
    #[error(transparent)]
    Outbox(std::io::Error),
}

/// Creates the transport for mails.
pub fn transport(config: &Config) -> Result<Transport, MailServerError> {
    if let Some(server) = smtp(config)? {
        return Ok(Transport::Smtp(server));
    }
    let storage = LocalStorage::open(&config.data_dir.join("outbox")).map_err(MailServerError::Outbox)?;
    Ok(Transport::Files(Arc::new(storage)))
}

/// Returns the mail server of the configuration, if it sets one.
pub fn smtp(config: &Config) -> Result<Option<Smtp>, MailServerError> {
    let MailTransport::Smtp { host, port, tls, ca_file, login } = &config.mail.transport else {
        return Ok(None);
    };
    let authorities = ca_file.as_deref().map(authorities).transpose()?;
    let parameters = || {
        tls_parameters(host, authorities.as_deref()).map_err(|error| {
            let file = ca_file.as_deref().map_or_else(String::new, |file| format!(" {}", file.display()));
            let what = "cannot use TLS to the mail server with mail.smtp.ca_file";
            MailServerError::Setting(format!("{what}{file}: {error}"))
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
        let password = file.read_line().map_err(|error| {
            MailServerError::Setting(format!("cannot use mail.smtp.password_file: {error}"))
        })?;
        server = server.logging_in(name, password.as_str());
    }
    Ok(Some(server))
}

/// Reads the PEM file of the authorities.
fn authorities(file: &Path) -> Result<String, MailServerError> {
    let wrong = |why: &dyn std::fmt::Display| {
        MailServerError::Setting(format!("cannot read mail.smtp.ca_file {}: {why}", file.display()))
    };
    let bytes = std::fs::read(file).map_err(|error| wrong(&error))?;
    file_text::text(&bytes).map(ToOwned::to_owned).map_err(|error| wrong(&error))
}
