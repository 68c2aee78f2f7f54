//! A section that a file may have several times, such as `[[webhook]]`: each is read by a reader of its own.

use toml::de::DeValue;

use super::key::KeyList;
use super::reader::{Reader, Value};

impl Reader {
    /// Lets a file have the section `name` several times, each with these keys.
    pub(super) fn repeating(mut self, name: &'static str, keys: KeyList) -> Self {
        self.repeatable = Some((name, keys));
        self
    }

    /// Says whether `name` is that of the section.
    pub(super) fn is_repeatable(&self, name: &str) -> bool {
        self.repeatable.is_some_and(|(repeatable, _)| repeatable == name)
    }

    /// Reads the sections that a file has.
    pub(super) fn repeat(&mut self, path: &str, text: &str, value: &DeValue<'_>, place: String) {
        let Some((name, keys)) = self.repeatable else { return };
        let DeValue::Array(tables) = value else {
            return self.fault(place, format!("`[{name}]` may be there several times: write [[{name}]]"));
        };
        for table in tables {
            match table.get_ref() {
                DeValue::Table(inner) => {
                    let mut each = Self::over(keys);
                    each.begins.clone_from(&place);
                    each.table(path, text, name, inner);
                    self.repeated.push(each);
                }
                _ => self.fault(place.clone(), format!("write [[{name}]] before the keys of each")),
            }
        }
    }

    /// Adds a section that a program sets.
    pub(super) fn add_repeated(&mut self, values: Vec<(&'static str, Value)>) {
        let Some((_, keys)) = self.repeatable else { return };
        let mut each = Self::over(keys);
        for (name, value) in values {
            each.typed(name, value);
        }
        self.repeated.push(each);
    }

    /// Takes the sections, each to be given back with [`Reader::absorb`].
    pub(super) fn take_repeated(&mut self) -> Vec<Self> {
        self.repeated.clone()
    }

    /// Adds the mistakes that were found in a section.
    pub(super) fn absorb(&mut self, each: Self) {
        for fault in each.finish().err().unwrap_or_default() {
            self.fault(fault.place, fault.what);
        }
    }

    /// Returns the entries of each of the sections, as [`Reader::entries`] returns the others, with the name `webhook[0].url` for
    /// that of the first one.
    pub fn repeated_entries(&self) -> impl Iterator<Item = (String, Option<(serde_json::Value, &str)>)> {
        self.repeated.iter().enumerate().flat_map(|(number, each)| {
            each.entries().map(move |(key, entry)| {
                let (section, field) = key.split_once('.').unwrap_or((key, ""));
                (format!("{section}[{number}].{field}"), entry)
            })
        })
    }

    /// Lists the values of the sections, as [`Reader::show`] lists the others.
    pub(super) fn show_repeated(&self) -> String {
        let Some((name, _)) = self.repeatable else { return String::new() };
        self.repeated.iter().map(|each| format!("[[{name}]]\n{}", each.show())).collect()
    }
}
