//! Holds the bytes that a client has sent behind the request that is being served, outside the HTTP library.
//!
//! **The attack:** a client sends thousands of small requests at once and reads no answer. The library answers every request
//! of which it has the whole head, and keeps each answer until the client reads: a thousand bytes for twenty.
//!
//! **The rule:** the library is handed one head at a time, and the next one when the answer before has left.
//!
//! The end of a head is searched for, and no more is understood: a body may hold what looks like one, which only means that
//! it is handed over in more than one piece.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

/// The bytes that are read from a client at once.
pub(super) const PIECE_MAX: usize = 4096;

/// The bytes that were read from a client and are not handed to the HTTP library yet.
#[derive(Default)]
pub(super) struct Ahead {
    bytes: Vec<u8>,
    /// Whether the client has sent all that it will.
    has_ended: bool,
    lines: Lines,
}

/// Finds the empty lines that end a head, with or without carriage returns, in bytes that come in pieces.
#[derive(Clone, Copy, Default)]
enum Lines {
    /// Within a line.
    #[default]
    Text,
    /// At the start of a line.
    Start,
    /// Behind a carriage return at the start of a line.
    Return,
}

impl Lines {
    /// Takes the next byte, and says whether it ends an empty line.
    fn take(&mut self, byte: u8) -> bool {
        let is_empty = !matches!(self, Self::Text);
        *self = match (byte, *self) {
            (b'\n', _) => Self::Start,
            (b'\r', Self::Start) => Self::Return,
            _ => Self::Text,
        };
        byte == b'\n' && is_empty
    }

    /// Returns how many of `bytes` there are to the end of the first empty line, and goes on behind them.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        bytes.iter().position(|byte| self.take(*byte)).map(|at| at + 1)
    }
}

impl Ahead {
    /// Says whether there is something to hand over without a read.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.has_ended
    }

    /// Reads from `stream` until [`PIECE_MAX`] bytes wait, and then no more. Ready means that the client has ended.
    ///
    /// Errors: those of the stream.
    pub(super) fn poll_watch(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.has_ended {
            // Cheaper than room for what is seldom there.
            ready!(stream.poll_read_ready(cx))?;
            let mut room = [0; PIECE_MAX];
            let free = PIECE_MAX.saturating_sub(self.bytes.len());
            let Some(room) = room.get_mut(..free).filter(|room| !room.is_empty()) else {
                return Poll::Pending;
            };
            let mut room = ReadBuf::new(room);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut room))?;
            self.has_ended = room.filled().is_empty();
            self.bytes.extend_from_slice(room.filled());
        }
        Poll::Ready(Ok(()))
    }

    /// Hands over at most `most` bytes, for which `buf` has room: what waits, or else what `stream` has. No byte at all means
    /// that the client has ended.
    ///
    /// `in_body` says that the body of a request is being read. Otherwise a head is, and what follows it goes with it only
    /// if no other head can end in there.
    pub(super) fn poll_hand_over(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        most: usize,
        in_body: bool,
    ) -> Poll<io::Result<usize>> {
        if self.is_empty() {
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
            ready!(Pin::new(stream).poll_read(cx, &mut part))?;
            let read = part.filled();
            self.has_ended = read.is_empty();
            let cut = cut(&mut self.lines, read, in_body);
            let (handed, waiting) = read.split_at_checked(cut).unwrap_or((read, &[]));
            self.bytes.extend_from_slice(waiting);
            let handed = handed.len();
            buf.advance(handed);
            return Poll::Ready(Ok(handed));
        }
        let some = self.bytes.get(..most).unwrap_or(&self.bytes);
        let handed = cut(&mut self.lines, some, in_body);
        buf.put_slice(some.get(..handed).unwrap_or(some));
        self.bytes.drain(..handed);
        if self.bytes.is_empty() {
            // A client that sends nothing ahead any more costs nothing.
            self.bytes = Vec::new();
        }
        Poll::Ready(Ok(handed))
    }
}

/// Returns how many of `bytes` are handed over at once.
///
/// In a head: up to its end, or all of them if no second head ends in there. In a body: up to the byte that would end what may
/// be a head; if that is the first byte, up to the next such byte.
fn cut(lines: &mut Lines, bytes: &[u8], in_body: bool) -> usize {
    let begin = *lines;
    let Some(first) = lines.end(bytes) else { return bytes.len() };
    let most = if in_body && first > 1 {
        first - 1
    } else {
        let rest = bytes.get(first..).unwrap_or_default();
        match lines.end(rest) {
            None => return bytes.len(),
            Some(second) if in_body => first + second - 1,
            Some(_) => first,
        }
    };
    // Goes on behind what is handed over, not behind what was looked at.
    *lines = begin;
    bytes.iter().take(most).for_each(|byte| _ = lines.take(*byte));
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the pieces in which `bytes` are handed over.
    fn pieces(bytes: &str, in_body: bool) -> Vec<&str> {
        let mut lines = Lines::default();
        let mut rest = bytes;
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(cut(&mut lines, rest.as_bytes(), in_body));
            assert!(!piece.is_empty(), "{rest:?}");
            pieces.push(piece);
            rest = after;
        }
        pieces
    }

    #[test]
    fn one_head_is_handed_over_at_a_time() {
        for (bytes, expected) in [
            ("GET / HTT", &["GET / HTT"][..]),
            ("GET /\r\na: b\r\n\r\n", &["GET /\r\na: b\r\n\r\n"]),
            ("POST /\r\n\r\n{\"a\":\r\n1}", &["POST /\r\n\r\n{\"a\":\r\n1}"]),
            ("GET /\r\n\r\nGET /b\r\n", &["GET /\r\n\r\nGET /b\r\n"]),
            ("GET /\r\n\r\nGET /b\r\n\r\nG", &["GET /\r\n\r\n", "GET /b\r\n\r\nG"]),
            ("a\n\nb\n\r\nc\r\n\nd", &["a\n\n", "b\n\r\n", "c\r\n\nd"]),
            ("a\r\r\n\r\n", &["a\r\r\n\r\n"]),
        ] {
            assert_eq!(pieces(bytes, false), expected);
        }
    }

    #[test]
    fn no_head_behind_a_body_is_completed_with_it() {
        for (bytes, expected) in [
            ("{}", &["{}"][..]),
            ("{}GET /\r\n\r\nGET /b\r\n\r\n", &["{}GET /\r\n\r", "\nGET /b\r\n\r", "\n"]),
            ("1\r\nx\r\n0\r\n\r\n", &["1\r\nx\r\n0\r\n\r", "\n"]),
            ("\n\n\n\n", &["\n", "\n", "\n", "\n"]),
        ] {
            assert_eq!(pieces(bytes, true), expected);
        }
    }
}
