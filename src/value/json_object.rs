//! JSON objects that an account carries: bounded in length and depth, without a name that comes twice, as compact text.
//!
//! A name that comes twice has no meaning that all programs share (RFC 8259 §4): one would read the first value and
//! another the last. Such an object is refused instead of being read one way.

use std::collections::BTreeSet;
use std::fmt::{self, Formatter};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Maximum length of an object in bytes, as it is stored: without blanks between its parts.
pub const OBJECT_BYTES_MAX: usize = 4096;
/// The most objects and lists that stand in one another, the outermost object included.
pub const DEPTH_MAX: usize = 8;

/// The reason why an account cannot carry a JSON object.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ObjectFault {
    /// The text is no JSON object.
    #[error("this is no JSON object")]
    NotAnObject,
    /// It is too long.
    #[error("a JSON object here takes at most {OBJECT_BYTES_MAX} bytes without blanks between its parts")]
    TooLong,
    /// Too much stands in one another.
    #[error(
        "in a JSON object here at most {DEPTH_MAX} objects and lists stand in one another, itself included"
    )]
    TooDeep,
    /// A name comes twice in one object.
    #[error("a name stands twice in one object")]
    Duplicate,
}

impl ObjectFault {
    /// Returns the kind of fault, for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotAnObject => "invalid_type",
            Self::TooLong => "too_long",
            Self::TooDeep => "too_deep",
            Self::Duplicate => "duplicate_field",
        }
    }
}

/// An object that an account is to carry, as compact text; an empty text if it is to carry none.
///
/// It is read from an object, and from null and an empty text, which are none like `{}`. Reading fails for other values
/// alone: a fault of an object is kept, so that whoever asked for the object names it together with its field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewObject(Result<Box<str>, ObjectFault>);

impl NewObject {
    /// Reads an object from the text that a person typed. An empty text is none.
    pub fn of_text(text: &str) -> Self {
        if text.trim().is_empty() {
            return Self(Ok("".into()));
        }
        serde_json::from_str(text).unwrap_or(Self(Err(ObjectFault::NotAnObject)))
    }

    /// Returns the compact text.
    pub fn text(self) -> Result<Box<str>, ObjectFault> {
        self.0
    }
}

impl<'de> Deserialize<'de> for NewObject {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let mut compact = Compact { text: Vec::new(), fault: None };
        json.deserialize_any(Outermost(&mut compact))?;
        Ok(Self(compact.finish()))
    }
}

/// Says whether a name comes twice in an object of the JSON in `text`, at any depth that the reader of JSON goes down to.
pub fn names_twice(text: &str) -> bool {
    let mut found = false;
    // What is no JSON is found by whoever reads it.
    let mut json = serde_json::Deserializer::from_str(text);
    let _ = Names(&mut found).deserialize(&mut json);
    found
}

/// Looks for a name that comes twice.
struct Names<'a>(&'a mut bool);

impl<'de> DeserializeSeed<'de> for Names<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Names<'_> {
    type Value = ();

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            *self.0 |= !names.insert(name);
            map.next_value_seed(Names(&mut *self.0))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Names(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Says whether `text` is an object as it is stored, but for names that come twice: whoever reads it back knows that one
/// was refused when it was written.
pub fn is_stored_form(text: &str) -> bool {
    text.len() <= OBJECT_BYTES_MAX
        && text.len() > 2
        && text.starts_with('{')
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Compact text that is being written. After a fault nothing more is.
struct Compact {
    text: Vec<u8>,
    fault: Option<ObjectFault>,
}

impl Compact {
    fn push(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
        if self.text.len() > OBJECT_BYTES_MAX {
            self.fails(ObjectFault::TooLong);
        }
    }

    fn push_value<E: Error>(&mut self, value: &impl Serialize) -> Result<(), E> {
        let written = serde_json::to_vec(value).map_err(E::custom)?;
        self.push(&written);
        Ok(())
    }

    fn fails(&mut self, fault: ObjectFault) {
        self.fault.get_or_insert(fault);
        self.text = Vec::new();
    }

    fn finish(self) -> Result<Box<str>, ObjectFault> {
        match self.fault {
            Some(fault) => Err(fault),
            None if self.text == b"{}" => Ok("".into()),
            // Texts that were read as UTF-8, and signs of ASCII.
            None => String::from_utf8(self.text).map(Into::into).map_err(|_| ObjectFault::NotAnObject),
        }
    }

    /// Writes the members of `map`, which stands in `depth` others.
    fn write_map<'de, A: MapAccess<'de>>(&mut self, mut map: A, depth: usize) -> Result<(), A::Error> {
        let mut names = BTreeSet::new();
        self.push(b"{");
        while let Some(name) = map.next_key::<String>()? {
            if self.fault.is_some() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if !names.is_empty() {
                self.push(b",");
            }
            self.push_value(&name)?;
            self.push(b":");
            map.next_value_seed(Inner { compact: self, depth })?;
            if !names.insert(name) {
                self.fails(ObjectFault::Duplicate);
            }
        }
        self.push(b"}");
        Ok(())
    }

    /// Writes the values of `list`, which stands in `depth` others.
    fn write_list<'de, A: SeqAccess<'de>>(&mut self, mut list: A, depth: usize) -> Result<(), A::Error> {
        self.push(b"[");
        let mut is_first = true;
        loop {
            if self.fault.is_some() {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(());
            }
            // The comma goes again if nothing follows it.
            let before = self.text.len();
            if !is_first {
                self.push(b",");
            }
            is_first = false;
            if list.next_element_seed(Inner { compact: self, depth })?.is_none() {
                self.text.truncate(before);
                break;
            }
        }
        self.push(b"]");
        Ok(())
    }
}

/// Reads the whole: an object, or one of the values that stand for none.
struct Outermost<'c>(&'c mut Compact);

impl<'de> Visitor<'de> for Outermost<'_> {
    type Value = ();

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.push(b"{}");
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if !text.is_empty() {
            return Err(E::invalid_type(serde::de::Unexpected::Str(text), &self));
        }
        self.0.push(b"{}");
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.write_map(map, 0)
    }
}

/// Reads any value that stands in `depth` objects and lists beside the outermost one.
struct Inner<'c> {
    compact: &'c mut Compact,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Inner<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl Inner<'_> {
    /// Says whether one more object or list may stand here. If not, that is the fault.
    fn has_depth(&mut self) -> bool {
        let is_allowed = self.depth + 2 <= DEPTH_MAX;
        if !is_allowed {
            self.compact.fails(ObjectFault::TooDeep);
        }
        is_allowed
    }
}

impl<'de> Visitor<'de> for Inner<'_> {
    type Value = ();

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.compact.push(b"null");
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.compact.push_value(&value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.compact.push_value(&value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.compact.push_value(&value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.compact.push_value(&value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.compact.push_value(&value)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        if self.has_depth() {
            return self.compact.write_map(map, self.depth + 1);
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        if self.has_depth() {
            return self.compact.write_list(list, self.depth + 1);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Box<str>, ObjectFault> {
        NewObject::of_text(text).text()
    }

    #[test]
    fn an_object_is_kept_as_compact_text_in_its_own_order() {
        for (text, compact) in [
            ("{}", ""),
            ("", ""),
            (" ", ""),
            ("null", ""),
            ("\"\"", ""),
            (" { \"b\" : 1 , \"a\" : [ ] } ", r#"{"b":1,"a":[]}"#),
            (r#"{"a":[1, -2, 2.50, true, null, "x", {}]}"#, r#"{"a":[1,-2,2.5,true,null,"x",{}]}"#),
            (r#"{"a":{"a":{"a":1}}}"#, r#"{"a":{"a":{"a":1}}}"#),
            (r#"{"\u0061":"\u00e9\u001b\"\\\/"}"#, "{\"a\":\"\u{e9}\\u001b\\\"\\\\/\"}"),
            (r#"{"n":18446744073709551615}"#, r#"{"n":18446744073709551615}"#),
            // A reader of numbers that is a digit off would change it again at each change of the account.
            (r#"{"n":1844674407346744073709551615}"#, r#"{"n":1.8446744073467442e+27}"#),
        ] {
            assert_eq!(read(text).as_deref(), Ok(compact), "{text}");
            assert_eq!(read(compact).as_deref(), Ok(compact), "{text}");
            assert!(compact.is_empty() || is_stored_form(compact), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_or_has_a_name_twice_is_refused() {
        for (text, fault) in [
            ("[]", ObjectFault::NotAnObject),
            ("7", ObjectFault::NotAnObject),
            ("\"x\"", ObjectFault::NotAnObject),
            ("{", ObjectFault::NotAnObject),
            ("{} {}", ObjectFault::NotAnObject),
            ("{\"a\":1e999}", ObjectFault::NotAnObject),
            ("{\"a\":\"\\ud800\"}", ObjectFault::NotAnObject),
            (r#"{"a":1,"a":1}"#, ObjectFault::Duplicate),
            (r#"{"a":1,"\u0061":2,"b":{}}"#, ObjectFault::Duplicate),
            (r#"{"a":[{"b":1,"b":2}]}"#, ObjectFault::Duplicate),
        ] {
            assert_eq!(read(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn length_and_depth_are_bounded_to_the_byte_and_to_the_level() {
        let of_len = |len: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(len - 8));
        assert_eq!(read(&of_len(OBJECT_BYTES_MAX)).unwrap().len(), OBJECT_BYTES_MAX);
        assert_eq!(read(&of_len(OBJECT_BYTES_MAX + 1)), Err(ObjectFault::TooLong));
        assert!(!is_stored_form(&of_len(OBJECT_BYTES_MAX + 1)));
        // Blanks between the parts do not count.
        let blank = format!("{{{}\"a\":1}}", " ".repeat(OBJECT_BYTES_MAX));
        assert_eq!(read(&blank).as_deref(), Ok("{\"a\":1}"));
        for (open, close) in [("{\"a\":", "}"), ("[", "]")] {
            let nested = |depth: usize| format!("{{\"a\":{}1{}}}", open.repeat(depth), close.repeat(depth));
            let deepest = nested(DEPTH_MAX - 1);
            assert_eq!(read(&deepest).as_deref(), Ok(&*deepest));
            assert_eq!(read(&nested(DEPTH_MAX)), Err(ObjectFault::TooDeep));
            assert_eq!(read(&nested(100)), Err(ObjectFault::TooDeep));
            assert!(read(&nested(10_000)).is_err());
        }
        // What follows a fault is read to its end, and changes nothing.
        let long = format!("{{\"a\":{:?},\"b\":[1,{{\"c\":2}}],\"a\":1}}", "x".repeat(OBJECT_BYTES_MAX));
        assert_eq!(read(&long), Err(ObjectFault::TooLong));
    }

    #[test]
    fn a_stored_object_is_an_object_and_nothing_else() {
        for text in ["", "{}", "[1]", "{\"a\":1", "{\"a\":1}x", "\"a\"", "1234"] {
            assert!(!is_stored_form(text), "{text}");
        }
    }
}
