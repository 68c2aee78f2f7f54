//! A mail that is ready to be sent, and the error when it cannot be.

use zeroize::Zeroizing;

use crate::mail::template::Letter;
use crate::registry::outbox::Kind;

/// A mail that is ready to be sent.
#[derive(Clone)]
pub struct Outgoing {
    /// The `Message-ID`. It is the same in every try, so that the receiving side can drop duplicates.
    pub message_id: String,
    /// Address of the sender, with a domain in ASCII.
    pub from: String,
    /// Name of the sender, if it has one.
    pub from_name: Option<String>,
    /// Address of the recipient.
    pub to: String,
    /// Subject and text.
    pub letter: Letter,
    /// What a program needs that writes a text of its own; `None` for a mail that only tests the way.
    pub source: Option<Source>,
}

/// What the text of a mail is made of.
#[derive(Clone)]
pub struct Source {
    /// The kind of the mail.
    pub kind: Kind,
    /// The token of its link.
    pub token: Option<Zeroizing<String>>,
    /// The masked address that the text names.
    pub about: Option<String>,
    /// The language of the account that the mail is for.
    pub locale: Option<String>,
}

impl std::fmt::Debug for Outgoing {
    /// Leaves out the text, which may hold a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let to = crate::value::account_name::masked(&self.to);
        f.debug_struct("Outgoing")
            .field("message_id", &self.message_id)
            .field("to", &to)
            .finish_non_exhaustive()
    }
}

/// A mail could not be delivered.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct DeliveryError {
    /// The reason, for the log: one line without addresses, links and tokens.
    pub what: String,
    /// Whether another try cannot succeed.
    pub permanent: bool,
    /// Whether the mail server had begun with this mail, so that the time it took is that of the recipient's domain.
    pub has_begun: bool,
}

impl DeliveryError {
    /// Returns an error before the mail server has begun with the mail, which is tried again.
    pub(crate) fn passing(error: impl std::fmt::Display) -> Self {
        Self { what: error.to_string(), permanent: false, has_begun: false }
    }
}
