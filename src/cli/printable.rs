//! The text of strangers on a terminal: names, addresses and user agents may hold what moves the cursor, hides text or
//! turns its direction round.

use std::borrow::Cow;
use std::fmt::Write;

use portcullis::value::visible::is_obeyed;

/// Returns `text` in which every character that a terminal obeys instead of showing it is written as JSON writes it:
/// `\u202e`. The text may be lines of text or of JSON; what JSON has escaped stays JSON. Line ends are kept.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_obeyed(c))
}

/// Returns one value for a line of several, `name=value  name=value`: on one line, and in quotes if it could pass for more
/// than one.
pub(super) fn value(text: &str) -> String {
    if text.contains("  ") || text.starts_with('"') {
        return serde_json::Value::from(text).to_string();
    }
    escaped(text, is_obeyed).into_owned()
}

/// Returns `text` with the characters of which `is_wrong` is true as JSON writes them.
fn escaped(text: &str, is_wrong: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_wrong) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        if !is_wrong(c) {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_all_else_stays() {
        for (text, escaped) in [
            ("a phone of Zoë, 東京\n\u{1f600}", "a phone of Zoë, 東京\n\u{1f600}"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}", "\\u001b[2J\\u001b]0;title\\u0007"),
            ("\u{9b}31m\u{7f}\u{8}\r\t\0", "\\u009b31m\\u007f\\u0008\\u000d\\u0009\\u0000"),
            ("\u{202e}gro.tset@ada\u{202c}", "\\u202egro.tset@ada\\u202c"),
            ("\u{2066}\u{2067}\u{2068}\u{2069}", "\\u2066\\u2067\\u2068\\u2069"),
            ("\u{200e}\u{200f}\u{61c}", "\\u200e\\u200f\\u061c"),
            ("a\u{200b}b\u{feff}c\u{ad}d", "a\\u200bb\\ufeffc\\u00add"),
            ("one\u{2028}two\u{2029}\u{85}", "one\\u2028two\\u2029\\u0085"),
            ("\u{e0041}", "\\udb40\\udc41"),
        ] {
            assert_eq!(printable(text), escaped, "{text:?}");
            assert!(printable(text).chars().all(|c| c == '\n' || !is_obeyed(c)), "{text:?}");
        }
    }

    #[test]
    fn a_line_of_json_says_the_same_as_before() {
        let said = serde_json::json!({"user_agent": "a\u{202e}\n\u{1b}[1m\u{9b}\u{e0041}\\u202e\"", "n": 1});
        let printed = printable(&said.to_string()).into_owned();
        assert!(printed.is_ascii(), "{printed}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), said);
    }

    #[test]
    fn a_value_stays_on_its_line_and_is_no_other_field() {
        for (text, shown) in [
            ("Mozilla/5.0 (X11; Linux)", "Mozilla/5.0 (X11; Linux)"),
            ("a\nid=0  network=::1", "\"a\\nid=0  network=::1\""),
            ("a\nb\u{2028}c", "a\\u000ab\\u2028c"),
            ("x  status=active", "\"x  status=active\""),
            ("\"x\"", "\"\\\"x\\\"\""),
            ("", ""),
        ] {
            assert_eq!(value(text), shown, "{text:?}");
        }
    }
}
