//! Letters and how they leave: the text of each kind, SMTP, and the transport that a mail goes by.
//!
//! What waits to be sent stands in the journalled outbox, `registry::outbox`; this folder knows nothing of it.

pub mod outgoing;
#[cfg(feature = "mail")]
pub mod smtp;
pub mod template;
pub mod transport;
