//! `[mail]`: how mails are sent, and from whom.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::key::{Key, choice, flag, number, text};
use crate::config::reader::Reader;

pub(in crate::config) const KEYS: &[Key] = &[
    choice(
        "mail.transport",
        "\"file\"",
        &["file", "smtp"],
        "\"file\" writes .eml files into data/outbox, \"smtp\" sends them to a mail server.",
    ),
    text("mail.from", "\"portcullis@localhost.localdomain\"", "Address of the sender."),
    flag("mail.console", "", "Whether links are also printed on the console. Default: only on loopback."),
    text("mail.smtp.host", "", "Host name of the mail server."),
    number("mail.smtp.port", "587", 1..=65_535, ""),
    choice(
        "mail.smtp.tls",
        "\"starttls\"",
        &["starttls", "tls", "none"],
        "\"starttls\", \"tls\", or \"none\" for a server on this machine.",
    ),
    flag(
        "mail.smtp.utf8",
        "false",
        "Whether the mail server takes letters beyond ASCII before the @ (SMTPUTF8). New accounts may have them then.",
    ),
    text("mail.smtp.username", "", ""),
    text("mail.smtp.password_file", "", "File whose first line is the password."),
];

/// The settings of `[mail]`.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Where mails go.
    pub transport: MailTransport,
    /// The sender's address.
    pub from: String,
    /// Whether links are also printed on the console.
    pub console: bool,
    /// Whether the mail server takes letters beyond ASCII before the @.
    pub utf8: bool,
}

/// How the connection to the mail server is protected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SmtpTls {
    /// STARTTLS on a plain connection; nothing is sent without it.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// No TLS: only for a server on this machine.
    None,
}

/// Where mails go.
#[derive(Clone, Debug)]
pub enum MailTransport {
    /// Into `.eml` files.
    File,
    /// To a mail server.
    Smtp {
        /// The host name of the server.
        host: String,
        /// The port of the server.
        port: u16,
        /// How the connection is protected.
        tls: SmtpTls,
        /// The user name, and the file whose first line is the password.
        login: Option<(String, PathBuf)>,
    },
}

impl Mail {
    /// Reads the section. By default links are printed on the console if `listen` is a loopback address.
    pub(in crate::config) fn read(reader: &mut Reader, listen: SocketAddr) -> Self {
        Self {
            transport: transport(reader),
            from: sender(reader),
            console: reader.flag("mail.console").unwrap_or_else(|| listen.ip().is_loopback()),
            utf8: reader.flag("mail.smtp.utf8").unwrap_or(false),
        }
    }
}

fn sender(reader: &mut Reader) -> String {
    let from = reader.text("mail.from").unwrap_or_default();
    if !email_address::EmailAddress::is_valid(&from) {
        reader.wrong("mail.from", format!("must be an e-mail address, not {from:?}"));
    }
    from
}

fn transport(reader: &mut Reader) -> MailTransport {
    let host = reader.text("mail.smtp.host");
    let port = reader.number("mail.smtp.port") as u16;
    let tls = match reader.choice("mail.smtp.tls").as_str() {
        "tls" => SmtpTls::Tls,
        "none" => SmtpTls::None,
        _ => SmtpTls::Starttls,
    };
    let username = reader.text("mail.smtp.username");
    let password_file = reader.text("mail.smtp.password_file");
    let login = match (username, password_file) {
        (Some(name), Some(file)) => Some((name, PathBuf::from(file))),
        (None, None) => None,
        _ => {
            reader.wrong("mail.smtp.username", "and `mail.smtp.password_file` belong together");
            None
        }
    };
    if reader.choice("mail.transport") != "smtp" {
        return MailTransport::File;
    }
    let Some(host) = host else {
        reader.wrong("mail.transport", "is \"smtp\", but `mail.smtp.host` is not set");
        return MailTransport::File;
    };
    let is_local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if tls == SmtpTls::None && !is_local {
        reader.wrong("mail.smtp.tls", "may be \"none\" for a server on this machine alone");
    }
    MailTransport::Smtp { host, port, tls, login }
}
