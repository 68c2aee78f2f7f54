//! Why there is no TLS with a mail server, and what an operator does about it.
//!
//! The reasons are read from the text of the error: its types are private to the SMTP client.

use std::error::Error as _;

use lettre::transport::smtp::Error;

/// A mail server, as errors name it.
#[derive(Clone, Copy)]
pub(super) struct Server<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// Whether TLS begins with the first byte.
    pub(super) is_wrapped: bool,
}

impl Server<'_> {
    /// Returns what an operator should know of `error`, which ended a handshake.
    pub(super) fn handshake(&self, error: &Error) -> String {
        let reason = innermost(error);
        self.fault(&reason, &self.remedy(&reason))
    }

    /// Returns what an operator should know of a server that does not offer STARTTLS.
    pub(super) fn not_offered(&self) -> String {
        let remedy = "set mail.smtp.tls = \"tls\" and mail.smtp.port to the port for that, mostly 465, or turn STARTTLS on \
                      at the mail server";
        self.fault("the server does not offer STARTTLS", remedy)
    }

    /// Returns what an operator should know of a server whose first words are missing or are not SMTP, as `reason` says.
    /// `None` if a wrong mode of TLS cannot be the cause.
    pub(super) fn no_greeting(&self, reason: &str) -> Option<String> {
        if self.is_wrapped {
            return None;
        }
        let remedy = "if the server expects TLS from the first byte at this port, as at 465, set mail.smtp.tls = \"tls\", \
                      or set mail.smtp.port to the port for STARTTLS, mostly 587";
        Some(self.fault(reason, remedy))
    }

    fn fault(&self, reason: &str, remedy: &str) -> String {
        let Self { host, port, is_wrapped } = self;
        let mode = if *is_wrapped { "tls" } else { "starttls" };
        format!("no TLS with {host}:{port}, where mail.smtp.tls is \"{mode}\": {reason}; {remedy}")
    }

    /// Returns what to do about `reason`, the text of rustls or of the system.
    fn remedy(&self, reason: &str) -> String {
        let host = self.host;
        let kind = if host.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
        let own = format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 -keyout mail.key \
             -out mail.pem -subj /CN=mail -addext subjectAltName={kind}:{host} -addext basicConstraints=critical,CA:FALSE"
        );
        let is = |part: &str| reason.contains(part);
        if is("CaUsedAsEndEntity") {
            return format!(
                "the certificate in mail.smtp.ca_file is that of an authority (CA:TRUE), and a server may not show one as its \
                 own: sign one for the server with it, or make one that is none: {own}"
            );
        }
        if is("UnsupportedCertVersion") {
            return format!("make it a certificate of version 3, and name it in mail.smtp.ca_file: {own}");
        }
        if is("UnknownIssuer") {
            return String::from(
                "name the authority that has signed its certificate in mail.smtp.ca_file (or the certificate itself, if it is \
                 signed by itself and has CA:FALSE), and let the server send the certificates between",
            );
        }
        if is("not valid for name") || is("NotValidForName") {
            return String::from("set mail.smtp.host to a name in the certificate");
        }
        if is("not valid yet") || is("NotValidYet") {
            return String::from("set the clock of this machine, or wait");
        }
        if is("expired") || is("Expired") {
            return String::from(
                "renew it at the mail server, and in mail.smtp.ca_file if it stands there, or set the clock of this machine",
            );
        }
        if self.is_wrapped && (is("corrupt message") || is("eof") || is("reset")) {
            return String::from(
                "the server does not begin with TLS at this port: set mail.smtp.tls = \"starttls\", or mail.smtp.port to the \
                 port for TLS, mostly 465",
            );
        }
        String::from("see mail.smtp.tls, mail.smtp.port and mail.smtp.ca_file")
    }
}

/// Returns the text of the error that the SMTP client has wrapped, without its own words.
fn innermost(error: &Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        match source.downcast_ref() {
            Some(inner) => error = inner,
            None => return source.to_string(),
        }
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::{DnsName, ServerName, UnixTime};
    use rustls::{CertificateError, Error, InvalidMessage};

    use super::*;

    const WRAPPED: Server<'_> = Server { host: "mail.test", port: 465, is_wrapped: true };

    /// Kind: an error that an operator can mend, and that names neither the setting nor the remedy.
    #[test]
    fn each_fault_of_tls_names_its_setting_and_its_remedy() {
        let at = |secs| UnixTime::since_unix_epoch(Duration::from_secs(secs));
        let name = ServerName::DnsName(DnsName::try_from("mail.test").unwrap());
        let presented = vec![String::from("DnsName(\"other.test\")")];
        for (error, remedy) in [
            (CertificateError::UnknownIssuer.into(), "in mail.smtp.ca_file"),
            (CertificateError::Expired.into(), "renew it"),
            (CertificateError::ExpiredContext { time: at(2), not_after: at(1) }.into(), "renew it"),
            (CertificateError::NotValidYetContext { time: at(1), not_before: at(2) }.into(), "the clock"),
            (CertificateError::NotValidForName.into(), "set mail.smtp.host to a name"),
            (
                CertificateError::NotValidForNameContext { expected: name, presented }.into(),
                "set mail.smtp.host to a name",
            ),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "set mail.smtp.tls = \"starttls\""),
            (Error::DecryptError, "see mail.smtp.tls, mail.smtp.port and mail.smtp.ca_file"),
        ] {
            let reason = error.to_string();
            let said = WRAPPED.fault(&reason, &WRAPPED.remedy(&reason));
            assert!(
                said.starts_with("no TLS with mail.test:465, where mail.smtp.tls is \"tls\": "),
                "{said}"
            );
            assert!(said.contains(remedy), "{said}");
        }
    }

    #[test]
    fn an_own_certificate_is_made_for_the_host_as_it_is_set() {
        let said = WRAPPED.remedy("Other(OtherError(CaUsedAsEndEntity))");
        assert!(
            said.contains("subjectAltName=DNS:mail.test -addext basicConstraints=critical,CA:FALSE"),
            "{said}"
        );
        let said =
            Server { host: "127.0.0.1", ..WRAPPED }.remedy("Other(OtherError(UnsupportedCertVersion))");
        assert!(said.contains("subjectAltName=IP:127.0.0.1"), "{said}");
    }
}
