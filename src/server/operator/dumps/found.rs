//! What a file holds that is not what was expected.

use super::fields::Object;

/// The most members that are named.
const MEMBERS_MAX: usize = 8;
/// The most characters of a name that are shown.
const NAME_CHARS_MAX: usize = 32;

/// What was found so far.
#[derive(Default)]
pub(super) struct Found {
    /// How many values that are not what was expected.
    others: u64,
    /// The names of the members of the first object among them.
    members: Option<String>,
    has_one: bool,
}

impl Found {
    /// Notes a value: an object, or another one. `is_one` says whether it is what was expected.
    pub(super) fn note(&mut self, object: Option<&Object>, is_one: impl Fn(&Object) -> bool) {
        if object.is_some_and(is_one) {
            self.has_one = true;
            return;
        }
        self.others += 1;
        if let (None, Some(object)) = (&self.members, object) {
            self.members = Some(members(object));
        }
    }

    /// Says whether anything was what was expected.
    pub(super) const fn has_one(&self) -> bool {
        self.has_one
    }

    /// Describes what was found in its place. It names members, and never a value.
    pub(super) fn in_words(&self) -> String {
        match &self.members {
            _ if self.others == 0 => String::from("nothing"),
            None => String::from("values that are no JSON objects"),
            Some(members) if members.is_empty() => String::from("an object without members"),
            Some(members) => format!("objects with {members}"),
        }
    }
}

/// Names the first members of an object.
fn members(object: &Object) -> String {
    let short =
        |name: &String| -> String { name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect() };
    let mut names: Vec<String> = object.keys().take(MEMBERS_MAX).map(short).collect();
    if object.len() > MEMBERS_MAX {
        names.push(String::from("\u{2026}"));
    }
    names.join(", ")
}
