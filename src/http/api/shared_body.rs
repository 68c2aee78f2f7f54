//! Request bodies that several endpoints take.

use serde::{Deserialize, Deserializer};

use crate::value::json_object::NewObject;
use crate::value::secret_text::SecretText;

/// A body that holds a token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Token {
    pub(super) token: SecretText,
}

/// A body that holds an e-mail address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Email {
    pub(super) email: String,
}

/// The kind of credential that a client asks for.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ModeName {
    /// Tokens in the body.
    #[default]
    Token,
    /// A cookie.
    Cookie,
}

/// Reads an object that may be null or an empty text, which are the same as an empty one. A field that is not there is `None`:
/// give it `#[serde(default)]` too.
pub(super) fn new_object<'de, D: Deserializer<'de>>(json: D) -> Result<Option<NewObject>, D::Error> {
    NewObject::deserialize(json).map(Some)
}

/// Reads a text that may be null, which is the same as an empty one. A field that is not there is `None`: give it
/// `#[serde(default)]` too.
pub(super) fn null_is_empty<'de, D: Deserializer<'de>>(json: D) -> Result<Option<String>, D::Error> {
    Option::<String>::deserialize(json).map(|text| Some(text.unwrap_or_default()))
}
