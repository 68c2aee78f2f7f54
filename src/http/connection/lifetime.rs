//! One connection: what it is doing, and how long it may go on.
//!
//! A connection without a request is closed after `http.keep_alive_secs`. A request that has begun has its own deadlines:
//! [`HEAD_SECS`] for its head, the same for its body (`http/body.rs`), and for each part of the answer that the client must
//! read.
//!
//! ```text
//!            first byte               head complete            body of the answer sent
//!   idle ───────────────▶ started ───────────────▶ serving ───────────────────────▶ idle
//!    │ keep_alive_secs       │ HEAD_SECS               │ unread answer: HEAD_SECS
//!    ▼                       ▼                         ▼
//!  closed                408, closed                 closed
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::Waker;

use super::ahead::PIECE_MAX;
use crate::system::lock::Mutex;
use crate::value::network::Network;

/// The time for the head of a request to arrive, and for a client to read a part of an answer.
const HEAD_SECS: u32 = 10;
/// Seconds that a client has to read a refusal before its connection is closed.
const LINGER_SECS: u32 = 2;
/// Bytes that are handed to the HTTP library before it must show a request, or a part of one: the largest head.
pub(super) const READ_AHEAD_MAX: u32 = 16 * 1024;

/// One connection. The event loop that serves it writes here; the table of connections reads.
#[derive(Default)]
pub(in crate::http) struct Connection {
    /// The network that is charged; `None` for a trusted proxy.
    pub(super) network: Option<Network>,
    /// The number of requests that are being served.
    serving: AtomicU32,
    /// Bytes handed to the HTTP library since it last made progress.
    handed: AtomicU32,
    /// Whether a request has begun whose head is not complete.
    is_started: AtomicBool,
    /// Whether the body of the request that is being served has been read to its end.
    is_body_read: AtomicBool,
    /// Whether bytes of the client were held back, or came while a request was being served: perhaps further requests, which
    /// the HTTP library parses only when it is polled again.
    has_more: AtomicBool,
    /// Whether the client does not read what it is sent.
    is_unread: AtomicBool,
    /// Whether the request that is being served is the last one: what follows is thrown away.
    is_last: AtomicBool,
    /// Whether the connection ends with its answer: what follows is not read.
    ends: AtomicBool,
    /// Whether the client is being told why its request was refused.
    is_refused: AtomicBool,
    /// Seconds since the state last changed.
    ticks: AtomicU32,
    /// Whether the connection has to end.
    is_ending: AtomicBool,
    /// Whether it is no longer counted: it has closed, or given its place to another.
    pub(super) is_forgotten: AtomicBool,
    /// Wakes the task that serves the connection.
    waker: Mutex<Option<Waker>>,
}

/// The decision of a connection about a read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// Hands over at most this many bytes of a head.
    Head(usize),
    /// Hands over at most this many bytes of a body.
    Body(usize),
    /// Hands over nothing, and notices if the client goes.
    Watch,
    /// Waits until the HTTP library has made progress, or the client has read.
    Wait,
    /// The head is too large.
    TooLarge,
    /// The head did not arrive in time.
    Late,
    /// The connection ends without a word.
    End,
}

impl Connection {
    pub(super) fn new(network: Option<Network>) -> Self {
        // A client that opens a connection has something to say: it must do so at once.
        Self { network, is_started: AtomicBool::new(true), ..Self::default() }
    }

    /// Says what to do next.
    pub(super) fn turn(&self) -> Turn {
        let handed = self.handed.load(Relaxed);
        if self.is_ending.load(Relaxed) {
            // A connection that has given its place to another must not stay to be told: nothing would end it.
            let can_be_told = self.is_started.load(Relaxed)
                && handed > 0
                && !self.is_unread.load(Relaxed)
                && !self.is_forgotten.load(Relaxed);
            return if can_be_told { Turn::Late } else { Turn::End };
        }
        if self.is_last.load(Relaxed) {
            return Turn::Body(PIECE_MAX);
        }
        if self.is_unread.load(Relaxed) {
            return Turn::Wait;
        }
        let most = READ_AHEAD_MAX.saturating_sub(handed) as usize;
        match (self.is_idle(), most) {
            (true, _) if self.ends.load(Relaxed) => Turn::Watch,
            (true, 0) => Turn::TooLarge,
            (true, most) => Turn::Head(most),
            (false, _) if self.is_body_read.load(Relaxed) => Turn::Watch,
            (false, 0) => Turn::Wait,
            (false, most) => Turn::Body(most),
        }
    }

    /// Notes that bytes are held back, so that the HTTP library is woken up for them.
    pub(super) fn holds_back(&self) {
        self.has_more.store(true, Relaxed);
    }

    /// Notes that bytes were handed to the HTTP library.
    pub(super) fn handed(&self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.handed.store(self.handed.load(Relaxed).saturating_add(bytes), Relaxed);
        if !self.is_idle() {
            self.has_more.store(true, Relaxed);
        }
        if self.serving.load(Relaxed) == 0 && !self.is_started.swap(true, Relaxed) {
            self.ticks.store(0, Relaxed);
        }
    }

    /// Notes whether the client reads what it is sent.
    pub(super) fn wrote(&self, is_unread: bool) {
        let was_unread = self.is_unread.swap(is_unread, Relaxed);
        if was_unread != is_unread || !is_unread {
            self.ticks.store(0, Relaxed);
        }
        if was_unread && !is_unread {
            self.wake();
        }
    }

    /// Notes that the client is being told of a refusal, which is the last thing that it reads.
    pub(super) fn refused(&self) {
        self.is_refused.store(true, Relaxed);
        self.is_ending.store(false, Relaxed);
        self.ticks.store(0, Relaxed);
    }

    /// Says whether a client that was refused has had its time.
    pub(super) fn is_over(&self) -> bool {
        self.is_ending.load(Relaxed)
    }

    /// Keeps the waker of the task that serves the connection.
    pub(super) fn remember(&self, waker: Waker) {
        *self.waker.lock() = Some(waker);
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
    }

    /// Notes that the HTTP library has used what it was handed.
    fn progress(&self) {
        if self.handed.swap(0, Relaxed) >= READ_AHEAD_MAX {
            self.wake();
        }
    }

    pub(super) fn end(&self) {
        self.is_ending.store(true, Relaxed);
        self.wake();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.serving.load(Relaxed) == 0
    }

    /// Counts a second, and ends the connection if it has had its time.
    pub(super) fn tick(&self, keep_alive_secs: u32) {
        let is_unread = self.is_unread.load(Relaxed);
        let most = if self.is_refused.load(Relaxed) {
            LINGER_SECS
        } else if is_unread {
            HEAD_SECS
        } else if !self.is_idle() {
            self.ticks.store(0, Relaxed);
            return;
        } else if self.is_started.load(Relaxed) {
            HEAD_SECS
        } else {
            keep_alive_secs
        };
        // The first tick may come at once.
        if self.ticks.fetch_add(1, Relaxed) >= most {
            self.end();
        }
    }
}

/// A guard for a request that is being served.
pub(in crate::http) struct Serving(Arc<Connection>);

impl Serving {
    pub(in crate::http) fn on(connection: &Arc<Connection>) -> Self {
        connection.serving.fetch_add(1, Relaxed);
        connection.is_started.store(false, Relaxed);
        connection.is_body_read.store(false, Relaxed);
        connection.progress();
        Self(Arc::clone(connection))
    }

    /// Notes that a part of the body has been read.
    pub(in crate::http) fn read(&self) {
        self.0.progress();
    }

    /// Notes that the body has been read to its end. The next request is handed over when this one is answered.
    pub(in crate::http) fn body_is_read(&self) {
        self.0.is_body_read.store(true, Relaxed);
    }

    /// Notes that the body has been read, and that the connection ends with the answer.
    pub(in crate::http) fn ends(&self) {
        self.0.ends.store(true, Relaxed);
    }

    /// Notes that nothing is read after this request.
    pub(in crate::http) fn is_last(&self) {
        self.0.is_last.store(true, Relaxed);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Bytes after this request begin the next one.
        self.0.is_started.store(self.0.handed.load(Relaxed) > 0, Relaxed);
        self.0.ticks.store(0, Relaxed);
        self.0.serving.fetch_sub(1, Relaxed);
        self.0.progress();
        if self.0.has_more.swap(false, Relaxed) {
            self.0.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks until the connection ends, and returns how often.
    fn ticks(connection: &Connection) -> u32 {
        (1..1000)
            .find(|_| {
                connection.tick(75);
                connection.is_over()
            })
            .unwrap()
    }

    #[test]
    fn each_state_of_a_connection_has_its_deadline() {
        let fresh = Arc::new(Connection::new(None));
        assert_eq!((ticks(&fresh), fresh.turn()), (HEAD_SECS + 1, Turn::End));

        let half = Arc::new(Connection::new(None));
        for _ in 0..HEAD_SECS {
            half.handed(1);
            half.tick(75);
        }
        assert_eq!((ticks(&half), half.turn()), (1, Turn::Late));
        half.refused();
        assert_eq!(ticks(&half), LINGER_SECS + 1);

        let kept = Arc::new(Connection::new(None));
        kept.handed(100);
        let serving = [Serving::on(&kept), Serving::on(&kept)];
        for _ in 0..500 {
            kept.tick(75);
        }
        drop(serving);
        assert_eq!((ticks(&kept), kept.turn()), (76, Turn::End));

        let pipelined = Arc::new(Connection::new(None));
        let serving = Serving::on(&pipelined);
        pipelined.handed(1);
        drop(serving);
        assert_eq!(ticks(&pipelined), HEAD_SECS + 1);

        let unread = Arc::new(Connection::new(None));
        let _serving = Serving::on(&unread);
        for is_unread in [true, false, true] {
            unread.wrote(is_unread);
            unread.tick(75);
        }
        assert_eq!((ticks(&unread), unread.turn()), (HEAD_SECS, Turn::End));
    }

    #[test]
    fn a_connection_hands_over_what_one_head_may_have() {
        let connection = Arc::new(Connection::new(None));
        connection.handed(READ_AHEAD_MAX as usize - 1);
        assert_eq!(connection.turn(), Turn::Head(1));
        connection.handed(1);
        assert_eq!(connection.turn(), Turn::TooLarge);
        let serving = Serving::on(&connection);
        assert_eq!(connection.turn(), Turn::Body(READ_AHEAD_MAX as usize));
        connection.handed(READ_AHEAD_MAX as usize);
        assert_eq!(connection.turn(), Turn::Wait);
        serving.read();
        assert_eq!(connection.turn(), Turn::Body(READ_AHEAD_MAX as usize));
        connection.handed(usize::MAX);
        assert_eq!(connection.turn(), Turn::Wait);
        serving.body_is_read();
        assert_eq!(connection.turn(), Turn::Watch);
        connection.wrote(true);
        drop(serving);
        assert_eq!(connection.turn(), Turn::Wait);
        connection.wrote(false);
        assert_eq!(connection.turn(), Turn::Head(READ_AHEAD_MAX as usize));
    }
}
