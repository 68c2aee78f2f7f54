//! Request bodies that several endpoints take.

use serde::Deserialize;

/// A body that holds a token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Token {
    pub(super) token: String,
}

/// A body that holds an e-mail address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Email {
    pub(super) email: String,
}
