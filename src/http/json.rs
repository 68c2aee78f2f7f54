//! JSON: reads the bodies of requests, writes the bodies of answers.

use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::{FieldError, Problem};

/// Reads a value from JSON. The type itself refuses unknown fields.
///
/// Errors: 400 for a text that is not JSON; 422 for a field that is unknown, missing or of the wrong type.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // The slower reader, which finds the faulty field, runs only if there is one.
    serde_json::from_slice(bytes).or_else(|_| read_and_locate_fault(bytes))
}

fn read_and_locate_fault<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        if !error.inner().is_data() {
            return malformed();
        }
        let pointer: String = error
            .path()
            .iter()
            .map(|segment| format!("/{}", segment.to_string().replace('~', "~0").replace('/', "~1")))
            .collect();
        Problem::unprocessable(field_error(pointer, &error.inner().to_string()))
    })?;
    json.end().map_err(|_| malformed())?;
    Ok(value)
}

/// Describes the fault of one field. The description names fields and types, never a value that was sent.
fn field_error(pointer: String, message: &str) -> FieldError {
    let (code, message) = if message.starts_with("unknown field") {
        ("unknown_field", String::from("this endpoint has no such field"))
    } else if message.starts_with("missing field") {
        ("missing_field", message.split(" at line").next().unwrap_or_default().to_owned())
    } else {
        ("invalid_type", String::from("this field does not accept a value of that type or form"))
    };
    FieldError { pointer, code: code.to_owned(), message }
}

fn malformed() -> Problem {
    Problem::new(400, "malformed_json", "The body is not valid JSON in UTF-8.")
}

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

/// A writer of JSON of which most needs no escaping. It copies such text, where serde would look at each byte. It writes
/// to one buffer, allocated once.
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
