//! Delivery by SMTP: one connection for each mail, and a deadline around it.
//!
//! **Why there is no pool of connections:** a connection that was abandoned in the middle of a command, at the deadline
//! or at a stop, would return to the pool. Its late reply would be taken for the reply to the next mail, and a mail
//! that was refused would count as sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lettre::Message;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, AsyncTokioStream, Certificate, CertificateStore, Tls, TlsParameters,
};
use lettre::transport::smtp::extension::{ClientId, Extension};
use tokio::time::timeout;

use super::connection::{Encrypted, connect};
use super::outgoing::DeliveryError;
use super::tls_fault::Server;

/// Timeout for one mail, from the first packet to the last reply. Servers that scan mails answer within seconds. A
/// server that accepts the connection and never answers must not block the mails after this one.
///
/// Security: with a shorter timeout a mail that a slow server has accepted is sent twice; with a longer one resets and
/// unlocks are delayed.
///
/// Source: RFC 5321 §4.5.3.2. Its ten minutes are for relays that serve other queues meanwhile.
pub const DEADLINE: Duration = Duration::from_mins(1);
/// Timeout for connecting to one address of the server, so that its other addresses are tried within the deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout for the reply to `QUIT`. The server has accepted the mail by then.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns the parameters of TLS to `host`. Its certificate must come from an authority of the PEM text `authorities`;
/// without one, from an authority that the system trusts.
///
/// Errors: `authorities` holds no certificate, or one that is damaged.
pub fn tls_parameters(host: &str, authorities: Option<&str>) -> Result<TlsParameters, TlsError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(pem) = authorities {
        if !pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err(TlsError::NoCertificate);
        }
        // Only these: a house that has an authority of its own does not expect the world's.
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(Certificate::from_pem(pem.as_bytes())?);
    }
    Ok(builder.build_rustls()?)
}

/// Why there can be no TLS to the mail server.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The text has no certificate in PEM.
    #[error("it holds no certificate in PEM form")]
    NoCertificate,
    /// A certificate is damaged, or the system's authorities cannot be used.
    #[error(transparent)]
    Unusable(#[from] Error),
}

/// A mail server, and how to connect to it.
#[derive(Clone)]
pub struct Smtp {
    host: String,
    port: u16,
    tls: Tls,
    hello: ClientId,
    login: Option<Credentials>,
    /// The name of the log-in, which no log shows.
    login_name: Option<String>,
    /// Whether it is said to take letters beyond ASCII before the @.
    takes_utf8: bool,
    deadline: Duration,
}

impl Smtp {
    /// Returns a server without log-in. `domain` is the name in `EHLO`.
    pub fn new(host: impl Into<String>, port: u16, tls: Tls, domain: impl Into<String>) -> Self {
        let hello = ClientId::Domain(domain.into());
        Self {
            host: host.into(),
            port,
            tls,
            hello,
            login: None,
            login_name: None,
            takes_utf8: false,
            deadline: DEADLINE,
        }
    }

    /// Sets the name and password of the log-in.
    #[must_use]
    pub fn logging_in(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        let name = name.into();
        self.login_name = Some(name.clone());
        self.login = Some(Credentials::new(name, password.into()));
        self
    }

    /// Sets whether the server is said to take letters beyond ASCII before the @, which [`Smtp::probe`] checks.
    #[must_use]
    pub const fn taking_utf8(mut self, takes_utf8: bool) -> Self {
        self.takes_utf8 = takes_utf8;
        self
    }

    /// Sets another deadline than [`DEADLINE`].
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Delivers a mail. At the deadline the connection is closed.
    pub(crate) async fn deliver(&self, message: &Message) -> Result<(), DeliveryError> {
        let has_begun = AtomicBool::new(false);
        let awaits_greeting = AtomicBool::new(false);
        let handed_over = async {
            let mut connection = self.connect(&awaits_greeting).await?;
            if !message.envelope().to().iter().all(|to| AsRef::<str>::as_ref(to).is_ascii()) {
                takes_utf8(&connection)?;
            }
            has_begun.store(true, Ordering::Relaxed);
            // The library adds SMTPUTF8 to `MAIL FROM` for such an address.
            let sent = connection.send(message.envelope(), &message.formatted()).await;
            sent.map_err(|error| DeliveryError {
                permanent: is_of_recipient(&error),
                what: told(&error, self.login_name.as_deref()),
                has_begun: true,
            })?;
            Ok(connection)
        };
        let late = |_| DeliveryError {
            has_begun: has_begun.load(Ordering::Relaxed),
            ..self.too_late(&awaits_greeting)
        };
        let mut connection = timeout(self.deadline, handed_over).await.map_err(late)??;
        let _ = timeout(QUIT_TIMEOUT, connection.quit()).await;
        Ok(())
    }

    fn too_late(&self, awaits_greeting: &AtomicBool) -> DeliveryError {
        let what = format!("the mail server took longer than {} s", self.deadline.as_secs());
        let is_silent = awaits_greeting.load(Ordering::Relaxed);
        let of_tls = is_silent.then(|| self.tls_server()?.no_greeting(&what)).flatten();
        DeliveryError::passing(of_tls.unwrap_or(what))
    }

    /// Returns how errors of TLS name the server; `None` without TLS.
    fn tls_server(&self) -> Option<Server<'_>> {
        let is_wrapped = matches!(self.tls, Tls::Wrapper(_));
        let is_wanted = is_wrapped || matches!(self.tls, Tls::Required(_));
        is_wanted.then_some(Server { host: &self.host, port: self.port, is_wrapped })
    }

    /// Connects and logs in, and leaves without a mail.
    ///
    /// Errors: also if the server does not take the addresses that the configuration says.
    pub async fn probe(&self) -> Result<(), DeliveryError> {
        let awaits_greeting = AtomicBool::new(false);
        let connected = timeout(self.deadline, self.connect(&awaits_greeting)).await;
        let mut connection = connected.map_err(|_| self.too_late(&awaits_greeting))??;
        let takes_utf8 = takes_utf8(&connection);
        let _ = timeout(QUIT_TIMEOUT, connection.quit()).await;
        if self.takes_utf8 { takes_utf8 } else { Ok(()) }
    }

    /// Connects and logs in, and sets `awaits_greeting` while the server has yet to speak. No error of it is permanent: it is
    /// none of the recipient.
    async fn connect(&self, awaits_greeting: &AtomicBool) -> Result<AsyncSmtpConnection, DeliveryError> {
        let counted = connect(&self.host, self.port, CONNECT_TIMEOUT)
            .await
            .map_err(|error| DeliveryError::passing(format!("cannot connect to the mail server: {error}")))?;
        let stream: Box<dyn AsyncTokioStream> = match &self.tls {
            Tls::Wrapper(parameters) => {
                let encrypted = Encrypted::over(counted, parameters.clone()).await;
                Box::new(encrypted.map_err(|error| self.handshake_failed(&error))?)
            }
            _ => Box::new(counted),
        };
        self.log_in(stream, awaits_greeting).await
    }

    /// Greets the server, switches to TLS where that is wanted, and logs in.
    async fn log_in(
        &self,
        stream: Box<dyn AsyncTokioStream>,
        awaits_greeting: &AtomicBool,
    ) -> Result<AsyncSmtpConnection, DeliveryError> {
        awaits_greeting.store(true, Ordering::Relaxed);
        let greeted = AsyncSmtpConnection::connect_with_transport(stream, &self.hello).await;
        let mut connection = greeted.map_err(|error| self.not_greeted(&error))?;
        awaits_greeting.store(false, Ordering::Relaxed);
        match &self.tls {
            Tls::Opportunistic(_) if !connection.can_starttls() => {}
            Tls::Required(parameters) | Tls::Opportunistic(parameters) => {
                if let Some(server) = self.tls_server().filter(|_| !connection.can_starttls()) {
                    return Err(DeliveryError::passing(server.not_offered()));
                }
                let upgraded = connection.starttls(parameters.clone(), &self.hello).await;
                upgraded.map_err(|error| self.handshake_failed(&error))?;
            }
            Tls::Wrapper(_) | Tls::None => {}
        }
        if let Some(login) = &self.login {
            let logged_in = connection.auth(DEFAULT_MECHANISMS, login).await;
            logged_in.map_err(|error| DeliveryError::passing(loggable(&error)))?;
        }
        Ok(connection)
    }

    /// Returns the error of a handshake, or of a server that refuses one.
    fn handshake_failed(&self, error: &Error) -> DeliveryError {
        let has_answered = error.is_response() || error.status().is_some();
        let server = self.tls_server().filter(|_| !has_answered);
        DeliveryError::passing(server.map_or_else(|| loggable(error), |server| server.handshake(error)))
    }

    /// Returns the error of a server that has not greeted.
    fn not_greeted(&self, error: &Error) -> DeliveryError {
        let what = loggable(error);
        let server = self.tls_server().filter(|_| error.status().is_none());
        let of_tls = server.and_then(|server| server.no_greeting(&what));
        DeliveryError::passing(of_tls.unwrap_or(what))
    }
}

/// Checks that the server offers SMTPUTF8 (RFC 6531), without which an address with letters beyond ASCII before the @ must
/// not be sent to it.
fn takes_utf8(connection: &AsyncSmtpConnection) -> Result<(), DeliveryError> {
    if connection.server_info().supports_feature(Extension::SmtpUtfEight) {
        return Ok(());
    }
    Err(DeliveryError::passing("the mail server does not offer SMTPUTF8, as mail.smtp.utf8 says"))
}

/// Says whether the server has permanently refused the recipient. Every other refusal, even one with a permanent
/// status, may be due to the operator's settings or pass: a wrong SMTP password must not lose every mail in the outbox.
///
/// Security: a false yes loses a mail; a false no retries one in vain for three days.
///
/// Source: RFC 5321 §4.2.3, RFC 3463 §3.2 and §3.3.
fn is_of_recipient(error: &lettre::transport::smtp::Error) -> bool {
    if !error.status().is_some_and(|code| (550..=553).contains(&u16::from(code))) {
        return false;
    }
    match enhanced(error) {
        // 5.1.7 and 5.1.8 are about the sender.
        Some([_, 1, detail]) => !matches!(detail, 7 | 8),
        Some([_, subject, _]) => subject == 2,
        None => true,
    }
}

/// Maximum length of the words of a reply that are told, in characters.
const REPLY_CHARS_MAX: usize = 200;
/// Maximum length of one of them. Tokens and coded passwords are longer.
const WORD_CHARS_MAX: usize = 32;

/// Returns the text for the log of a mail that was not taken: the status codes, and the words of the reply.
fn told(error: &lettre::transport::smtp::Error, login_name: Option<&str>) -> String {
    let reply = std::error::Error::source(error).map_or_else(String::new, ToString::to_string);
    let codes = loggable(error);
    match error.status().map(|_| words(&reply, login_name)) {
        Some(words) if !words.is_empty() => format!("{codes} ({words})"),
        _ => codes,
    }
}

/// Returns the words of a reply on one line, without its enhanced status code.
///
/// Security: a server may repeat what it was sent. Addresses, the name of the log-in, links, and words as long as a token
/// are left out.
fn words(reply: &str, login_name: Option<&str>) -> String {
    let shown = |word: &str| {
        if word.contains('@') {
            String::from("<address>")
        } else if login_name.is_some_and(|name| !name.is_empty() && word.contains(name)) {
            String::from("<user>")
        } else if word.contains("://") || word.contains("token") || word.chars().count() > WORD_CHARS_MAX {
            String::from("<...>")
        } else {
            word.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
        }
    };
    let is_code =
        |word: &str| word.split('.').count() == 3 && word.split('.').all(|part| part.parse::<u16>().is_ok());
    let words = reply.split_whitespace().enumerate().filter(|(at, word)| *at > 0 || !is_code(word));
    let text = words.map(|(_, word)| shown(word)).collect::<Vec<_>>().join(" ");
    text.chars().take(REPLY_CHARS_MAX).collect()
}

/// Returns `text` without a part that repeats the one before it: `Connection error: Connection error: …`.
fn once(text: &str) -> String {
    let mut parts: Vec<&str> = text.split(": ").collect();
    parts.dedup();
    parts.join(": ")
}

/// Returns the text for the log. A reply may contain the addresses of sender and recipient, so only its status codes
/// are used.
fn loggable(error: &lettre::transport::smtp::Error) -> String {
    if error.is_response() {
        return String::from("the mail server sent an invalid reply");
    }
    match (error.status(), enhanced(error)) {
        (Some(code), Some([class, subject, detail])) => {
            format!("the mail server answered {code} {class}.{subject}.{detail}")
        }
        (Some(code), None) => format!("the mail server answered {code}"),
        // There was no reply: no connection, or no common TLS version.
        (None, _) => once(&error.to_string()),
    }
}

/// Returns the enhanced status code (RFC 3463) at the start of a reply, if there is one.
fn enhanced(error: &lettre::transport::smtp::Error) -> Option<[u16; 3]> {
    let reply = std::error::Error::source(error)?.to_string();
    let numbers = reply.split_whitespace().next()?.split('.').map(str::parse);
    numbers.collect::<Result<Vec<u16>, _>>().ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use std::sync::mpsc;

    use super::*;

    /// Kind: an operator reads that a mail was refused, and not why.
    #[test]
    fn the_words_of_a_reply_are_told_on_one_line_without_addresses_links_and_tokens() {
        for (reply, told) in [
            ("5.1.1 <ada@near.test>: Recipient address rejected", "<address> Recipient address rejected"),
            ("No such user here", "No such user here"),
            ("5.7.1 not owned by user mailer.", "not owned by user <user>"),
            ("5.7.1 blocked: https://us.example/reset#token=pcm_x see\u{1b}[31m", "blocked: <...> see?[31m"),
            (&format!("spam {}", "A".repeat(43)), "spam <...>"),
            ("a\r\nb\tc", "a b c"),
            ("5.1.1", ""),
        ] {
            assert_eq!(words(reply, Some("mailer")), told);
        }
        assert_eq!(words(&"word ".repeat(1000), None).len(), REPLY_CHARS_MAX);
        assert_eq!(once("Connection error: Connection error: refused"), "Connection error: refused");
    }

    use crate::mail::outgoing::Outgoing;
    use crate::mail::template::Letter;
    use crate::mail::transport::Transport;

    /// Starts a mail server that accepts every command except `refuses`, to which it answers `reply`. Returns its port.
    fn server(refuses: &'static str, reply: &'static str) -> u16 {
        server_that_offers("250 SIZE", refuses, reply).0
    }

    /// Starts a server like [`server`], whose answer to `EHLO` ends with the lines `offers`. Returns its port, and what it
    /// is sent.
    fn server_that_offers(
        offers: &'static str,
        refuses: &'static str,
        reply: &'static str,
    ) -> (u16, mpsc::Receiver<String>) {
        let (lines, sent) = mpsc::channel();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let stream = listener.accept().unwrap().0;
            let mut write = stream.try_clone().unwrap();
            let mut say = |line: &str| write.write_all(format!("{line}\r\n").as_bytes());
            say("220 mail.test").unwrap();
            let mut is_data = false;
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let _ = lines.send(line.clone());
                let said = match line.split([' ', ':']).next().unwrap() {
                    _ if is_data && line != "." => continue,
                    "." => {
                        is_data = false;
                        say("250 taken")
                    }
                    verb if verb == refuses => say(reply),
                    "EHLO" => say(&format!("250-mail.test\r\n250-AUTH PLAIN\r\n{offers}")),
                    "AUTH" => say("235 yes"),
                    "DATA" => {
                        is_data = true;
                        say("354 go on")
                    }
                    "QUIT" => return,
                    _ => say("250 yes"),
                };
                if said.is_err() {
                    return;
                }
            }
        });
        (port, sent)
    }

    fn mail() -> Outgoing {
        let letter = Letter { subject: "s".into(), text: "t".into(), html: "<p>h</p>".into(), link: None };
        Outgoing {
            message_id: "<1@us.test>".into(),
            from: "login@us.test".into(),
            from_name: None,
            to: "ada@test.org".into(),
            letter,
            source: None,
        }
    }

    fn over(port: u16) -> Smtp {
        Smtp::new("127.0.0.1", port, Tls::None, "us.test").logging_in("portcullis", "a wrong one")
    }

    async fn deliver(port: u16) -> Result<(), DeliveryError> {
        Transport::Smtp(over(port)).deliver(mail()).await
    }

    #[tokio::test]
    async fn only_a_refused_recipient_ends_a_mail_and_no_log_has_an_address() {
        deliver(server("NONE", "")).await.unwrap();
        for (at, reply, permanent) in [
            // Due to the operator's settings, or passing.
            ("AUTH", "535 5.7.8 ada@test.org: bad user name or password", false),
            ("AUTH", "535 bad user name or password", false),
            ("AUTH", "534 5.7.9 a stronger mechanism", false),
            ("AUTH", "538 encryption required", false),
            ("MAIL", "530 5.7.0 authentication required", false),
            ("MAIL", "550 5.1.8 <login@us.test>: sender rejected", false),
            ("MAIL", "553 5.7.1 <login@us.test>: not owned by user portcullis", false),
            ("MAIL", "552 5.3.4 too large", false),
            ("RCPT", "554 5.7.1 <ada@test.org>: relay access denied", false),
            ("RCPT", "550 5.7.1 <ada@test.org>: relaying denied", false),
            ("RCPT", "450 4.2.0 <ada@test.org>: greylisted", false),
            ("DATA", "554 5.6.0 content refused", false),
            ("EHLO", "garbage about ada@test.org", false),
            // The recipient.
            ("RCPT", "550 5.1.1 <ada@test.org>: no such user", true),
            ("RCPT", "550-5.1.1 <ada@test.org>: no such user\r\n550 5.1.1 ask them", true),
            ("RCPT", "550 no such user: ada@test.org", true),
            ("RCPT", "553 5.1.3 <ada@test.org>: bad address", true),
            ("RCPT", "551 5.1.6 <ada@test.org>: has moved to eve@test.org", true),
        ] {
            let error = deliver(server(at, reply)).await.unwrap_err();
            assert_eq!(error.permanent, permanent, "{at}: {reply}: {error}");
            let logged = error.to_string();
            assert!(!logged.contains('@'), "{logged}");
            assert!(!logged.contains("portcullis"), "{logged}");
            if at != "EHLO" {
                assert!(logged.contains(&reply[..3]), "{logged}");
            }
        }
    }

    #[tokio::test]
    async fn an_address_beyond_ascii_is_sent_with_smtputf8_or_not_at_all() {
        let mail = || Outgoing { to: "jürgen@test.org".into(), ..mail() };
        // The body of such a mail has no letter beyond ASCII, but its header has.
        let (port, sent) = server_that_offers("250-SMTPUTF8\r\n250 8BITMIME", "NONE", "");
        Transport::Smtp(over(port)).deliver(mail()).await.unwrap();
        let sent: Vec<String> = sent.iter().collect();
        assert!(sent.contains(&"MAIL FROM:<login@us.test> SMTPUTF8 BODY=8BITMIME".into()), "{sent:?}");
        assert!(sent.contains(&"RCPT TO:<jürgen@test.org>".into()), "{sent:?}");
        assert!(sent.contains(&"To: jürgen@test.org".into()), "{sent:?}");

        let (port, sent) = server_that_offers("250 8BITMIME", "NONE", "");
        let refused = Transport::Smtp(over(port)).deliver(mail()).await.unwrap_err();
        assert!(!refused.permanent, "the operator may find another server");
        assert!(refused.what.contains("does not offer SMTPUTF8"), "{refused}");
        assert!(!sent.iter().any(|line| line.starts_with("MAIL")));
        // Other mails leave as ever.
        deliver(server_that_offers("250 8BITMIME", "NONE", "").0).await.unwrap();
    }

    #[tokio::test]
    async fn a_probe_finds_a_server_that_does_not_take_the_addresses_it_is_said_to() {
        let offers = |offers| over(server_that_offers(offers, "NONE", "").0);
        offers("250 SMTPUTF8").taking_utf8(true).probe().await.unwrap();
        offers("250 8BITMIME").taking_utf8(false).probe().await.unwrap();
        let refused = offers("250 8BITMIME").taking_utf8(true).probe().await.unwrap_err();
        assert!(refused.what.contains("mail.smtp.utf8"), "{refused}");
    }

    /// Starts a server that accepts connections and never answers. Returns its port and the number of connections.
    fn hung() -> (u16, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&calls);
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                held.push(stream.unwrap());
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        });
        (port, calls)
    }

    #[test]
    fn a_file_without_a_certificate_is_no_authority() {
        assert!(tls_parameters("mail.test", None).is_ok());
        let none = tls_parameters("mail.test", Some("house.test"));
        assert!(matches!(none, Err(TlsError::NoCertificate)));
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(tls_parameters("mail.test", Some(damaged)), Err(TlsError::Unusable(_))));
    }

    #[tokio::test]
    async fn a_probe_logs_in_and_sends_nothing() {
        over(server("NONE", "")).probe().await.unwrap();
        let refused = over(server("AUTH", "535 5.7.8 wrong")).probe().await.unwrap_err();
        assert!(refused.what.contains("535"), "{refused}");
        // The server would refuse a mail, but none comes.
        over(server("MAIL", "550 no")).probe().await.unwrap();
    }

    #[tokio::test]
    async fn a_silent_server_is_left_at_the_deadline_and_tried_again() {
        let (port, calls) = hung();
        let transport = Transport::Smtp(over(port).within(Duration::from_millis(50)));
        for _ in 0..2 {
            let error = transport.deliver(mail()).await.unwrap_err();
            assert!(!error.permanent, "{error}");
            assert!(error.what.contains("longer than"), "{error}");
        }
        // The thread of the server may not have counted yet.
        while calls.load(std::sync::atomic::Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_a_silent_server() {
        let (port, _) = hung();
        let transport = Transport::Smtp(over(port).within(Duration::from_hours(1)));
        let ending = AtomicBool::new(true);
        let waited = timeout(Duration::from_mins(1), transport.deliver_unless(mail(), &ending)).await;
        assert!(!waited.expect("a stop waits").unwrap_err().permanent);
    }

    #[tokio::test]
    async fn an_accepted_mail_is_sent_even_without_a_reply_to_quit() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let stream = listener.accept().unwrap().0;
            let mut write = stream.try_clone().unwrap();
            write.write_all(b"220 mail.test\r\n").unwrap();
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let said = match line.as_str() {
                    "DATA" => "354 go on\r\n",
                    "." => "250 taken\r\n",
                    "QUIT" => "",
                    line if line.starts_with("EHLO") => "250 mail.test\r\n",
                    line if line.starts_with("MAIL") || line.starts_with("RCPT") => "250 yes\r\n",
                    _ => continue,
                };
                write.write_all(said.as_bytes()).unwrap();
            }
        });
        let plain = Smtp::new("127.0.0.1", port, Tls::None, "us.test");
        Transport::Smtp(plain).deliver(mail()).await.unwrap();
    }
}
