//! `[token]`: access tokens and the keys that sign them.

use std::time::Duration;

use crate::config::key::{Key, choice, number, secs, text};
use crate::config::public_url::PublicUrl;
use crate::config::reader::Reader;
use crate::token::Scheme;

pub(in crate::config) const KEYS: &[Key] = &[
    choice(
        "token.algorithm",
        "\"ES256\"",
        &["ES256", "EdDSA"],
        "Algorithm that signs access tokens: \"ES256\" or \"EdDSA\". After a change, older keys still verify.",
    ),
    secs("token.access_ttl_secs", "900", "Lifetime of an access token at most."),
    text(
        "token.audience",
        "",
        "Audience of the application's access tokens. Default: the public origin. That of administrators is the public \
         origin and \"/admin\".",
    ),
    number(
        "token.publish_ahead_secs",
        "600",
        0..=86_400,
        "Time between publishing a new signing key and signing with it: longer than others cache the published keys.",
    ),
    number("token.key_days", "30", 1..=3650, "Age in days at which the server changes its signing key."),
];

/// The settings of `[token]`.
#[derive(Clone, Debug)]
pub struct Token {
    /// The algorithm that signs access tokens.
    pub algorithm: Scheme,
    /// Lifetime of an access token at most.
    pub access_ttl: Duration,
    /// The audience of access tokens.
    pub audience: String,
    /// Time between publishing a new signing key and signing with it.
    pub publish_ahead: Duration,
    /// Age in days at which the server changes its signing key.
    pub key_days: u64,
}

impl Token {
    /// Reads the section. `public_origin` is the audience where none is set.
    pub(in crate::config) fn read(reader: &mut Reader, public_origin: &PublicUrl) -> Self {
        let algorithm = match reader.choice("token.algorithm").as_str() {
            "EdDSA" => Scheme::EdDsa,
            _ => Scheme::Es256,
        };
        Self {
            algorithm,
            access_ttl: reader.secs("token.access_ttl_secs"),
            audience: reader.text("token.audience").unwrap_or_else(|| public_origin.to_string()),
            publish_ahead: reader.secs("token.publish_ahead_secs"),
            key_days: reader.number("token.key_days"),
        }
    }
}
