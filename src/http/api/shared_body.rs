//! Request bodies that several endpoints take.

use serde::Deserialize;

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
