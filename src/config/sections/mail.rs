//! `[mail]`: how mails are sent, and from whom.

use std::path::PathBuf;

use super::keys::secret_file;
use crate::config::key::{Key, choice, flag, number, text};
use crate::config::reader::Reader;
use crate::config::secret_file::SecretFile;

pub(in crate::config) const KEYS: &[Key] = &[
    choice(
        "mail.transport",
        "\"file\"",
        &["file", "smtp"],
        "\"file\" writes .eml files into data/outbox, \"smtp\" sends them to a mail server.",
    ),
    text(
        "mail.from",
        "\"portcullis@localhost.localdomain\"",
        "Address of the sender, also with a name: \"Example Log-in <login@example.org>\".",
    ),
    flag(
        "mail.console",
        "",
        "Whether links are also printed on the console. Default: only if http.public_origin is http:// on this machine.",
    ),
    text("mail.smtp.host", "", "Host name of the mail server."),
    number("mail.smtp.port", "587", 1..=65_535, ""),
    choice(
        "mail.smtp.tls",
        "\"starttls\"",
        &["starttls", "tls", "none"],
        "\"starttls\", \"tls\", or \"none\" for a server on this machine.",
    ),
    text(
        "mail.smtp.ca_file",
        "",
        "PEM file of the authorities that the mail server's certificate may come from. Default: those of the system.",
    ),
    flag(
        "mail.smtp.utf8",
        "false",
        "Whether the mail server takes letters beyond ASCII before the @ (SMTPUTF8). New accounts may have them then.",
    ),
    text("mail.smtp.username", "", ""),
    text("mail.smtp.password_file", "", "File whose first line is the password; or credential:NAME."),
];

/// The settings of `[mail]`.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Where mails go.
    pub transport: MailTransport,
    /// The sender.
    pub from: Sender,
    /// Whether links are also printed on the console.
    pub console: bool,
    /// Whether the mail server takes letters beyond ASCII before the @.
    pub utf8: bool,
}

/// The sender of mails, as `mail.from` names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sender {
    /// The name that readers see, if there is one.
    pub name: Option<String>,
    /// The part before the @.
    pub local: String,
    /// The domain in ASCII, as mail servers take it.
    pub domain: String,
}

impl Sender {
    /// Parses an address, with or without a name: `login@example.org`, `Example Log-in <login@example.org>`.
    ///
    /// Returns `None` if it is no address that every mail server takes. Letters beyond ASCII are fine in the name and in
    /// the domain, but not before the @.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (name, address) = match text.strip_suffix('>') {
            Some(rest) => rest.rsplit_once('<')?,
            None => ("", text),
        };
        let name = name.trim().trim_matches('"').trim();
        let (local, domain) = address.rsplit_once('@')?;
        let domain = idna::domain_to_ascii_strict(domain).ok()?;
        let sender = Self {
            name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            local: local.to_owned(),
            domain,
        };
        let is_plain = local.is_ascii() && !text.chars().any(char::is_control);
        (is_plain && email_address::EmailAddress::is_valid(&sender.address())).then_some(sender)
    }

    /// Returns the address without the name.
    pub fn address(&self) -> String {
        format!("{}@{}", self.local, self.domain)
    }
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
        /// The file of the authorities that its certificate may come from; `None` for those of the system.
        ca_file: Option<PathBuf>,
        /// The user name, and the file whose first line is the password.
        login: Option<(String, SecretFile)>,
    },
}

impl Mail {
    /// Reads the section. By default links are printed on the console if the server `is_public` to nobody.
    pub(in crate::config) fn read(reader: &mut Reader, is_public: bool) -> Self {
        Self {
            transport: transport(reader),
            from: sender(reader),
            console: reader.flag("mail.console").unwrap_or(!is_public),
            utf8: reader.flag("mail.smtp.utf8").unwrap_or(false),
        }
    }
}

fn sender(reader: &mut Reader) -> Sender {
    let is_text = reader.is_text_or_unset("mail.from");
    let from = reader.text("mail.from").unwrap_or_default();
    Sender::parse(&from).unwrap_or_else(|| {
        if is_text {
            reader.wrong("mail.from", format!("must be an e-mail address, not {from:?}"));
        }
        Sender { name: None, local: String::new(), domain: String::new() }
    })
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
    let has_file = reader.path("mail.smtp.password_file").is_some();
    let password_file = secret_file(reader, "mail.smtp.password_file");
    let ca_file = reader.path("mail.smtp.ca_file");
    let login = match (username, password_file) {
        (Some(name), Some(file)) => Some((name, file)),
        (Some(_), None) if has_file => None,
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
    if ca_file.is_some() && tls == SmtpTls::None {
        reader.wrong("mail.smtp.ca_file", "is for \"starttls\" and \"tls\"; `mail.smtp.tls` is \"none\"");
    }
    MailTransport::Smtp { host, port, tls, ca_file, login }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_has_a_bare_address_in_ascii_and_perhaps_a_name() {
        for (text, name, address) in [
            ("login@example.org", None, "login@example.org"),
            ("Example Log-in <login@example.org>", Some("Example Log-in"), "login@example.org"),
            ("\"Log-in, Example\" <login@example.org>", Some("Log-in, Example"), "login@example.org"),
            ("K\u{f6}nigs Log-in <login@example.org>", Some("K\u{f6}nigs Log-in"), "login@example.org"),
            ("login@b\u{fc}cher.example", None, "login@xn--bcher-kva.example"),
            ("<login@example.org>", None, "login@example.org"),
        ] {
            let sender = Sender::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((sender.name.as_deref(), sender.address().as_str()), (name, address), "{text}");
        }
        for text in [
            "",
            "login",
            "a@b@c",
            "Name login@example.org",
            "<login@example.org",
            "l\u{f6}gin@example.org",
            "a\n<b@c.org>",
        ] {
            assert_eq!(Sender::parse(text), None, "{text}");
        }
    }
}
