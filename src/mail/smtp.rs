//! Mails by SMTP: a connection for each, and a deadline around it.
//!
//! **Why no pool of connections:** one that was left in the middle of a command, at the deadline or at a stop, would go back
//! into it, and the reply that is still to come would be taken for that to the next mail: a mail that was refused would
//! count as sent.

use std::time::Duration;

use lettre::Message;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Tls};
use lettre::transport::smtp::extension::ClientId;
use tokio::time::timeout;

use super::outgoing::DeliveryError;

/// One mail may take so long, from the first packet to the last reply. Servers that look into what they take answer in
/// seconds; one that accepts and says nothing must not hold up the mails behind for ever.
///
/// Security: a shorter one sends twice what a slow server has taken; a longer one keeps resets and unlocks from leaving.
/// Source: RFC 5321 §4.5.3.2, whose ten minutes are for relays that have other queues to serve meanwhile.
pub const DEADLINE: Duration = Duration::from_mins(1);
/// One address of the server may take so long to connect, so that the next one has its turn within the deadline.
const CONNECT: Duration = Duration::from_secs(10);
/// The server has the mail: for its good-bye nobody waits longer.
const GOOD_BYE: Duration = Duration::from_secs(1);

/// A mail server, and how it is spoken to.
#[derive(Clone)]
pub struct Smtp {
    host: String,
    port: u16,
    tls: Tls,
    hello: ClientId,
    login: Option<Credentials>,
    deadline: Duration,
}

impl Smtp {
    /// Without a log-in; `domain` is who greets.
    pub fn new(host: impl Into<String>, port: u16, tls: Tls, domain: impl Into<String>) -> Self {
        let hello = ClientId::Domain(domain.into());
        Self { host: host.into(), port, tls, hello, login: None, deadline: DEADLINE }
    }

    /// With a log-in.
    #[must_use]
    pub fn logging_in(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Some(Credentials::new(name.into(), password.into()));
        self
    }

    /// With another deadline than [`DEADLINE`].
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Hands a mail over. What has not ended at the deadline is hung up on.
    pub(crate) async fn deliver(&self, message: &Message) -> Result<(), DeliveryError> {
        let connection = timeout(self.deadline, self.hand_over(message)).await.map_err(|_| {
            DeliveryError::passing(format!("the mail server took longer than {} s", self.deadline.as_secs()))
        })?;
        let mut connection = connection
            .map_err(|error| DeliveryError { permanent: is_of_recipient(&error), what: told(&error) })?;
        let _ = timeout(GOOD_BYE, connection.quit()).await;
        Ok(())
    }

    async fn hand_over(&self, message: &Message) -> Result<AsyncSmtpConnection, Error> {
        let at_once = match &self.tls {
            Tls::Wrapper(parameters) => Some(parameters.clone()),
            _ => None,
        };
        let server = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(CONNECT), &self.hello, at_once, None).await?;
        match &self.tls {
            Tls::Opportunistic(_) if !connection.can_starttls() => {}
            Tls::Required(parameters) | Tls::Opportunistic(parameters) => {
                connection.starttls(parameters.clone(), &self.hello).await?;
            }
            Tls::Wrapper(_) | Tls::None => {}
        }
        if let Some(login) = &self.login {
            connection.auth(DEFAULT_MECHANISMS, login).await?;
        }
        connection.send(message.envelope(), &message.formatted()).await?;
        Ok(connection)
    }
}

/// Whether a mail server refuses the recipient, for good. Every other no, also one that calls itself permanent, is of what
/// the operator has set or of this day: a wrong password must not cost every mail that waits.
///
/// Security: a false yes loses a mail; a false no tries one in vain for three days.
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

/// What the log may say: a reply names sender and recipient, so of what the server says there are numbers alone.
fn told(error: &lettre::transport::smtp::Error) -> String {
    if error.is_response() {
        return String::from("the mail server says what is no reply");
    }
    match (error.status(), enhanced(error)) {
        (Some(code), Some([class, subject, detail])) => {
            format!("the mail server says {code} {class}.{subject}.{detail}")
        }
        (Some(code), None) => format!("the mail server says {code}"),
        // It has said nothing: no connection, or no protocol in common.
        (None, _) => error.to_string(),
    }
}

/// The enhanced status code that a reply begins with, if it does.
fn enhanced(error: &lettre::transport::smtp::Error) -> Option<[u16; 3]> {
    let reply = std::error::Error::source(error)?.to_string();
    let numbers = reply.split_whitespace().next()?.split('.').map(str::parse);
    numbers.collect::<Result<Vec<u16>, _>>().ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::mail::outgoing::Outgoing;
    use crate::mail::template::Letter;
    use crate::mail::transport::Transport;

    /// A mail server that says yes until that command, and then what it is told to say. Says its port.
    fn server(refuses: &'static str, reply: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let stream = listener.accept().unwrap().0;
            let mut write = stream.try_clone().unwrap();
            let mut say = |line: &str| write.write_all(format!("{line}\r\n").as_bytes());
            say("220 mail.test").unwrap();
            let mut is_data = false;
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let said = match line.split([' ', ':']).next().unwrap() {
                    _ if is_data && line != "." => continue,
                    "." => {
                        is_data = false;
                        say("250 taken")
                    }
                    verb if verb == refuses => say(reply),
                    "EHLO" => say("250-mail.test\r\n250 AUTH PLAIN"),
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
        port
    }

    fn mail() -> Outgoing {
        let letter = Letter { subject: "s".into(), text: "t".into(), html: "<p>h</p>".into(), link: None };
        Outgoing {
            message_id: "<1@us.test>".into(),
            from: "login@us.test".into(),
            to: "ada@test.org".into(),
            letter,
        }
    }

    fn over(port: u16) -> Smtp {
        Smtp::new("127.0.0.1", port, Tls::None, "us.test").logging_in("portcullis", "a wrong one")
    }

    async fn deliver(port: u16) -> Result<(), DeliveryError> {
        Transport::Smtp(over(port)).deliver(mail()).await
    }

    #[tokio::test]
    async fn a_mail_is_given_up_only_where_its_recipient_is_refused_and_no_log_names_anybody() {
        deliver(server("NONE", "")).await.unwrap();
        for (at, reply, permanent) in [
            // The operator's settings, which the next hour may mend.
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
            let told = error.to_string();
            assert!(!told.contains('@') && !told.contains("portcullis"), "{told}");
            if at != "EHLO" {
                assert!(told.contains(&reply[..3]), "{told}");
            }
        }
    }

    /// Accepts and says nothing, for ever. Says its port, and how often it was called.
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

    #[tokio::test]
    async fn a_server_that_says_nothing_is_hung_up_on_at_the_deadline_and_called_anew() {
        let (port, calls) = hung();
        let transport = Transport::Smtp(over(port).within(Duration::from_millis(50)));
        for _ in 0..2 {
            let error = transport.deliver(mail()).await.unwrap_err();
            assert!(!error.permanent && error.what.contains("longer than"), "{error}");
        }
        // Its thread may be a moment behind.
        while calls.load(std::sync::atomic::Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_a_server_that_says_nothing() {
        let (port, _) = hung();
        let transport = Transport::Smtp(over(port).within(Duration::from_hours(1)));
        let ending = AtomicBool::new(true);
        let waited = timeout(Duration::from_mins(1), transport.deliver_unless(mail(), &ending)).await;
        assert!(!waited.expect("a stop waits").unwrap_err().permanent);
    }

    #[tokio::test]
    async fn what_was_taken_is_sent_also_where_the_server_says_no_good_bye() {
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
