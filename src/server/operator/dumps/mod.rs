//! The users of other systems, as those export them, and as lines that an import takes.
//!
//! **The attack:** a dump of gigabytes fills memory; one user in it that cannot be read keeps all others out.
//!
//! **The rule:** a dump is read in parts, of which each user is one, whatever its size. What a system writes that has no place
//! here is left out; what keeps a user from being an account is named with its number. Nothing here gives a role.
//!
//! ```text
//!   NDJSON ─ lines ┐
//!   JSON ── values ┼─▶ an object ─ convert ─▶ a line of an import
//!   CSV ── records ┘       ▲
//!                          └─ join: the password, out of a second file or list
//! ```

mod csv;
mod fields;
mod join;
mod json_values;
mod systems;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use self::csv::{Csv, Record};
use self::fields::{Converted, Object};
use self::join::Join;
use self::json_values::{Broken, JsonValues};
use self::systems::{auth0_id, better_auth_id, convert};
use crate::flow::admin::import::lines::foreign_form;
use crate::flow::admin::import::report::Refused;
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
    const fn lists(self) -> &'static [&'static str] {
        match self {
            Self::Keycloak | Self::Firebase => &["users"],
            Self::BetterAuth => &["user", "users"],
            _ => &[],
        }
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

/// What a part of a dump becomes.
pub enum Part {
    /// A line of an import.
    Line(String),
    /// Nothing, since it is no user.
    Skipped,
    /// Nothing, since it cannot be an account.
    Refused(Refused),
}

/// A dump that is being read.
pub struct Dump<R: Read> {
    format: Format,
    options: Options,
    source: Source<R>,
    join: Option<Join>,
}

enum Source<R: Read> {
    Json(JsonValues<BufReader<R>>),
    Csv(Csv<BufReader<R>>),
}

impl<R: Read> Dump<R> {
    /// Begins to read a dump of `format`. `second` is the file with the passwords, where they are apart.
    ///
    /// Errors: a file that cannot be read, or is no text.
    pub fn open(format: Format, options: Options, read: R, second: Option<&Path>) -> Result<Self, DumpError> {
        let mut read = BufReader::with_capacity(64 * 1024, read);
        let head = read.fill_buf()?;
        if let Some(what) = foreign_form(head) {
            return Err(DumpError::Foreign(what));
        }
        let first = head.iter().find(|byte| !byte.is_ascii_whitespace() && byte.is_ascii());
        let is_csv = format == Format::Supabase && !matches!(first, Some(b'{' | b'[') | None);
        let source = if is_csv {
            Source::Csv(Csv::new(read))
        } else {
            Source::Json(JsonValues::new(read, format.lists()))
        };
        let join = match (format, second) {
            (Format::Auth0, Some(path)) => Some(Join::open(path, &[], auth0_id)?),
            (Format::BetterAuth, Some(path)) => {
                Some(Join::open(path, &["account", "accounts"], better_auth_id)?)
            }
            _ => None,
        };
        Ok(Self { format, options, source, join })
    }

    /// Returns what the next part becomes; `None` at the end.
    ///
    /// Errors: the rest cannot be read.
    pub fn next(&mut self) -> Result<Option<Part>, DumpError> {
        let wrong = |why: &str| Some(Part::Refused(Refused::at("", "malformed_json", why)));
        let object = match &mut self.source {
            Source::Csv(csv) => match csv.next()? {
                None => return Ok(None),
                Some(Record::Wrong(why)) => {
                    return Ok(Some(Part::Refused(Refused::at("", "malformed_csv", why))));
                }
                Some(Record::Fields(fields)) => fields,
            },
            Source::Json(values) => {
                let Some(found) = values.next()? else { return Ok(None) };
                let Some(bytes) = found.bytes else {
                    let why = "the user has more than 256 KiB";
                    return Ok(Some(Part::Refused(Refused::at("", "too_long", why))));
                };
                match serde_json::from_slice(&bytes) {
                    Ok(Value::Object(object)) => object,
                    Ok(_) => return Ok(wrong("the user is no JSON object")),
                    Err(_) => return Ok(wrong("the user is no JSON in UTF-8")),
                }
            }
        };
        let join = &mut self.join;
        let mut joined = |id: &str| join.as_mut().and_then(|join| join.find(id));
        Ok(Some(match convert(self.format, &self.options, &object, &mut joined) {
            Ok(Converted::Line(line)) => Part::Line(Value::from(line).to_string()),
            Ok(Converted::Skipped) => Part::Skipped,
            Err(refused) => Part::Refused(refused),
        }))
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
