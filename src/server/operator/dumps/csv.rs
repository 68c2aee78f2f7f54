//! Records of a CSV file with a header (RFC 4180), as `\copy … csv header` of PostgreSQL writes it.

use std::io::{self, Read};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// The most bytes of a record.
const RECORD_BYTES_MAX: usize = 256 * 1024;
/// The most fields of a record.
const FIELDS_MAX: usize = 256;

/// Reads records.
pub(super) struct Csv<R> {
    read: io::Bytes<io::BufReader<R>>,
    header: Option<Vec<String>>,
}

/// The fields of a record, of which some may be null, or why it cannot be used.
type Split = Result<Vec<Option<String>>, &'static str>;

/// A record that was read.
pub(super) enum Record {
    /// Its fields by the names of the header. One that is empty and was not in quotes is null.
    Fields(Map<String, Value>),
    /// Why it cannot be used.
    Wrong(&'static str),
}

impl<R: Read> Csv<R> {
    pub(super) fn new(read: R) -> Self {
        Self { read: io::BufReader::with_capacity(64 * 1024, read).bytes(), header: None }
    }

    /// Returns the names of the header as those of an object, once it was read.
    pub(super) fn names(&self) -> Option<Map<String, Value>> {
        let names = self.header.as_ref()?;
        Some(names.iter().map(|name| (name.clone(), Value::Null)).collect())
    }

    /// Returns the next record; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        if self.header.is_none() {
            match self.record()? {
                None => return Ok(None),
                Some(Err(wrong)) => return Ok(Some(Record::Wrong(wrong))),
                Some(Ok(names)) => {
                    let names = names.into_iter().map(Option::unwrap_or_default);
                    let name = |name: String| name.trim_start_matches('\u{feff}').to_owned();
                    self.header = Some(names.map(name).collect());
                }
            }
        }
        let fields = match self.record()? {
            None => return Ok(None),
            Some(Err(wrong)) => return Ok(Some(Record::Wrong(wrong))),
            Some(Ok(fields)) => fields,
        };
        let names = self.header.as_deref().unwrap_or_default();
        if names.len() != fields.len() {
            return Ok(Some(Record::Wrong("the record has another number of fields than the header")));
        }
        let named = names.iter().cloned().zip(fields.into_iter().map(Value::from));
        Ok(Some(Record::Fields(named.collect())))
    }

    /// Reads the fields of a record; `None` at the end.
    fn record(&mut self) -> io::Result<Option<Split>> {
        let mut fields = Vec::new();
        let mut field = Zeroizing::new(Vec::new());
        let (mut is_quoted, mut was_quoted, mut length, mut is_after_quote) = (false, false, 0_usize, false);
        let mut is_text = true;
        let mut push = |field: &mut Zeroizing<Vec<u8>>, was_quoted: bool| {
            let text = String::from_utf8(std::mem::take(&mut **field));
            is_text &= text.is_ok();
            let text = text.unwrap_or_default();
            if fields.len() <= FIELDS_MAX {
                fields.push((was_quoted || !text.is_empty()).then_some(text));
            }
        };
        loop {
            let Some(byte) = self.read.next().transpose()? else {
                if length == 0 {
                    return Ok(None);
                }
                break;
            };
            length += 1;
            match byte {
                b'"' if is_quoted && !is_after_quote => is_after_quote = true,
                b'"' if is_after_quote => {
                    is_after_quote = false;
                    keep(&mut field, byte, length);
                }
                b'"' if field.is_empty() && !was_quoted => {
                    is_quoted = true;
                    was_quoted = true;
                }
                b',' if !is_quoted || is_after_quote => {
                    push(&mut field, was_quoted);
                    (is_quoted, was_quoted, is_after_quote) = (false, false, false);
                }
                b'\n' if !is_quoted || is_after_quote => {
                    // An empty line is no record.
                    if length == 1 {
                        length = 0;
                        continue;
                    }
                    break;
                }
                b'\r' if !is_quoted || is_after_quote => length -= 1,
                _ => keep(&mut field, byte, length),
            }
        }
        let is_open = is_quoted && !is_after_quote;
        push(&mut field, was_quoted);
        Ok(Some(if length > RECORD_BYTES_MAX {
            Err("the record has more than 256 KiB")
        } else if is_open {
            Err("the file ends within quotes")
        } else if fields.len() > FIELDS_MAX {
            Err("the record has more than 256 fields")
        } else if !is_text {
            Err("the record is not UTF-8")
        } else {
            Ok(fields)
        }))
    }
}

/// Keeps a byte of a field, unless its record is too long already.
fn keep(field: &mut Zeroizing<Vec<u8>>, byte: u8, length: usize) {
    if length <= RECORD_BYTES_MAX {
        field.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &[u8]) -> Vec<Result<String, &'static str>> {
        let mut csv = Csv::new(text);
        let mut all = Vec::new();
        while let Some(record) = csv.next().unwrap() {
            all.push(match record {
                Record::Fields(fields) => Ok(Value::from(fields).to_string()),
                Record::Wrong(wrong) => Err(wrong),
            });
        }
        all
    }

    #[test]
    fn quotes_line_ends_and_nulls_are_those_of_postgresql() {
        let text =
            b"\xef\xbb\xbfid,email,data\r\n1,a@example.org,\"{\"\"a\"\": 1}\"\r\n\n2,,\"\"\n3,\"x\ny,z\",";
        let expected = [
            Ok(r#"{"data":"{\"a\": 1}","email":"a@example.org","id":"1"}"#.into()),
            Ok(r#"{"data":"","email":null,"id":"2"}"#.into()),
            Ok(r#"{"data":null,"email":"x\ny,z","id":"3"}"#.into()),
        ];
        assert_eq!(records(text), expected);
    }

    #[test]
    fn what_is_wrong_is_named_and_the_next_record_is_read() {
        let long = "x".repeat(RECORD_BYTES_MAX + 1);
        let many = ",".repeat(FIELDS_MAX + 1);
        let mut text = format!("a,b\n1\n{long},\n{many}\n").into_bytes();
        text.extend_from_slice(b"\xff,2\n3,4\n5,\"6");
        let found = records(&text);
        let wrong: Vec<bool> = found.iter().map(Result::is_err).collect();
        assert_eq!(wrong, [true, true, true, true, false, true], "{found:?}");
        assert_eq!(records(b""), []);
    }
}
