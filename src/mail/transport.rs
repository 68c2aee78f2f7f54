//! How mails leave: as files, by SMTP, or into memory for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;

use crate::mail::outgoing::{DeliveryError, Outgoing};

/// A stop waits so long for the mail that is just leaving: most are gone by then, and with the requests that are drained
/// before it stays below the 90 s after which service managers kill.
const STOP_WAITS: Duration = Duration::from_secs(10);
/// While a mail leaves, a stop is looked for so often.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Where mails go.
#[derive(Clone)]
pub enum Transport {
    /// Kept for whoever asks: tests, and embedding programs that send mails themselves.
    Memory(Arc<Mutex<Vec<Outgoing>>>),
    /// One `.eml` file each.
    #[cfg(feature = "mail")]
    Files(Arc<dyn crate::storage::Storage>),
    /// A mail server.
    #[cfg(feature = "mail")]
    Smtp(super::smtp::Smtp),
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
                crate::storage::write_whole(&**storage, "", &name, &message.formatted())
                    .map_err(DeliveryError::passing)
            }
            #[cfg(feature = "mail")]
            Self::Smtp(server) => server.deliver(&compose(&mail)?).await,
        }
    }

    /// Likewise, but a stop that is asked for meanwhile waits no longer than ten seconds. What has not left by then counts as
    /// failed, and is sent after the next start.
    pub async fn deliver_unless(&self, mail: Outgoing, ending: &AtomicBool) -> Result<(), DeliveryError> {
        let mut delivery = std::pin::pin!(self.deliver(mail));
        while !ending.load(Ordering::Relaxed) {
            if let Ok(delivered) = timeout(LOOK_AGAIN, &mut delivery).await {
                return delivered;
            }
        }
        timeout(STOP_WAITS, delivery)
            .await
            .unwrap_or_else(|_| Err(DeliveryError::passing("the server stops before the mail has left")))
    }
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
