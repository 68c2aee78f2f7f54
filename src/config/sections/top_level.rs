//! The keys above the first section.

use std::path::PathBuf;

use crate::config::key::{Key, text};
use crate::config::reader::Reader;

pub(in crate::config) const KEYS: &[Key] = &[
    text("data_dir", "\"data\"", "Directory that holds the journal, keys, mails and security events."),
    text("service_name", "\"Portcullis\"", "Name of this service in mails."),
];

pub(in crate::config) fn data_dir(reader: &mut Reader) -> PathBuf {
    reader.path("data_dir").unwrap_or_else(|| PathBuf::from("data"))
}

pub(in crate::config) fn service_name(reader: &mut Reader) -> String {
    reader.text("service_name").unwrap_or_else(|| String::from("Portcullis"))
}
