//! Request bodies that several endpoints take.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::value::json_object::NewObject;
use crate::value::secret_text::SecretText;

/// A body that holds a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenOfMail)]
pub(super) struct Token {
    /// From the link in the mail.
    #[schema(value_type = String)]
    pub(super) token: SecretText,
}

/// A body that holds an e-mail address.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EmailAddress)]
pub(super) struct Email {
    #[schema(format = Email, example = "ada@example.org")]
    pub(super) email: String,
}

/// The kind of credential that a client asks for.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[schema(as = Mode)]
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

/// What was begun: a mail is on its way, or would be if there were an account.
#[derive(Serialize, ToSchema)]
#[schema(as = Begun)]
pub(super) struct Status {
    /// The same whoever asks, and for whichever address.
    #[schema(example = "reset_sent")]
    pub(super) status: &'static str,
}

/// Reads a text that may be null, which is the same as an empty one. A field that is not there is `None`: give it
/// `#[serde(default)]` too.
pub(super) fn null_is_empty<'de, D: Deserializer<'de>>(json: D) -> Result<Option<String>, D::Error> {
    Option::<String>::deserialize(json).map(|text| Some(text.unwrap_or_default()))
}
