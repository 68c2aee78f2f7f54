//! The values of a JSON file, one at a time: those that stand one after the other, the elements of a list, or the elements of
//! lists that an object holds. The file may be larger than memory.
//!
//! **The attack:** a value without an end fills memory; one that is nested a million times ends the process.
//!
//! **The rule:** of a value that is too long only its end is looked for. Nothing here recurses: depth is a number.

use std::io::{self, Read};

use zeroize::Zeroizing;

/// The most bytes of one value.
pub(super) const VALUE_BYTES_MAX: usize = 256 * 1024;
/// The most bytes of the name of a member that is compared.
const NAME_BYTES_MAX: usize = 256;

/// A value that was found.
pub(super) struct Found {
    /// Where it begins in the file.
    pub(super) at: u64,
    /// Its bytes; `None` if it is too long.
    pub(super) bytes: Option<Zeroizing<Vec<u8>>>,
}

/// Why a file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The system cannot read it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no JSON, or ends within a value.
    #[error("{0}, at byte {1}")]
    Form(&'static str, u64),
}

/// Reads values.
pub(super) struct JsonValues<R> {
    bytes: Bytes<R>,
    /// The lists that are read, if the whole is an object; empty if objects themselves are wanted.
    lists: &'static [&'static str],
    at: At,
}

/// Where the reader stands.
enum At {
    Start,
    /// Between values that stand one after the other.
    Values,
    /// Within a list: whether it is the outermost.
    List(bool),
    /// Within the outermost object, in front of a name or its end.
    Object,
    End,
}

impl<R: Read> JsonValues<R> {
    /// Reads `read`. If it begins with an object and `lists` are named, the elements of these lists in it are its values.
    pub(super) fn new(read: R, lists: &'static [&'static str]) -> Self {
        Self { bytes: Bytes::new(read), lists, at: At::Start }
    }

    /// Returns the next value; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Found>, Broken> {
        loop {
            let next = self.bytes.skip_blanks()?;
            match (&self.at, next) {
                (At::End, _) => return Ok(None),
                (At::Start, Some(b'[')) => {
                    self.bytes.take()?;
                    self.at = At::List(true);
                }
                (At::Start, Some(b'{')) if !self.lists.is_empty() => {
                    self.bytes.take()?;
                    self.at = At::Object;
                }
                (At::Start, _) => self.at = At::Values,
                (At::Values, None) => self.at = At::End,
                (At::List(_) | At::Object, None) => {
                    self.at = At::End;
                    return Err(self.bytes.broken("the file ends within a list or an object"));
                }
                (At::List(_) | At::Object, Some(b',')) => {
                    self.bytes.take()?;
                }
                (At::List(is_outermost), Some(b']')) => {
                    self.at = if *is_outermost { At::End } else { At::Object };
                    self.bytes.take()?;
                }
                (At::Values | At::List(_), Some(_)) => return self.value().map(Some),
                (At::Object, Some(b'}')) => {
                    self.bytes.take()?;
                    self.at = At::End;
                }
                (At::Object, Some(b'"')) => self.member()?,
                (At::Object, Some(_)) => {
                    self.at = At::End;
                    return Err(self.bytes.broken("a name was expected"));
                }
            }
        }
    }

    /// Reads the name of a member, and enters its list or skips its value.
    fn member(&mut self) -> Result<(), Broken> {
        let mut name = Zeroizing::default();
        self.bytes.value(&mut name, NAME_BYTES_MAX)?;
        if self.bytes.skip_blanks()? != Some(b':') {
            self.at = At::End;
            return Err(self.bytes.broken("a colon was expected"));
        }
        self.bytes.take()?;
        let is_list = self.bytes.skip_blanks()? == Some(b'[');
        let name = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\""));
        if is_list && self.lists.iter().any(|list| Some(list.as_bytes()) == name) {
            self.bytes.take()?;
            self.at = At::List(false);
        } else {
            self.bytes.value(&mut Zeroizing::default(), 0)?;
        }
        Ok(())
    }

    fn value(&mut self) -> Result<Found, Broken> {
        let at = self.bytes.position;
        let mut bytes = Zeroizing::default();
        match self.bytes.value(&mut bytes, VALUE_BYTES_MAX) {
            Ok(is_whole) => Ok(Found { at, bytes: is_whole.then_some(bytes) }),
            Err(broken) => {
                self.at = At::End;
                Err(broken)
            }
        }
    }
}

/// Bytes of a file, one at a time.
struct Bytes<R> {
    read: R,
    buffer: Zeroizing<Vec<u8>>,
    /// The next byte in the buffer.
    next: usize,
    /// Its place in the file.
    position: u64,
}

impl<R: Read> Bytes<R> {
    fn new(read: R) -> Self {
        Self { read, buffer: Zeroizing::default(), next: 0, position: 0 }
    }

    const fn broken(&self, what: &'static str) -> Broken {
        Broken::Form(what, self.position)
    }

    /// Returns the next byte, and leaves it there.
    fn peek(&mut self) -> Result<Option<u8>, Broken> {
        if self.next >= self.buffer.len() {
            self.buffer.resize(64 * 1024, 0);
            let length = loop {
                match self.read.read(&mut self.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other?,
                }
            };
            self.buffer.truncate(length);
            self.next = 0;
        }
        Ok(self.buffer.get(self.next).copied())
    }

    fn take(&mut self) -> Result<Option<u8>, Broken> {
        let byte = self.peek()?;
        if byte.is_some() {
            self.next += 1;
            self.position += 1;
        }
        Ok(byte)
    }

    /// Skips white space, and a byte order mark at the beginning.
    fn skip_blanks(&mut self) -> Result<Option<u8>, Broken> {
        loop {
            match self.peek()? {
                Some(b' ' | b'\t' | b'\r' | b'\n') => {}
                Some(0xef | 0xbb | 0xbf) if self.position < 3 => {}
                other => return Ok(other),
            }
            self.take()?;
        }
    }

    /// Reads a value to its end, and keeps its bytes unless they are more than `most`. Says whether they were kept.
    fn value(&mut self, kept: &mut Zeroizing<Vec<u8>>, most: usize) -> Result<bool, Broken> {
        let (mut depth, mut is_text, mut is_escaped, mut length) = (0_u64, false, false, 0_usize);
        loop {
            let Some(byte) = self.peek()? else {
                return if depth == 0 && !is_text && length > 0 {
                    Ok(length <= most)
                } else {
                    Err(self.broken("the file ends within a value"))
                };
            };
            let is_delimiter = matches!(byte, b',' | b']' | b'}' | b':' | b' ' | b'\t' | b'\r' | b'\n');
            if depth == 0 && !is_text && is_delimiter {
                return if length > 0 {
                    Ok(length <= most)
                } else {
                    Err(self.broken("a value was expected"))
                };
            }
            self.take()?;
            length += 1;
            if length <= most {
                kept.push(byte);
            }
            if is_text {
                is_text = is_escaped || byte != b'"';
                is_escaped = !is_escaped && byte == b'\\';
            } else {
                match byte {
                    b'"' => is_text = true,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => continue,
                }
            }
            if depth == 0 && !is_text {
                return Ok(length <= most);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Values = (Vec<(u64, Option<String>)>, Option<String>);

    fn values(text: &str, lists: &'static [&'static str]) -> Values {
        let mut read = JsonValues::new(text.as_bytes(), lists);
        let mut all = Vec::new();
        loop {
            match read.next() {
                Ok(Some(Found { at, bytes })) => {
                    let text = bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
                    all.push((at, text));
                }
                Ok(None) => return (all, None),
                Err(broken) => return (all, Some(broken.to_string())),
            }
        }
    }

    fn texts(text: &str, lists: &'static [&'static str]) -> Vec<String> {
        let (values, broken) = values(text, lists);
        assert_eq!(broken, None, "{text}");
        values.into_iter().map(|(_, text)| text.unwrap()).collect()
    }

    #[test]
    fn values_are_found_wherever_they_stand() {
        assert_eq!(texts("", &[]), [""; 0]);
        assert_eq!(texts("\u{feff}{\"a\":1}\n{\"a\":\"}\\\"\"}\n", &[]), ["{\"a\":1}", "{\"a\":\"}\\\"\"}"]);
        assert_eq!(texts(" [ {\"a\":[1,{}]} , 2,\"x\" ] ", &[]), ["{\"a\":[1,{}]}", "2", "\"x\""]);
        let realm = "{\"realm\":\"x\",\"skip\":{\"users\":[0]},\"users\":[{\"a\":1},{\"a\":2}],\"n\":-1.5,\"end\":null}";
        assert_eq!(texts(realm, &["users"]), ["{\"a\":1}", "{\"a\":2}"]);
        let (both, _) = values("{\"account\":[{}],\"user\":[{}]}", &["user", "account"]);
        let places: Vec<_> = both.iter().map(|(at, _)| *at).collect();
        assert_eq!(places, [12, 24]);
    }

    #[test]
    fn a_value_that_is_too_long_is_passed_over_and_the_next_one_is_read() {
        let long = format!("[{{\"a\":\"{}\"}},{{\"b\":1}}]", "x".repeat(VALUE_BYTES_MAX));
        let (found, broken) = values(&long, &[]);
        assert_eq!(broken, None);
        let texts: Vec<_> = found.into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, [None, Some("{\"b\":1}".into())]);
    }

    #[test]
    fn what_is_broken_ends_the_file_after_what_was_whole() {
        for (text, whole) in [
            ("[{\"a\":1},{\"a\"", 1),
            ("[{\"a\":1}", 1),
            ("{\"users\":[{}", 1),
            ("{\"users\" 1}", 0),
            ("{1}", 0),
            ("[}", 0),
        ] {
            let (found, broken) = values(text, &["users"]);
            assert_eq!((found.len(), broken.is_some()), (whole, true), "{text}");
        }
        let deep = "[".repeat(1_000_000);
        assert!(values(&deep, &[]).1.is_some());
    }
}
