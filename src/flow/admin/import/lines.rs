//! A stream of bytes, cut into numbered lines of bounded length.
//!
//! **The attack:** a file without a line end fills memory; one that is compressed, or in another encoding, gives a million
//! faults that say nothing.
//!
//! **The rule:** of a line that is too long the rest is skipped, and the next one is read. What the first bytes show to be no
//! text is named once, and nothing more is read of it.

use zeroize::Zeroizing;

/// The most bytes of a line. Two JSON objects of 4 KiB in which every letter is escaped, and all other fields, are shorter.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// The most lines of a group.
const GROUP_MAX: usize = 1024;
/// The most bytes of a group, unless a single read brings more.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// A line that is not empty.
pub struct Line {
    /// Its number, from 1 on. Empty lines are counted.
    pub number: u64,
    /// Its bytes without the line end. They may hold the hash of a password.
    pub bytes: Result<Zeroizing<Vec<u8>>, LineFault>,
}

/// Why a line cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LineFault {
    /// It is too long.
    #[error("the line has more than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// It has a byte that no text has.
    #[error("the line has a NUL byte")]
    Nul,
    /// It is no UTF-8.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// The whole is no text in UTF-8.
    #[error("this is {0}, and nothing of it was read")]
    Whole(&'static str),
}

impl LineFault {
    /// Returns the kind of fault, for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Nul => "nul_byte",
            Self::NotUtf8 => "not_utf8",
            Self::Whole(_) => "not_text",
        }
    }
}

/// The first bytes of what is sent in the place of text, each with what to do.
const MAGIC: [(&[u8], &str); 7] = [
    (b"\x1f\x8b", "gzip: decompress it first"),
    (b"\x28\xb5\x2f\xfd", "zstd: decompress it first"),
    (b"\xfd7zXZ", "xz: decompress it first"),
    (b"BZh", "bzip2: decompress it first"),
    (b"PK\x03\x04", "a ZIP archive: unpack it first"),
    (b"\xff\xfe", "UTF-16: save it as UTF-8"),
    (b"\xfe\xff", "UTF-16: save it as UTF-8"),
];
/// The byte order mark of UTF-8, which says nothing.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Says what a text really is whose first bytes are `head`, if these are not those of a text.
pub fn foreign_form(head: &[u8]) -> Option<&'static str> {
    MAGIC.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, what)| *what)
}

/// Cuts what it is fed into lines.
pub struct Lines {
    line: Zeroizing<Vec<u8>>,
    /// The number of the line that is being read.
    number: u64,
    /// Whether the line is too long, so that its rest is skipped.
    is_cut: bool,
    /// Whether the whole is no text, so that nothing more is read.
    is_over: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Self { line: Zeroizing::default(), number: 1, is_cut: false, is_over: false }
    }
}

impl Lines {
    /// Takes further bytes, and adds the lines that end in them to `lines`.
    pub fn feed(&mut self, mut bytes: &[u8], lines: &mut Vec<Line>) {
        while !self.is_over && !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            let room = LINE_BYTES_MAX + MARK.len() - self.line.len();
            self.is_cut |= part.len() > room;
            self.line.extend_from_slice(part.get(..room).unwrap_or(part));
            bytes = rest.get(1..).unwrap_or_default();
            if end.is_some() {
                lines.extend(self.take());
            }
        }
    }

    /// Ends the stream. Returns the last line, if it has no line end.
    pub fn end(&mut self) -> Option<Line> {
        if self.is_over { None } else { self.take() }
    }

    /// Returns the line that was read; `None` if it is empty.
    fn take(&mut self) -> Option<Line> {
        let number = self.number;
        self.number += 1;
        let mut bytes = std::mem::take(&mut self.line);
        let is_cut = std::mem::take(&mut self.is_cut);
        if number == 1 {
            if let Some(what) = foreign_form(&bytes) {
                self.is_over = true;
                return Some(Line { number, bytes: Err(LineFault::Whole(what)) });
            }
            if bytes.starts_with(MARK) {
                bytes.drain(..MARK.len());
            }
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        if !is_cut && bytes.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        let fault = if is_cut || bytes.len() > LINE_BYTES_MAX {
            Some(LineFault::TooLong)
        } else if bytes.contains(&0) {
            Some(LineFault::Nul)
        } else if std::str::from_utf8(&bytes).is_err() {
            Some(LineFault::NotUtf8)
        } else {
            None
        };
        Some(Line { number, bytes: fault.map_or(Ok(bytes), Err) })
    }
}

/// Gathers lines into groups that are judged at once.
#[derive(Default)]
pub struct Groups {
    lines: Lines,
    waiting: Vec<Line>,
    bytes: usize,
}

impl Groups {
    /// Takes further bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.lines.feed(bytes, &mut self.waiting);
    }

    /// Ends the stream.
    pub fn end(&mut self) {
        self.waiting.extend(self.lines.end());
    }

    /// Returns a group if one is full.
    pub fn full(&mut self) -> Option<Vec<Line>> {
        if self.waiting.len() < GROUP_MAX && self.bytes < GROUP_BYTES_MAX {
            return None;
        }
        self.rest()
    }

    /// Returns a group of what is left; `None` if nothing is.
    pub fn rest(&mut self) -> Option<Vec<Line>> {
        self.bytes = 0;
        let group: Vec<Line> = self.waiting.drain(..self.waiting.len().min(GROUP_MAX)).collect();
        (!group.is_empty()).then_some(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the lines of `bytes`, fed `step` bytes at a time.
    fn cut(bytes: &[u8], step: usize) -> Vec<(u64, Result<String, LineFault>)> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for part in bytes.chunks(step) {
            lines.feed(part, &mut found);
        }
        found.extend(lines.end());
        let text = |bytes: Zeroizing<Vec<u8>>| String::from_utf8(bytes.to_vec()).unwrap();
        found.into_iter().map(|line| (line.number, line.bytes.map(text))).collect()
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        let longest = "x".repeat(LINE_BYTES_MAX);
        let text = format!("\u{feff}a\r\n\n \r\nb\n{long}\nc\n{longest}\n\0\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(b"\xff\nlast");
        let expected = [
            (1, Ok("a".into())),
            (4, Ok("b".into())),
            (5, Err(LineFault::TooLong)),
            (6, Ok("c".into())),
            (7, Ok(longest)),
            (8, Err(LineFault::Nul)),
            (9, Err(LineFault::NotUtf8)),
            (10, Ok("last".into())),
        ];
        for step in [1, 3, 7, 4096, 1 << 20] {
            assert_eq!(cut(&bytes, step), expected, "{step}");
        }
    }

    #[test]
    fn what_is_no_text_is_named_once_and_not_read() {
        for (head, word) in [
            (&b"\x1f\x8b\x08\0\n\n\n"[..], "gzip"),
            (b"\x28\xb5\x2f\xfd\n\0", "zstd"),
            (b"PK\x03\x04\n\n", "ZIP"),
            (b"\xff\xfea\0\n\0", "UTF-16"),
        ] {
            for step in [1, 100] {
                let found = cut(head, step);
                let [(1, Err(LineFault::Whole(what)))] = &found[..] else { panic!("{found:?}") };
                assert!(what.contains(word), "{what}");
            }
        }
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_the_longest() {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        let part = vec![b'x'; 1 << 20];
        for _ in 0..64 {
            lines.feed(&part, &mut found);
            assert!(lines.line.capacity() <= 2 * LINE_BYTES_MAX + 16);
        }
        assert!(found.is_empty());
        lines.feed(b"\nafter\n", &mut found);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].bytes.as_ref().err(), Some(&LineFault::TooLong));
    }
}
