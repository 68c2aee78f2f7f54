//! How mails are sent.

use std::path::PathBuf;

use super::read::Reader;

/// How SMTP is protected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SmtpTls {
    /// Upgraded on a plain connection, or nothing is sent.
    Starttls,
    /// From the first byte.
    Tls,
    /// Not at all: a server on this machine.
    None,
}

/// Where mails go.
#[derive(Clone, Debug)]
pub enum MailTransport {
    /// `.eml` files.
    File,
    /// A mail server.
    Smtp {
        /// Its name.
        host: String,
        /// Its port.
        port: u16,
        /// How it is spoken to.
        tls: SmtpTls,
        /// Who logs in, and the file with the password.
        login: Option<(String, PathBuf)>,
    },
}

pub(super) fn sender(reader: &mut Reader) -> String {
    let from = reader.words("mail.from").unwrap_or_default();
    if !email_address::EmailAddress::is_valid(&from) {
        reader.wrong("mail.from", format!("must be an e-mail address, not {from:?}"));
    }
    from
}

pub(super) fn transport(reader: &mut Reader) -> MailTransport {
    let host = reader.words("mail.smtp.host");
    let port = reader.number("mail.smtp.port", 1..=65_535) as u16;
    let tls = match reader.choice("mail.smtp.tls", &["starttls", "tls", "none"]).as_str() {
        "tls" => SmtpTls::Tls,
        "none" => SmtpTls::None,
        _ => SmtpTls::Starttls,
    };
    let login = match (reader.words("mail.smtp.username"), reader.words("mail.smtp.password_file")) {
        (Some(name), Some(file)) => Some((name, PathBuf::from(file))),
        (None, None) => None,
        _ => {
            reader.wrong("mail.smtp.username", "and `mail.smtp.password_file` belong together");
            None
        }
    };
    if reader.choice("mail.transport", &["file", "smtp"]) != "smtp" {
        return MailTransport::File;
    }
    let Some(host) = host else {
        reader.wrong("mail.transport", "is \"smtp\", but `mail.smtp.host` is not set");
        return MailTransport::File;
    };
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if tls == SmtpTls::None && !local {
        reader.wrong("mail.smtp.tls", "may be \"none\" for a server on this machine alone");
    }
    MailTransport::Smtp { host, port, tls, login }
}
