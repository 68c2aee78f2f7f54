//! Values and small functions that tests and benches share.
#![allow(dead_code, reason = "the test binaries and the benches each use some of it")]

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The password of every account that a test or bench makes.
pub const PASSWORD: &str = "correct horse battery staple";

/// Returns `bytes` in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the bytes that `text` spells in hexadecimal.
pub fn from_hex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap();
    (0..text.len() / 2).map(byte).collect()
}

/// Replaces each field of `body` that `pointers` names, in a form like `/user/id`, so that a snapshot can compare the
/// rest.
pub fn redacted(mut body: Value, pointers: &[&str]) -> Value {
    for pointer in pointers {
        let field = body.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}"));
        *field = Value::from("[redacted]");
    }
    body
}

/// Returns the address of client `number`; no two have a network in common.
pub fn address(number: u32) -> String {
    format!("{}.{}.{}.7", 11 + number / 65_536, number / 256 % 256, number % 256)
}

/// Returns every file below `dir`: no directories, and no sockets.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}
