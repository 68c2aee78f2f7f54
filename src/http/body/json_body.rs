//! Reading JSON: the bodies of requests, and where one is faulty.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_path_to_error::Segment;

use super::strict_json::Strict;
use crate::http::problem::{FieldError, Problem};

/// Reads a value from JSON. The type itself refuses unknown fields.
///
/// Errors: 400 for a text that is not JSON; 422 for what is no object, and for a field that is unknown, missing or of
/// the wrong type.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // A byte order mark says nothing in UTF-8, and some editors and libraries write one (RFC 8259 §8.1).
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // The slower reader, which finds the faulty field, runs only if there is one.
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = T::deserialize(Strict(&mut json)).and_then(|value| json.end().map(|()| value));
    read.or_else(|_| read_and_locate_fault(bytes))
}

fn read_and_locate_fault<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // First the form of the whole text: a field may be faulty only because the text ends in it.
    let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| malformed())?;
    let mut json = serde_json::Deserializer::from_str(text);
    let mut track = serde_path_to_error::Track::new();
    let read = T::deserialize(Strict(serde_path_to_error::Deserializer::new(&mut json, &mut track)));
    let value = read.map_err(|error| {
        if !error.is_data() {
            return malformed();
        }
        let pointer: String = track.path().iter().map(pointer_token).collect();
        Problem::unprocessable(field_error(pointer, &error.to_string()))
    })?;
    json.end().map_err(|_| malformed())?;
    Ok(value)
}

/// Returns a step of a JSON pointer (RFC 6901 §3, §4).
fn pointer_token(segment: &Segment) -> String {
    match segment {
        Segment::Seq { index } => format!("/{index}"),
        other => format!("/{}", other.to_string().replace('~', "~0").replace('/', "~1")),
    }
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
        // The end of the message is what the type takes; before it there may be what was sent.
        let takes = message.rsplit_once(", expected ").map(|(_, takes)| takes);
        let takes = takes.map(|takes| takes.rsplit_once(" at line ").map_or(takes, |(takes, _)| takes));
        let what = if pointer.is_empty() { "the body" } else { "this field" };
        ("invalid_type", format!("{what} takes {}", takes.unwrap_or("another type or form of value")))
    };
    FieldError { pointer, code: code.to_owned(), message }
}

fn malformed() -> Problem {
    Problem::new(400, "malformed_json", "The body is not valid JSON in UTF-8.")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Colour {
        Red,
        DeepBlue,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Part {
        colour: Option<Colour>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Whole {
        parts: Vec<Part>,
        name: Option<String>,
    }

    #[test]
    fn forms_are_strict_at_any_depth() {
        let read = |text: &str| read::<Whole>(text.as_bytes());
        let whole = |parts, name: Option<&str>| Whole { parts, name: name.map(str::to_owned) };
        let blue = || Part { colour: Some(Colour::DeepBlue) };
        for (text, expected) in [
            ("{\"parts\": [{\"colour\": \"deep_blue\"}], \"name\": \"x\"}", whole(vec![blue()], Some("x"))),
            (
                " {\"parts\":[{},{\"colour\":null}]} ",
                whole(vec![Part { colour: None }, Part { colour: None }], None),
            ),
        ] {
            assert_eq!(read(text).ok(), Some(expected), "{text}");
        }
        for (text, pointer, message) in [
            ("[[]]", "", "the body takes an object"),
            ("\"x\"", "", "the body takes an object"),
            ("null", "", "the body takes an object"),
            ("{\"parts\": {}}", "/parts", "this field takes a list"),
            ("{\"parts\": [[\"red\"]]}", "/parts/0", "this field takes an object"),
            (
                "{\"parts\": [{}, {\"colour\": {\"red\": null}}]}",
                "/parts/1/colour",
                "this field takes `red` or `deep_blue`",
            ),
            (
                "{\"parts\": [{\"colour\": [\"red\"]}]}",
                "/parts/0/colour",
                "this field takes `red` or `deep_blue`",
            ),
            (
                "{\"parts\": [{\"colour\": \"green, expected `x`\"}]}",
                "/parts/0/colour",
                "this field takes `red` or `deep_blue`",
            ),
            ("{\"parts\": [], \"name\": 7}", "/name", "this field takes a string"),
        ] {
            let error = FieldError {
                pointer: pointer.to_owned(),
                code: String::from("invalid_type"),
                message: message.to_owned(),
            };
            let expected = Problem::unprocessable(error);
            assert_eq!(format!("{:?}", read(text).unwrap_err()), format!("{expected:?}"), "{text}");
        }
        for text in [
            "{\"parts\": []} {}",
            "{\"parts\": []",
            "{\"parts\": [}",
            "{\"parts\": nul}",
            "{\"parts\": [], \"name\": ",
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), malformed().to_string(), "{text}");
        }
    }
}
