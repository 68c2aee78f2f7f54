//! The keys above the first section.

use std::path::PathBuf;

use crate::config::key::{Key, text};
use crate::config::reader::Reader;
use crate::value::printed::is_unseen;

pub(in crate::config) const KEYS: &[Key] = &[
    text("data_dir", "\"data\"", "Directory that holds the journal, keys, mails and security events."),
    text("service_name", "\"Portcullis\"", "Name of this service in mails."),
];

pub(in crate::config) fn data_dir(reader: &mut Reader) -> PathBuf {
    reader.path("data_dir").unwrap_or_else(|| PathBuf::from("data"))
}

pub(in crate::config) fn service_name(reader: &mut Reader) -> String {
    let name = reader.text("service_name").unwrap_or_else(|| String::from("Portcullis"));
    // It stands in the subjects of mails, and in what operators read.
    if name.chars().any(is_unseen) {
        reader.wrong("service_name", "must not hold control characters or others that nobody sees");
    }
    name
}

#[cfg(test)]
mod tests {
    use crate::config::tests::load;

    #[test]
    fn the_name_of_the_service_is_text_that_is_seen() {
        let name = |name: &str| load("", &[("PORTCULLIS__SERVICE_NAME", name)]);
        assert_eq!(name("Zoë & Co, 東京").unwrap().service_name, "Zoë & Co, 東京");
        for wrong in ["a\r\nBcc: b@c.org", "\u{1b}[2J", "\u{202e}evil", "a\u{200b}b", "\u{3164}"] {
            let faults = name(wrong).unwrap_err();
            assert!(faults.iter().any(|fault| fault.contains("`service_name` must not hold")), "{faults:?}");
        }
    }
}
