//! The ways to deliver a mail: by SMTP, as files, or into memory for tests and embedding programs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;

use crate::mail::deliver::OwnDelivery;
use crate::mail::outgoing::{DeliveryError, Outgoing};

/// How long a stop waits for the mail that is being sent. Most are sent by then, and together with the draining of
/// requests it stays below the 90 s after which service managers kill a process.
const STOP_WAITS: Duration = Duration::from_secs(10);
/// How often a delivery checks for a stop.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// A way to deliver mails.
#[derive(Clone)]
pub enum Transport {
    /// Keeps mails in memory, for tests and for embedding programs that send mails themselves.
    Memory(Arc<Mutex<Vec<Outgoing>>>),
    /// Hands mails to the embedding program.
    Own(OwnDelivery),
    /// Writes each mail to an `.eml` file.
    #[cfg(feature = "mail")]
    Files(Arc<dyn crate::storage::Storage>),
    /// Sends mails to a mail server.
    #[cfg(feature = "mail")]
    Smtp(super::smtp::Smtp),
}

impl Transport {
    /// Delivers a mail.
    pub async fn deliver(&self, mail: Outgoing) -> Result<(), DeliveryError> {
        match self {
            Self::Memory(sent) => {
                sent.lock().push(mail);
                Ok(())
            }
            Self::Own(delivery) => delivery.deliver(&mail).await,
            #[cfg(feature = "mail")]
            Self::Files(storage) => {
                let message = compose(&mail, Way::File)?;
                let name = mail.message_id.split('@').next().unwrap_or_default();
                let name = format!("{}.eml", name.trim_start_matches('<'));
                crate::storage::write_whole(&**storage, "", &name, &message.formatted())
                    .map_err(DeliveryError::passing)
            }
            #[cfg(feature = "mail")]
            Self::Smtp(server) => server.deliver(&compose(&mail, Way::Smtp)?).await,
        }
    }

    /// Delivers a mail like [`Self::deliver`], but ends ten seconds after `ending` is set. A mail that is not delivered
    /// by then counts as failed and is sent after the next start.
    pub async fn deliver_unless(&self, mail: Outgoing, ending: &AtomicBool) -> Result<(), DeliveryError> {
        let mut delivery = std::pin::pin!(self.deliver(mail));
        while !ending.load(Ordering::Relaxed) {
            if let Ok(delivered) = timeout(STOP_CHECK, &mut delivery).await {
                return delivered;
            }
        }
        timeout(STOP_WAITS, delivery).await.unwrap_or_else(|_| {
            Err(DeliveryError::passing("the server stopped before the mail was delivered"))
        })
    }
}

/// The way that a message takes.
#[cfg(feature = "mail")]
#[derive(Clone, Copy, Eq, PartialEq)]
enum Way {
    /// Into a file, which people and programs read as it is.
    File,
    /// Through mail servers, which may take ASCII alone.
    Smtp,
}

/// Returns the body unencoded if its way allows that, so that a link in a file can be copied; otherwise in the shortest
/// encoding, which breaks long lines.
#[cfg(feature = "mail")]
fn readable(text: &str, way: Way) -> lettre::message::Body {
    use lettre::message::Body;
    use lettre::message::header::ContentTransferEncoding::{EightBit, SevenBit};
    // RFC 5322 §2.1.1: lines of at most 998 characters, each ended by CRLF.
    if (way == Way::File || text.is_ascii()) && text.lines().all(|line| line.len() <= 998) {
        let lines: Vec<&str> = text.lines().collect();
        let encoding = if text.is_ascii() { SevenBit } else { EightBit };
        return Body::dangerous_pre_encoded(format!("{}\r\n", lines.join("\r\n")).into_bytes(), encoding);
    }
    Body::new(text.to_owned())
}

/// Declares a header that says the same in every mail.
#[cfg(feature = "mail")]
macro_rules! fixed_header {
    ($(#[$doc:meta])* $header:ident = $name:literal: $value:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        struct $header;

        impl lettre::message::header::Header for $header {
            fn name() -> lettre::message::header::HeaderName {
                lettre::message::header::HeaderName::new_from_ascii_str($name)
            }

            fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
                Ok(Self)
            }

            fn display(&self) -> lettre::message::header::HeaderValue {
                lettre::message::header::HeaderValue::new(Self::name(), String::from($value))
            }
        }
    };
}

#[cfg(feature = "mail")]
fixed_header! {
    /// Tells vacation notices and other programs that no person wrote the mail (RFC 3834 §5).
    AutoSubmitted = "Auto-Submitted": "auto-generated"
}
#[cfg(feature = "mail")]
fixed_header! {
    /// Tells the same to Exchange and Outlook.
    AutoResponseSuppress = "X-Auto-Response-Suppress": "All"
}

/// Builds the MIME message.
#[cfg(feature = "mail")]
fn compose(mail: &Outgoing, way: Way) -> Result<lettre::Message, DeliveryError> {
    use lettre::message::header::ContentType;
    use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
    let permanent = |error: String| DeliveryError { what: error, permanent: true, has_begun: false };
    let address = mail
        .from
        .parse()
        .map_err(|_| DeliveryError::passing("the sender (mail.from) is not a valid address"))?;
    let to = mail.to.parse().map_err(|_| permanent(String::from("the recipient is not a valid address")))?;
    let part = |kind: ContentType, text: &str| SinglePart::builder().header(kind).body(readable(text, way));
    let parts = MultiPart::alternative()
        .singlepart(part(ContentType::TEXT_PLAIN, &mail.letter.text))
        .singlepart(part(ContentType::TEXT_HTML, &mail.letter.html));
    Message::builder()
        .from(Mailbox::new(mail.from_name.clone(), address))
        .to(to)
        .subject(mail.letter.subject.clone())
        .message_id(Some(mail.message_id.clone()))
        .header(AutoSubmitted)
        .header(AutoResponseSuppress)
        .multipart(parts)
        .map_err(|error| permanent(error.to_string()))
}
