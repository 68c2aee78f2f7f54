//! How mails leave: as files, by SMTP, or into memory for tests.

use std::sync::Arc;

use parking_lot::Mutex;

use super::template::Letter;

/// A mail that is ready to leave.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Stable over retries, so that the other side can drop a double.
    pub message_id: String,
    /// The sender.
    pub from: String,
    /// The recipient.
    pub to: String,
    /// What it says.
    pub letter: Letter,
}

/// A mail that did not leave.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct DeliveryError {
    /// For the log; names nobody.
    pub what: String,
    /// Whether there is no point in trying again.
    pub permanent: bool,
}

#[cfg(feature = "mail")]
impl DeliveryError {
    fn passing(error: impl std::fmt::Display) -> Self {
        Self { what: error.to_string(), permanent: false }
    }
}

/// Where mails go.
#[derive(Clone)]
pub enum Transport {
    /// Kept for whoever asks: tests, and embedding programs that send mails themselves.
    Memory(Arc<Mutex<Vec<Outgoing>>>),
    /// One `.eml` file each.
    #[cfg(feature = "mail")]
    Files(Arc<dyn crate::journal::storage::Storage>),
    /// A mail server.
    #[cfg(feature = "mail")]
    Smtp(lettre::AsyncSmtpTransport<lettre::Tokio1Executor>),
}

impl Transport {
    /// Hands a mail over.
    pub async fn deliver(&self, mail: Outgoing) -> Result<(), DeliveryError> {
        match self {
            Self::Memory(sent) => {
                sent.lock().push(mail);
                Ok(())
            }
            #[cfg(feature = "mail")]
            Self::Files(storage) => {
                let message = compose(&mail)?;
                let name = mail.message_id.split('@').next().unwrap_or_default();
                let name = format!("{}.eml", name.trim_start_matches('<'));
                crate::journal::storage::write_whole(&**storage, "", &name, &message.formatted())
                    .map_err(DeliveryError::passing)
            }
            #[cfg(feature = "mail")]
            Self::Smtp(transport) => {
                use lettre::AsyncTransport;
                let sent = transport.send(compose(&mail)?).await;
                sent.map(|_| ())
                    .map_err(|error| DeliveryError { permanent: is_of_recipient(&error), what: told(&error) })
            }
        }
    }
}

/// Whether a mail server refuses the recipient, for good. Every other no, also one that calls itself permanent, is of what
/// the operator has set or of this day: a wrong password must not cost every mail that waits.
///
/// Security: a false yes loses a mail; a false no tries one in vain for three days.
/// Source: RFC 5321 §4.2.3, RFC 3463 §3.2 and §3.3.
#[cfg(feature = "mail")]
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
#[cfg(feature = "mail")]
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
#[cfg(feature = "mail")]
fn enhanced(error: &lettre::transport::smtp::Error) -> Option<[u16; 3]> {
    let reply = std::error::Error::source(error)?.to_string();
    let numbers = reply.split_whitespace().next()?.split('.').map(str::parse);
    numbers.collect::<Result<Vec<u16>, _>>().ok()?.try_into().ok()
}

/// As it is where that may be sent, so that a link in a file can be copied; else in the shortest encoding.
#[cfg(feature = "mail")]
fn readable(text: &str) -> lettre::message::Body {
    use lettre::message::Body;
    use lettre::message::header::ContentTransferEncoding::SevenBit;
    // RFC 5322 §2.1.1: lines of at most 998 characters, each ended by CRLF.
    if text.is_ascii() && text.lines().all(|line| line.len() <= 998) {
        let lines: Vec<&str> = text.lines().collect();
        return Body::dangerous_pre_encoded(format!("{}\r\n", lines.join("\r\n")).into_bytes(), SevenBit);
    }
    Body::new(text.to_owned())
}

#[cfg(feature = "mail")]
fn compose(mail: &Outgoing) -> Result<lettre::Message, DeliveryError> {
    use lettre::message::header::ContentType;
    use lettre::message::{Message, MultiPart, SinglePart};
    let never = |error: String| DeliveryError { what: error, permanent: true };
    let from = mail.from.parse().map_err(|_| DeliveryError::passing("the sender is no address"))?;
    let to = mail.to.parse().map_err(|_| never(String::from("the recipient is no address")))?;
    let parts = MultiPart::alternative()
        .singlepart(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(readable(&mail.letter.text)))
        .singlepart(SinglePart::builder().header(ContentType::TEXT_HTML).body(readable(&mail.letter.html)));
    Message::builder()
        .from(from)
        .to(to)
        .subject(mail.letter.subject.clone())
        .message_id(Some(mail.message_id.clone()))
        .multipart(parts)
        .map_err(|error| never(error.to_string()))
}

#[cfg(feature = "mail")]
#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use lettre::transport::smtp::authentication::{Credentials, Mechanism};
    use lettre::{AsyncSmtpTransport, Tokio1Executor};

    use super::*;

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

    async fn deliver(port: u16) -> Result<(), DeliveryError> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
            .port(port)
            .credentials(Credentials::new("portcullis".into(), "a wrong one".into()))
            .authentication(vec![Mechanism::Plain])
            .build();
        let letter = Letter { subject: "s".into(), text: "t".into(), html: "<p>h</p>".into(), link: None };
        let mail = Outgoing {
            message_id: "<1@us.test>".into(),
            from: "login@us.test".into(),
            to: "ada@test.org".into(),
            letter,
        };
        Transport::Smtp(transport).deliver(mail).await
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
}
