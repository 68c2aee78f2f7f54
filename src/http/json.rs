//! Writing JSON: the bodies of answers.

use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;

/// Answers with `body` as JSON. Allocates once for most answers: growing the buffer costs more than writing to it.
pub(super) fn json(response: &mut HttpResponseBuilder, body: &impl Serialize) -> HttpResponse {
    let mut text = Vec::with_capacity(1536);
    match serde_json::to_writer(&mut text, body) {
        Ok(()) => response.content_type("application/json").body(text),
        Err(error) => {
            tracing::error!(%error, "cannot write an answer as JSON");
            HttpResponse::InternalServerError().finish()
        }
    }
}

/// A writer of JSON of which most needs no escaping. It copies such text, where serde would look at each byte. It
/// writes to one buffer, allocated once.
pub(super) struct Json(Vec<u8>);

impl Json {
    /// Allocates a buffer of `bytes`.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Copies `text`: names, braces, and values that contain nothing to escape.
    #[must_use]
    pub(super) fn plain(mut self, text: &str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// Writes a value that may contain anything.
    #[must_use]
    pub(super) fn value(mut self, value: &impl Serialize) -> Self {
        // Cannot fail: callers pass texts, numbers, and structs and lists of them.
        let _ = serde_json::to_writer(&mut self.0, value);
        self
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}
