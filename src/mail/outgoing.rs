//! A mail that is ready to leave, and why one did not.

use crate::mail::template::Letter;

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

impl DeliveryError {
    pub(crate) fn passing(error: impl std::fmt::Display) -> Self {
        Self { what: error.to_string(), permanent: false }
    }
}
