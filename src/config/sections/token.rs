//! `[token]`: access tokens and the keys that sign them.

use std::time::Duration;

use crate::config::key::{Key, choice, list, number, secs, text};
use crate::config::public_url::PublicUrl;
use crate::config::reader::Reader;
use crate::token::Scheme;
use crate::token::further_claims::{ClaimPath, PATHS_MAX};

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
    list(
        "token.claims",
        "Fields of an account that are in its access tokens, at most 16: members of its two objects, as in \
         [\"app_metadata.plan\", \"user_metadata.theme\"], and name, locale, email, email_verified, external_id.",
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
    /// The fields of an account that are in its access tokens, beside the server's own claims.
    pub claims: Vec<ClaimPath>,
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
            claims: read_claims(reader),
        }
    }
}

/// Reads the places of further claims, and names each that is none, or is there twice.
fn read_claims(reader: &mut Reader) -> Vec<ClaimPath> {
    const KEY: &str = "token.claims";
    let texts: Vec<String> = reader.list(KEY, "a text");
    if texts.len() > PATHS_MAX {
        reader.wrong(KEY, format!("has {} claims, and there may be {PATHS_MAX}", texts.len()));
    }
    let mut paths: Vec<ClaimPath> = Vec::new();
    for text in texts {
        match text.parse::<ClaimPath>() {
            Err(fault) => reader.wrong(KEY, format!("holds {text:?}, which {fault}")),
            Ok(path) => match paths.iter().find(|other| other.overlaps(&path)) {
                Some(other) => {
                    reader.wrong(KEY, format!("holds {text:?}, which overlaps with {other}"));
                }
                None => paths.push(path),
            },
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Reader};

    /// Returns the claims of a file, or the mistakes in it.
    fn claims(listed: &str) -> Result<Vec<String>, Vec<String>> {
        let mut reader = Reader::new();
        reader.file("test.toml", &format!("[token]\nclaims = {listed}\n"));
        match Config::from_reader(reader) {
            Ok(config) => Ok(config.token.claims.iter().map(ToString::to_string).collect()),
            Err(faults) => Err(faults.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn each_mistake_in_the_list_of_claims_is_named() {
        let good = claims(r#"["app_metadata.plan", "user_metadata.a.b", "name", "email_verified"]"#);
        assert_eq!(good.unwrap(), ["app_metadata.plan", "user_metadata.a.b", "name", "email_verified"]);
        let wrong =
            r#"["roles", "plan", "app_metadata", "name", "name", "app_metadata.a.b", "app_metadata.a"]"#;
        let faults = claims(wrong).unwrap_err();
        let names = [
            r#""roles", which is a claim that the server writes itself"#,
            r#""plan", which begins with no field"#,
            r#""app_metadata", which names a whole object"#,
            r#""name", which overlaps with name"#,
            r#""app_metadata.a", which overlaps with app_metadata.a.b"#,
        ];
        assert_eq!(faults.len(), names.len(), "{faults:?}");
        for (fault, name) in faults.iter().zip(names) {
            assert!(fault.contains(name), "{fault}");
            assert!(fault.contains("test.toml"), "{fault}");
        }
        let many: Vec<String> = (0..17).map(|number| format!("\"app_metadata.a{number}\"")).collect();
        let faults = claims(&format!("[{}]", many.join(","))).unwrap_err();
        assert!(faults[0].contains("has 17 claims, and there may be 16"), "{faults:?}");
        assert!(claims(&format!("[{}]", many[1..].join(","))).is_ok());
    }
}
