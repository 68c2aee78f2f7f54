//! The stream between a socket and the HTTP library: it bounds what is read ahead, notices clients that stand still, and
//! answers in full where the library would send a bare status line.
//!
//! **The attack:** a client sends a head without an end, or many requests at once, and the library keeps up to 128 KiB of
//! it. Or it sends what is no HTTP: the library's own answers to that have none of the headers that protect a browser, and
//! each writes a line to the log.
//!
//! **The rule:** at most [`READ_AHEAD_MAX`](super::lifetime::READ_AHEAD_MAX) bytes are handed over before the library shows a
//! request, or a part of its body, and then nothing until it has used them; one request at a time, and the next one when the
//! answer has left (`ahead.rs`). A bare answer of the library is replaced by a problem like all others. The connection then
//! ends, after the client had time to read it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::ahead::{Ahead, PIECE_MAX};
use super::bare_answer::{bare_status, refusal};
use super::lifetime::{Connection, Turn};
use super::table::Connections;
use crate::engine::Engine;

/// Bytes of a refused client that are read and thrown away at most. While unread bytes are left, closing the socket would
/// also discard the answer.
const DISCARDED_MAX: usize = 1024 * 1024;

/// The stream of one connection.
pub struct GuardedStream {
    stream: TcpStream,
    peer: SocketAddr,
    connection: Arc<Connection>,
    connections: Connections,
    engine: Arc<Engine>,
    /// The waker that the connection has.
    waker: Option<Waker>,
    ahead: Ahead,
    /// Whether the library has had the chance to show a request in what it was handed.
    has_parsed: bool,
    refusing: Option<Refusing>,
}

/// An answer on its way to a client that is refused.
struct Refusing {
    answer: Vec<u8>,
    sent: usize,
    discarded: usize,
}

impl GuardedStream {
    /// Guards a connection that was accepted.
    ///
    /// Errors: the client's network holds enough connections, so this one is to be dropped.
    pub fn open(stream: TcpStream, connections: &Connections, engine: &Arc<Engine>) -> io::Result<Self> {
        let full = || io::Error::new(io::ErrorKind::QuotaExceeded, "the network holds enough connections");
        let peer = stream.peer_addr()?;
        // Pipelined requests are read in pieces and answered in pieces. Each but the first would wait for the client's
        // acknowledgement of the one before, for 40 ms.
        stream.set_nodelay(true)?;
        let connection = connections.open(peer.ip()).ok_or_else(full)?;
        Ok(Self {
            stream,
            peer,
            connection,
            connections: connections.clone(),
            engine: Arc::clone(engine),
            waker: None,
            ahead: Ahead::default(),
            has_parsed: true,
            refusing: None,
        })
    }

    /// Returns the address of the client.
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Adds the connection to the data that its requests see.
    pub fn describe(&self, data: &mut actix_web::dev::Extensions) {
        data.insert(Arc::clone(&self.connection));
    }

    fn refuse(&mut self, status: u16) {
        self.connection.refused();
        let answer = refusal(&self.engine, status);
        self.refusing = Some(Refusing { answer, sent: 0, discarded: 0 });
    }

    /// Sends the answer, then reads until the client closes or has had its time. Always ends with an error, by which the
    /// library drops the connection without a word.
    fn poll_refusing(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let closed = || Poll::Ready(io::ErrorKind::ConnectionAborted.into());
        let Some(refusing) = &mut self.refusing else { return closed() };
        if self.connection.is_over() {
            return closed();
        }
        while let Some(rest) = refusing.answer.get(refusing.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest)) {
                Ok(0) | Err(_) => return closed(),
                Ok(sent) => refusing.sent += sent,
            }
        }
        // Repeated on a socket that is shut already, this does nothing.
        let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
        let mut bytes = [0; 4096];
        while refusing.discarded < DISCARDED_MAX {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => refusing.discarded += buffer.filled().len(),
                _ => break,
            }
        }
        closed()
    }

    /// Lets the connection wake the task that polls this stream.
    fn remember(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
            self.connection.remember(cx.waker().clone());
        }
    }

    fn poll_hand_over(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        most: usize,
        in_body: bool,
    ) -> Poll<io::Result<()>> {
        let most = most.min(buf.remaining()).min(PIECE_MAX);
        let is_ahead = !self.ahead.is_empty();
        let handed = ready!(self.ahead.poll_hand_over(&mut self.stream, cx, buf, most, in_body))?;
        self.connection.handed(handed);
        // If there may be more, the library would ask for it before it parses this.
        self.has_parsed = !is_ahead && self.ahead.is_empty() && handed < most;
        Poll::Ready(Ok(()))
    }

    /// Hands over nothing but the end of the client.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let watched = self.ahead.poll_watch(&mut self.stream, cx);
        if !self.ahead.is_empty() {
            self.connection.holds_back();
        }
        watched
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.remember(cx);
        if this.refusing.is_none() {
            match this.connection.turn() {
                Turn::Head(_) | Turn::Body(_) | Turn::TooLarge if !this.has_parsed => {
                    // The library parses once it is told that there is nothing more for now.
                    this.has_parsed = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Turn::Head(most) => return this.poll_hand_over(cx, buf, most, false),
                Turn::Body(most) => return this.poll_hand_over(cx, buf, most, true),
                Turn::Watch => return this.poll_watch(cx),
                Turn::Wait => return Poll::Pending,
                Turn::TooLarge => this.refuse(431),
                Turn::Late => this.refuse(408),
                Turn::End => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            }
        }
        this.poll_refusing(cx).map(Err)
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.remember(cx);
        if this.refusing.is_none() {
            let bytes = match bare_status(buf) {
                None => buf,
                Some((0, status)) => {
                    this.refuse(status);
                    return this.poll_refusing(cx).map(Err);
                }
                Some((at, _)) => buf.get(..at).unwrap_or(buf),
            };
            if !this.connection.is_over() {
                let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
                this.connection.wrote(written.is_pending());
                return written;
            }
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        this.poll_refusing(cx).map(Err)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl Drop for GuardedStream {
    fn drop(&mut self) {
        self.connections.closed(&self.connection);
    }
}
