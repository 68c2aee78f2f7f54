//! What a key of the configuration is, and the list of all keys. Each section in [`super::sections`] declares its own;
//! the reader, the environment, `portcullis init`, `portcullis config show` and the hint for a misspelled key share
//! this list.

use std::ops::RangeInclusive;

use super::sections::SECTIONS;

/// One key, as its section declares it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The name with its section, such as `http.listen`.
    pub name: &'static str,
    /// The default as the file would spell it. Empty when the key has none, or when it is derived from another key.
    pub default: &'static str,
    /// Which values the key takes.
    pub form: Form,
    /// The comment that `portcullis init` writes above the key. Empty when the key above explains it.
    pub doc: &'static str,
}

/// Which values a key takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// Any text. The section may check it further.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number within these bounds, both included.
    Number {
        /// The smallest value.
        min: u64,
        /// The largest value.
        max: u64,
    },
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A list of texts, separated by commas where it comes from the environment.
    List,
}

/// The longest time that a key in seconds takes: ten years.
const SECS_MAX: u64 = 315_360_000;

/// Declares a key that takes a text.
pub(super) const fn text(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { name, default, form: Form::Text, doc }
}

/// Declares a key that takes `true` or `false`.
pub(super) const fn flag(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { name, default, form: Form::Flag, doc }
}

/// Declares a key that takes a whole number in `range`.
pub(super) const fn number(
    name: &'static str,
    default: &'static str,
    range: RangeInclusive<u64>,
    doc: &'static str,
) -> Key {
    Key { name, default, form: Form::Number { min: *range.start(), max: *range.end() }, doc }
}

/// Declares a key that takes a time in whole seconds, at least one.
pub(super) const fn secs(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    number(name, default, 1..=SECS_MAX, doc)
}

/// Declares a key that takes one of `choices`.
pub(super) const fn choice(
    name: &'static str,
    default: &'static str,
    choices: &'static [&'static str],
    doc: &'static str,
) -> Key {
    Key { name, default, form: Form::Choice(choices), doc }
}

/// Declares a key that takes a list of texts; none by default.
pub(super) const fn list(name: &'static str, doc: &'static str) -> Key {
    Key { name, default: "[]", form: Form::List, doc }
}

/// Returns every key, in the order of the file.
pub fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.iter())
}

/// Returns the key of that name.
pub fn by_name(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

/// Returns the name of the key that an unknown name was probably meant to be, if any is close.
pub fn nearest(unknown: &str) -> Option<&'static str> {
    let rated = all().map(|key| (strsim::jaro_winkler(unknown, key.name), key.name));
    let best = rated.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(likeness, _)| *likeness > 0.8).map(|(_, name)| name)
}

/// Returns the file that `portcullis init` writes: every key with its default, commented out.
pub fn commented() -> String {
    let mut out =
        String::from("# Portcullis. Every key is listed with its default; remove the # to change one.\n");
    let mut section = "";
    for Key { name, default, doc, .. } in all() {
        let (key_section, last) = name.rsplit_once('.').unwrap_or(("", name));
        if key_section != section {
            section = key_section;
            out.push_str(&format!("\n[{section}]\n"));
        }
        if !doc.is_empty() {
            out.push_str(&format!("# {doc}\n"));
        }
        let value = if default.is_empty() { "\"\"" } else { default };
        out.push_str(&format!("#{last} = {value}\n"));
    }
    out
}
