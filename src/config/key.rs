//! One key of the configuration, as its section declares it.

use std::ops::RangeInclusive;

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

/// The keys of every section, in the order of the file.
#[derive(Clone, Copy, Debug)]
pub struct KeyList(pub(super) &'static [&'static [Key]]);

impl KeyList {
    /// Returns every key.
    pub fn iter(self) -> impl Iterator<Item = &'static Key> {
        self.0.iter().flat_map(|section| section.iter())
    }

    /// Returns the key of that name.
    pub fn by_name(self, name: &str) -> Option<&'static Key> {
        self.iter().find(|key| key.name == name)
    }

    /// Returns the name of the key that an unknown name was probably meant to be, if any is close.
    pub fn nearest(self, unknown: &str) -> Option<&'static str> {
        let rated = self.iter().map(|key| (strsim::jaro_winkler(unknown, key.name), key.name));
        let best = rated.max_by(|(one, _), (other, _)| one.total_cmp(other));
        best.filter(|(likeness, _)| *likeness > 0.8).map(|(_, name)| name)
    }
}
