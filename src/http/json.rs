//! Bodies in JSON.

use actix_web::{HttpResponse, HttpResponseBuilder};

/// An answer in JSON. In one piece of memory: most answers fit, and growing costs more than writing.
pub(crate) fn json(response: &mut HttpResponseBuilder, body: &impl serde::Serialize) -> HttpResponse {
    let mut text = Vec::with_capacity(1536);
    match serde_json::to_writer(&mut text, body) {
        Ok(()) => response.content_type("application/json").body(text),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            HttpResponse::InternalServerError().finish()
        }
    }
}

/// JSON of which most is known to need no look: copied, where serde would look at each byte. In one piece of memory.
pub(crate) struct Json(Vec<u8>);

impl Json {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Names, braces, and values in which nothing is to be escaped.
    #[must_use]
    pub(crate) fn plain(mut self, text: &str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// A value that may hold anything.
    #[must_use]
    pub(crate) fn value(mut self, value: &impl serde::Serialize) -> Self {
        // What is given here is texts and numbers, and has no way to fail.
        let _ = serde_json::to_writer(&mut self.0, value);
        self
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}
