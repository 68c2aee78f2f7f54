//! The text of a file that an editor or a shell has written: perhaps with a byte order mark, and with LF or CRLF as line
//! ends.

/// The byte order mark of UTF-8, which editors of Windows write.
const MARK: &[u8] = "\u{feff}".as_bytes();
/// The byte order marks of UTF-16, which `>` writes in PowerShell.
const MARKS_UTF16: [&[u8]; 2] = [b"\xFF\xFE", b"\xFE\xFF"];

/// The bytes are no text that can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotText {
    /// It begins with the byte order mark of UTF-16.
    #[error("is UTF-16: save it as UTF-8")]
    Utf16,
    /// It holds other bytes.
    #[error("is not UTF-8: save it as UTF-8")]
    NotUtf8,
}

impl NotText {
    /// Refuses `bytes` that begin with the byte order mark of UTF-16.
    pub fn refuse_utf16(bytes: &[u8]) -> Result<(), Self> {
        if MARKS_UTF16.iter().any(|mark| bytes.starts_with(mark)) { Err(Self::Utf16) } else { Ok(()) }
    }
}

/// Returns `bytes` without the byte order mark of UTF-8.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

/// Returns the text in `bytes`, without a byte order mark.
pub fn text(bytes: &[u8]) -> Result<&str, NotText> {
    NotText::refuse_utf16(bytes)?;
    std::str::from_utf8(without_mark(bytes)).map_err(|_| NotText::NotUtf8)
}

/// Returns the first line of `text` without its line end: one LF or CRLF. Blanks stay.
pub fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Returns `text` without the line end at its end, if it is one line.
pub fn only_line(text: &str) -> Option<&str> {
    let line = first_line(text);
    let is_all = matches!(text.get(line.len()..), Some("" | "\n" | "\r\n"));
    (is_all && !line.contains('\r')).then_some(line)
}

/// Says whether `line` begins or ends with a blank.
pub fn has_blanks_around(line: &str) -> bool {
    line.trim() != line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_and_one_line_end_are_cut_and_nothing_else() {
        for (bytes, first, only) in [
            (&b"secret"[..], "secret", Some("secret")),
            (b"secret\n", "secret", Some("secret")),
            (b"secret\r\n", "secret", Some("secret")),
            (b"\xEF\xBB\xBFsecret\r\n", "secret", Some("secret")),
            (b" secret \n", " secret ", Some(" secret ")),
            (b"\xEF\xBB\xBF", "", Some("")),
            (b"", "", Some("")),
            (b"\n", "", Some("")),
            (b"secret\n\n", "secret", None),
            (b"secret\r\n\r\n", "secret", None),
            (b"secret\nmore", "secret", None),
            (b"secret\r", "secret\r", None),
            (b"secret\r\r\n", "secret\r", None),
        ] {
            let text = text(bytes).unwrap();
            assert_eq!((first_line(text), only_line(text)), (first, only), "{bytes:?}");
        }
        assert!(has_blanks_around(" secret") && has_blanks_around("secret\u{a0}"));
        assert!(!has_blanks_around("two words"));
    }

    #[test]
    fn another_encoding_is_named() {
        for (bytes, why) in [
            (&b"\xFF\xFEs\0e\0"[..], NotText::Utf16),
            (b"\xFE\xFF\0s", NotText::Utf16),
            (b"secr\xE9t", NotText::NotUtf8),
        ] {
            assert_eq!(text(bytes), Err(why));
        }
    }
}
