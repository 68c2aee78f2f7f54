//! What becomes of a line, and of all of them.

use std::borrow::Cow;
use std::time::Duration;

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
    /// The external id that it gives, or else the id.
    pub external_id: Option<Box<str>>,
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
        /// The earlier line of the same stream that has it too.
        earlier: Option<u64>,
        /// Whether it comes from the same line.
        is_same: bool,
    },
    /// The line is wrong.
    Refused(Refused),
}

impl Outcome {
    /// Says whether the account is that of the same person, who has another address there by now.
    const fn is_moved(&self) -> bool {
        matches!(
            self,
            Self::Duplicate {
                what: Taken::ExternalId | Taken::Id,
                by: Some(_),
                earlier: None,
                is_same: false
            }
        )
    }
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
        let mut report = match &self.outcome {
            Outcome::Duplicate { what, by, earlier, is_same } => json!({
                "line": line,
                "result": "duplicate",
                "field": what.field(),
                "account": by.map(|by| by.to_string()),
                "earlier_line": earlier,
                "same": is_same,
                "moved": self.outcome.is_moved(),
                "why": self.why(),
            }),
            Outcome::Refused(Refused { pointer, code, why }) => json!({
                "line": line, "result": "refused", "field": pointer, "code": code, "why": why,
            }),
        };
        if let (Some(id), Some(report)) = (&self.external_id, report.as_object_mut()) {
            report.insert(String::from("external_id"), id.as_ref().into());
        }
        report
    }

    /// Describes it for people.
    pub fn why(&self) -> Cow<'_, str> {
        match &self.outcome {
            Outcome::Refused(refused) => Cow::Borrowed(&refused.why),
            Outcome::Duplicate { is_same: true, earlier: Some(earlier), .. } => {
                format!("number {earlier} is the same user").into()
            }
            Outcome::Duplicate { what, by, earlier: Some(earlier), .. } => {
                let account = by.map_or_else(String::new, |by| format!(", and is the account {by}"));
                format!("an earlier user, number {earlier}, has the same {}{account}", what.field()).into()
            }
            Outcome::Duplicate { what, by: None, .. } => {
                format!("an earlier user has the same {}", what.field()).into()
            }
            Outcome::Duplicate { is_same: true, by: Some(by), .. } => {
                format!("imported before: it is the account {by}").into()
            }
            Outcome::Duplicate { what: Taken::KeptEmail, by: Some(by), .. } => {
                format!("the address is kept for the account {by}, which had it before and can get it back")
                    .into()
            }
            outcome @ Outcome::Duplicate { what, by: Some(by), .. } if outcome.is_moved() => {
                let field = what.field();
                format!("its {field} is there with another address: the account {by}, which stays as it is")
                    .into()
            }
            Outcome::Duplicate { what, by: Some(by), .. } => {
                format!("the account {by} has the same {}", what.field()).into()
            }
        }
    }
}

/// How many lines became what.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Lines that gave an account; in a dry run, that would give one.
    pub created: u64,
    /// Lines whose account is there already.
    pub same: u64,
    /// Lines of which another account has something.
    pub taken: u64,
    /// Lines whose id or external id is there with another address.
    pub moved: u64,
    /// Lines that are wrong.
    pub refused: u64,
    /// What a log-in costs, if the hashes of the lines make it cost more.
    pub log_in: Option<Grown>,
}

/// What a log-in costs before an import and after it, in KiB that argon2id fills in all passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grown {
    /// Before.
    pub before_kib: u64,
    /// Afterwards; in a dry run, if it were none.
    pub after_kib: u64,
    /// How long it takes afterwards on this machine, and how many fit into a second, if a hash was measured.
    pub after: Option<(Duration, f64)>,
}

impl Counts {
    /// Describes them for programs.
    pub fn json(&self) -> Value {
        let Self { created, same, taken, moved, refused, log_in } = self;
        let mut counts = json!({
            "created": created, "duplicates": same + taken + moved, "same": same, "moved": moved, "refused": refused,
        });
        if let (Some(Grown { before_kib, after_kib, after }), Some(counts)) = (log_in, counts.as_object_mut())
        {
            let grown = json!({"before": before_kib, "after": after_kib});
            counts.insert(String::from("log_in_kib"), grown);
            if let Some((time, rate)) = after {
                counts.insert(String::from("log_in_ms"), (time.as_secs_f64() * 1000.0).round().into());
                counts.insert(String::from("log_ins_per_second"), ((rate * 10.0).round() / 10.0).into());
            }
        }
        counts
    }

    /// Notes what became of a line.
    pub(super) const fn note(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Duplicate { is_same: true, .. } => self.same += 1,
            moved if moved.is_moved() => self.moved += 1,
            Outcome::Duplicate { .. } => self.taken += 1,
            Outcome::Refused(_) => self.refused += 1,
        }
    }
}
