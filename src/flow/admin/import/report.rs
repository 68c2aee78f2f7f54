//! What becomes of a line, and of all of them.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::registry::account::import::Taken;
use crate::value::id::AccountId;

/// Why a line gives no account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// The JSON pointer of the field; empty for the whole line.
    pub pointer: String,
    /// The kind of fault, for programs.
    pub code: &'static str,
    /// The fault, for people. It never holds a value of the line.
    pub why: String,
}

impl Refused {
    /// Refuses the field at `pointer`.
    pub fn at(pointer: impl Into<String>, code: &'static str, why: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, why: why.into() }
    }
}

/// What became of a line that gave no account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// The number of the line.
    pub line: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Another account has something that no two have.
    Duplicate {
        /// What it has.
        what: Taken,
        /// The account; `None` in a dry run if it is an earlier line of the same stream.
        by: Option<AccountId>,
        /// Whether it comes from the same line.
        is_same: bool,
    },
    /// The line is wrong.
    Refused(Refused),
}

impl Taken {
    /// Returns the name of the field.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Email | Self::KeptEmail => "email",
            Self::ExternalId => "external_id",
            Self::Id => "id",
        }
    }
}

impl Report {
    /// Describes it for programs.
    pub fn json(&self) -> Value {
        let line = self.line;
        match &self.outcome {
            Outcome::Duplicate { what, by, is_same } => json!({
                "line": line,
                "result": "duplicate",
                "field": what.field(),
                "account": by.map(|by| by.to_string()),
                "same": is_same,
                "why": self.why(),
            }),
            Outcome::Refused(Refused { pointer, code, why }) => json!({
                "line": line, "result": "refused", "field": pointer, "code": code, "why": why,
            }),
        }
    }

    /// Describes it for people.
    pub fn why(&self) -> Cow<'_, str> {
        match &self.outcome {
            Outcome::Refused(refused) => Cow::Borrowed(&refused.why),
            Outcome::Duplicate { what, by: None, .. } => {
                format!("an earlier line has the same {}", what.field()).into()
            }
            Outcome::Duplicate { is_same: true, by: Some(by), .. } => {
                format!("imported before: it is the account {by}").into()
            }
            Outcome::Duplicate { what: Taken::KeptEmail, by: Some(by), .. } => {
                format!("the address is kept for the account {by}, which had it before and can get it back")
                    .into()
            }
            Outcome::Duplicate { what, by: Some(by), .. } => {
                format!("the account {by} has the same {}", what.field()).into()
            }
        }
    }
}

/// How many lines became what.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Lines that gave an account; in a dry run, that would give one.
    pub created: u64,
    /// Lines whose account is there already.
    pub same: u64,
    /// Lines of which another account has something.
    pub taken: u64,
    /// Lines that are wrong.
    pub refused: u64,
    /// What a log-in costs, if the hashes of the lines make it cost more.
    pub log_in: Option<Grown>,
}

/// What a log-in costs before an import and after it, in KiB that argon2id fills in all passes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Grown {
    /// Before.
    pub before_kib: u64,
    /// Afterwards; in a dry run, if it were none.
    pub after_kib: u64,
}

impl Counts {
    /// Describes them for programs.
    pub fn json(&self) -> Value {
        let Self { created, same, taken, refused, log_in } = self;
        let mut counts =
            json!({"created": created, "duplicates": same + taken, "same": same, "refused": refused});
        if let (Some(Grown { before_kib, after_kib }), Some(counts)) = (log_in, counts.as_object_mut()) {
            let grown = json!({"before": before_kib, "after": after_kib});
            counts.insert(String::from("log_in_kib"), grown);
        }
        counts
    }

    /// Notes what became of a line.
    pub(super) const fn note(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Duplicate { is_same: true, .. } => self.same += 1,
            Outcome::Duplicate { .. } => self.taken += 1,
            Outcome::Refused(_) => self.refused += 1,
        }
    }
}
