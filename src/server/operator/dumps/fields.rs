//! Reading the fields of other systems, and writing those of a line.

use serde_json::{Map, Value};

use crate::flow::admin::import::report::Refused;
use crate::system::clock::Timestamp;

/// An object of a dump.
pub(super) type Object = Map<String, Value>;

/// What a user of a dump becomes.
pub(super) enum Converted {
    /// A line of an import.
    Line(Object),
    /// Nothing: it is no user, or one that was deleted.
    Skipped,
}

/// Returns a text that is not empty.
pub(super) fn text<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// Returns an id: a text, or a number.
pub(super) fn id(object: &Object, name: &str) -> Option<String> {
    match object.get(name)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Returns a truth value, also as databases write it.
pub(super) fn flag(object: &Object, name: &str) -> Option<bool> {
    match object.get(name)? {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => Some(number.as_u64() != Some(0)),
        Value::String(text) => match text.as_str() {
            "t" | "true" | "1" => Some(true),
            "f" | "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Returns an object, also one that stands in a text.
pub(super) fn object(object: &Object, name: &str) -> Option<Object> {
    match object.get(name)? {
        Value::Object(inner) => Some(inner.clone()),
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}

/// Returns a time: milliseconds since 1970, RFC 3339, or the form of PostgreSQL, `2023-01-02 03:04:05.678+00`.
pub(super) fn time(object: &Object, name: &str) -> Option<Timestamp> {
    match object.get(name)? {
        Value::Number(number) => number.as_u64().map(Timestamp),
        Value::String(text) => match text.parse() {
            Ok(ms) => Some(Timestamp(ms)),
            Err(_) => Timestamp::parse_rfc3339(&rfc3339(text)),
        },
        _ => None,
    }
}

/// Brings a time of a database to RFC 3339: a `T` in the place of the blank, and an offset of hours and minutes, or `Z`.
fn rfc3339(text: &str) -> String {
    let text = text.trim().replacen(' ', "T", 1);
    let clock = text.find('T').unwrap_or(text.len());
    let offset = text.get(clock..).and_then(|rest| rest.rfind(['+', '-', 'Z']).map(|at| clock + at));
    match offset {
        None => text + "Z",
        // Hours alone.
        Some(at) if text.len() == at + 3 => text + ":00",
        Some(_) => text,
    }
}

/// A line that is being written.
#[derive(Default)]
pub(super) struct Line(Object);

impl Line {
    /// Begins a line with the address of a user.
    ///
    /// Errors: the user has none.
    pub(super) fn of(user: &Object, email: &'static str) -> Result<Self, Refused> {
        let address = text(user, email).ok_or_else(|| {
            let why = "the user has no e-mail address, by which an account here is known";
            Refused::at(format!("/{email}"), "missing_field", why)
        })?;
        Ok(Self::default().with("email", Some(address)))
    }

    /// Adds a field that is there.
    pub(super) fn with(mut self, name: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Adds an object that is there and not empty.
    pub(super) fn with_object(self, name: &str, value: Option<Object>) -> Self {
        self.with(name, value.filter(|object| !object.is_empty()))
    }

    /// Adds a name. What is none here is left out: it is no reason to refuse a user.
    pub(super) fn with_name(self, name: Option<&str>) -> Self {
        let is_name = |name: &&str| name.chars().count() <= 100 && !name.chars().any(char::is_control);
        self.with("name", name.map(str::trim).filter(|name| !name.is_empty()).filter(is_name))
    }

    /// Adds when the user was created.
    pub(super) fn created(self, at: Option<Timestamp>) -> Self {
        self.with("created_at", at.map(Timestamp::rfc3339_millis))
    }

    /// Adds that the user may not log in.
    pub(super) fn disabled(self, is_disabled: bool) -> Self {
        self.with("status", is_disabled.then_some("disabled"))
    }

    /// Ends the line.
    pub(super) fn done(self) -> Converted {
        Converted::Line(self.0)
    }
}

/// Joins names of a person.
pub(super) fn full_name(first: Option<&str>, last: Option<&str>) -> Option<String> {
    let names: Vec<&str> = first.into_iter().chain(last).collect();
    (!names.is_empty()).then(|| names.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_databases_are_read() {
        let expected = Some(Timestamp(1_672_628_645_678));
        for text in [
            "2023-01-02T03:04:05.678Z",
            "2023-01-02 03:04:05.678+00",
            "2023-01-02 03:04:05.678",
            "2023-01-02T05:04:05.678+02:00",
            "2023-01-02 05:04:05.678123+02",
            "1672628645678",
        ] {
            let object = Object::from_iter([("at".into(), text.into())]);
            assert_eq!(time(&object, "at"), expected, "{text}");
        }
        for text in ["", "yesterday", "2023-01-02"] {
            let object = Object::from_iter([("at".into(), text.into())]);
            assert_eq!(time(&object, "at"), None, "{text}");
        }
    }
}
