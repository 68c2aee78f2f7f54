//! The forms in which users come, and what reading them needs.

use std::io;

use super::fields::Object;
use super::json_values::Broken;
use crate::system::clock::Timestamp;

/// A form in which users come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// Lines of an import.
    #[default]
    Portcullis,
    /// Rows of `auth.users` of Supabase (GoTrue): CSV with a header, a JSON list, or JSON lines.
    Supabase,
    /// The JSON of a realm, with its users.
    Keycloak,
    /// The JSON of `firebase auth:export`.
    Firebase,
    /// The JSON lines of an export of users, or of the hashes that the support of Auth0 sends.
    Auth0,
    /// The tables `user` and `account` of Better Auth, as JSON.
    BetterAuth,
    /// The JSON of `dumpdata`.
    Django,
}

impl Format {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 7] = [
        ("portcullis", Self::Portcullis),
        ("supabase", Self::Supabase),
        ("keycloak", Self::Keycloak),
        ("firebase", Self::Firebase),
        ("auth0", Self::Auth0),
        ("better-auth", Self::BetterAuth),
        ("django", Self::Django),
    ];

    /// Returns the lists that are read if the whole is an object.
    pub(super) const fn lists(self) -> &'static [&'static str] {
        match self {
            Self::Keycloak | Self::Firebase => &["users"],
            Self::BetterAuth => &["user", "users"],
            _ => &[],
        }
    }

    /// Says what a file of it is, for whoever gave another one.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Portcullis => "lines of JSON, each an object with `email`",
            Self::Supabase => "the rows of auth.users, as CSV with a header or as JSON",
            Self::Keycloak => "the JSON of a realm with its users, an export of `kc.sh export`",
            Self::Firebase => "the JSON of `firebase auth:export`",
            Self::Auth0 => {
                "the JSON lines of an export of users, or of the hashes that the support of Auth0 sends"
            }
            Self::BetterAuth => "the rows of the table `user`, as JSON",
            Self::Django => "an export of `manage.py dumpdata auth.user`",
        }
    }

    /// Says whether other objects stand among the users, as those of other tables.
    pub(super) const fn is_mixed(self) -> bool {
        matches!(self, Self::Portcullis | Self::Django)
    }
}

/// What a dump needs beside its file.
#[derive(Clone, Debug)]
pub struct Options {
    /// The time now: a ban that has ended is none.
    pub now: Timestamp,
    /// The parameters of the hashes of a project of Firebase.
    pub firebase: Option<Object>,
}

/// Why a dump cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The system cannot read it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no JSON, or ends within a value.
    #[error("the file is no JSON: {0}, at byte {1}")]
    Form(&'static str, u64),
    /// It is no text in UTF-8.
    #[error("this is {0}")]
    Foreign(&'static str),
    /// The second file has too many users.
    #[error("the second file has more than {0} users with a password; part it")]
    TooMany(usize),
    /// Nothing in it is what was expected.
    #[error("expected {expected}, found {found}")]
    NoUsers {
        /// What was expected.
        expected: &'static str,
        /// What is there instead.
        found: String,
    },
    /// The parameters of the hashes cannot be read.
    #[error(
        "expected base64_signer_key, base64_salt_separator, rounds and mem_cost, as the console of Firebase shows them"
    )]
    HashConfig,
}

impl From<Broken> for DumpError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Io(error) => Self::Io(error),
            Broken::Form(what, at) => Self::Form(what, at),
        }
    }
}

/// Reads the parameters of the hashes of a project, as the console of Firebase shows them: `name: value` lines, or JSON.
pub fn hash_config(text: &str) -> Result<Object, DumpError> {
    let mut config = Object::new();
    let is_edge = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';' | '{' | '}');
    for line in text.split([',', '\n', '{', '}']) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let (name, value) = (name.trim_matches(is_edge), value.trim_matches(is_edge));
        let name = match name {
            "base64_signer_key" | "signer_key" | "signerKey" => "signer_key",
            "base64_salt_separator" | "salt_separator" | "saltSeparator" => "salt_separator",
            "rounds" => "rounds",
            "mem_cost" | "memCost" | "memoryCost" => "mem_cost",
            _ => continue,
        };
        config.insert(name.to_owned(), value.into());
    }
    if config.len() == 4 { Ok(config) } else { Err(DumpError::HashConfig) }
}
