//! Values and small functions that tests and benches share.
#![allow(dead_code, reason = "the test binaries and the benches each use some of it")]

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
