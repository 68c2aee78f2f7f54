//! The list of all keys of the configuration. Each section in [`super::sections`] declares its own; the reader, the environment, `portcullis init`, `portcullis config show` and the hint for a misspelled key share
//! this list.

use super::key::Key;
use super::sections::SECTIONS;
use super::sections::events::webhook::COMMENTED;

/// Returns every key, in the order of the file.
pub fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter()
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
    out + COMMENTED
}
