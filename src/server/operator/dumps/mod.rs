//! The users of other systems, as those export them, and as lines that an import takes.
//!
//! **The attack:** a dump of gigabytes fills memory; one user in it that cannot be read keeps all others out.
//!
//! **The rule:** a dump is read in parts, of which each user is one, whatever its size. What a system writes that has no place
//! here is left out; what keeps a user from being an account is named with its number. A file in which nothing is a user of its
//! system is refused as a whole, before anything is sent. Nothing here gives a role.
//!
//! ```text
//!   NDJSON ─ lines ┐
//!   JSON ── values ┼─▶ an object ─ convert ─▶ a line of an import
//!   CSV ── records ┘       ▲
//!                          └─ join: the password, out of a second file or list
//! ```

mod csv;
mod fields;
mod format;
mod found;
mod join;
mod json_values;
mod kinds;
mod systems;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

pub use format::{DumpError, Format, Options, hash_config};
use serde_json::Value;

use self::csv::{Csv, Record};
use self::fields::{Converted, Object};
use self::found::Found;
use self::join::{Join, Kind};
use self::json_values::JsonValues;
use self::kinds::{id_of, is_user};
use self::systems::{auth0_id, better_auth_id, convert, is_better_auth_account};
use crate::flow::admin::import::lines::foreign_form;
use crate::flow::admin::import::report::Refused;

/// The most parts that are read ahead to find the first user.
const AHEAD_MAX: usize = 1000;

/// What a part of a dump becomes.
pub enum Part {
    /// A line of an import.
    Line(String),
    /// Nothing, since it is no user.
    Skipped,
    /// Nothing, since it cannot be an account.
    Refused {
        /// Why.
        refused: Refused,
        /// The id that the user has there.
        external_id: Option<String>,
    },
}

/// A dump that is being read.
pub struct Dump<R: Read> {
    format: Format,
    options: Options,
    source: Source<R>,
    join: Option<Join>,
    found: Found,
    /// Parts that were read already, to find the first user.
    ahead: VecDeque<Part>,
}

enum Source<R: Read> {
    Json(JsonValues<BufReader<R>>),
    Csv(Csv<BufReader<R>>),
}

impl<R: Read> Dump<R> {
    /// Begins to read a dump of `format`. `second` is the file with the passwords, where they are apart.
    ///
    /// Errors: a file that cannot be read, is no text, or is another kind of file: nothing of it is taken then.
    pub fn open(format: Format, options: Options, read: R, second: Option<&Path>) -> Result<Self, DumpError> {
        let mut read = BufReader::with_capacity(64 * 1024, read);
        let head = read.fill_buf()?;
        if let Some(what) = foreign_form(head) {
            return Err(DumpError::Foreign(what));
        }
        let first = head.iter().find(|byte| !byte.is_ascii_whitespace() && byte.is_ascii());
        let is_json = matches!(first, Some(b'{' | b'[') | None);
        let source = if is_json {
            Source::Json(JsonValues::new(read, format.lists()))
        } else if format == Format::Supabase {
            Source::Csv(Csv::new(read))
        } else {
            let found = other_text(head);
            return Err(DumpError::NoUsers { expected: format.expected(), found: found.to_owned() });
        };
        let join = match (format, second) {
            (Format::Auth0, Some(path)) => {
                let is_one = |line: &Object| auth0_id(line).is_some();
                let expected =
                    "the JSON lines with the hashes that the support of Auth0 sends, as --passwords";
                Some(Join::open(path, Kind { lists: &[], expected, is_one, id_of: auth0_id })?)
            }
            (Format::BetterAuth, Some(path)) => {
                let (is_one, id_of) = (is_better_auth_account, better_auth_id);
                let expected =
                    "the rows of the table `account` as JSON, beside those of `user` or as --passwords";
                Some(Join::open(path, Kind { lists: &["account", "accounts"], expected, is_one, id_of })?)
            }
            _ => None,
        };
        let (found, ahead) = (Found::default(), VecDeque::new());
        let mut dump = Self { format, options, source, join, found, ahead };
        while !dump.found.has_one() && dump.ahead.len() < AHEAD_MAX {
            let Some(part) = dump.read_part()? else { break };
            dump.ahead.push_back(part);
        }
        Ok(dump)
    }

    /// Returns what the next part becomes; `None` at the end.
    ///
    /// Errors: the rest cannot be read.
    pub fn next_part(&mut self) -> Result<Option<Part>, DumpError> {
        if let Some(part) = self.ahead.pop_front() {
            return Ok(Some(part));
        }
        self.read_part()
    }

    fn read_part(&mut self) -> Result<Option<Part>, DumpError> {
        let Some(object) = self.read_object()? else {
            return if self.found.has_one() { Ok(None) } else { Err(self.no_users()) };
        };
        let format = self.format;
        let object = match object {
            Ok(object) => object,
            Err(refused) => {
                self.found.note(None, |_| false);
                return Ok(Some(Part::Refused { refused, external_id: None }));
            }
        };
        let had_one = self.found.has_one();
        let is_one = is_user(format, &object);
        self.found.note(Some(&object), |_| is_one);
        // The first object shows what the file is.
        if !is_one && !had_one && !format.is_mixed() {
            return Err(self.no_users());
        }
        let join = &mut self.join;
        let mut joined = |id: &str| join.as_mut().and_then(|join| join.find(id));
        Ok(Some(match convert(format, &self.options, &object, &mut joined) {
            Ok(Converted::Line(line)) => Part::Line(Value::from(line).to_string()),
            Ok(Converted::Skipped) => Part::Skipped,
            Err(refused) => Part::Refused { refused, external_id: id_of(format, &object) },
        }))
    }

    fn no_users(&self) -> DumpError {
        DumpError::NoUsers { expected: self.format.expected(), found: self.found.in_words() }
    }

    /// Reads the next object, or why it cannot be used; `None` at the end.
    fn read_object(&mut self) -> Result<Option<Result<Object, Refused>>, DumpError> {
        let wrong = |why: &str| Some(Err(Refused::at("", "malformed_json", why)));
        Ok(match &mut self.source {
            Source::Csv(csv) => match csv.next()? {
                None => None,
                Some(Record::Wrong(why)) => {
                    if csv.names().is_some_and(|names| !is_user(self.format, &names)) {
                        let found = String::from("a text that is no such CSV, and no JSON");
                        return Err(DumpError::NoUsers { expected: self.format.expected(), found });
                    }
                    Some(Err(Refused::at("", "malformed_csv", why)))
                }
                Some(Record::Fields(fields)) => Some(Ok(fields)),
            },
            Source::Json(values) => {
                let Some(found) = values.next()? else { return Ok(None) };
                let Some(bytes) = found.bytes else {
                    let why = "the user has more than 256 KiB";
                    return Ok(Some(Err(Refused::at("", "too_long", why))));
                };
                match serde_json::from_slice(&bytes) {
                    Ok(Value::Object(object)) => Some(Ok(object)),
                    Ok(_) => wrong("the user is no JSON object"),
                    Err(_) => wrong("the user is no JSON in UTF-8"),
                }
            }
        })
    }
}

/// Says what a text is that begins with `head` and is no JSON.
fn other_text(head: &[u8]) -> &'static str {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match line.trim_ascii_start().first() {
        Some(b'<') => "XML or HTML",
        _ if line.contains(&b',') || line.contains(&b';') || line.contains(&b'\t') => "CSV",
        _ => "a text that is no JSON",
    }
}
