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
mod format;
mod join;
mod json_values;
mod systems;
#[cfg(test)]
mod tests;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

pub use format::{DumpError, Format, Options, hash_config};
use serde_json::Value;

use self::csv::{Csv, Record};
use self::fields::Converted;
use self::join::Join;
use self::json_values::JsonValues;
use self::systems::{auth0_id, better_auth_id, convert};
use crate::flow::admin::import::lines::foreign_form;
use crate::flow::admin::import::report::Refused;

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
    pub fn next_part(&mut self) -> Result<Option<Part>, DumpError> {
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
