//! Reading JSON: the bodies of requests, and where one is faulty.

use serde::de::{DeserializeOwned, IgnoredAny};

use super::problem::{FieldError, Problem};

/// Reads a value from JSON. The type itself refuses unknown fields.
///
/// Errors: 400 for a text that is not JSON; 422 for a field that is unknown, missing or of the wrong type.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // A byte order mark says nothing in UTF-8, and some editors and libraries write one (RFC 8259 §8.1).
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // The slower reader, which finds the faulty field, runs only if there is one.
    serde_json::from_slice(bytes).or_else(|_| read_and_locate_fault(bytes))
}

fn read_and_locate_fault<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // First the form of the whole text: a field may be faulty only because the text ends in it.
    let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| malformed())?;
    let mut json = serde_json::Deserializer::from_str(text);
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
fn field_error(mut pointer: String, message: &str) -> FieldError {
    // Only these two name a field of ours, which the path does not: it ends at the object around the field.
    let of_object = ["missing field", "duplicate field"].iter().any(|kind| message.starts_with(kind));
    if let Some(name) = message.split('`').nth(1).filter(|_| of_object) {
        pointer = format!("{pointer}/{name}");
    }
    let (code, message) = if message.starts_with("unknown field") {
        ("unknown_field", String::from("this endpoint has no such field"))
    } else if message.starts_with("missing field") {
        ("missing_field", String::from("this field is required"))
    } else if message.starts_with("duplicate field") {
        ("duplicate_field", String::from("this field may be there once only"))
    } else {
        ("invalid_type", String::from("this field does not accept a value of that type or form"))
    };
    FieldError { pointer, code: code.to_owned(), message }
}

fn malformed() -> Problem {
    Problem::new(400, "malformed_json", "The body is not valid JSON in UTF-8.")
}
