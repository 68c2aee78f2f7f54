//! Connections: how many one network may hold, and how long one may stay open without a request.
//!
//! **The attack:** a client opens connections and holds them, so that nobody else gets one. It sends nothing, or the
//! first byte of a request, or requests whose answers it does not read.
//!
//! **The rule:** a network holds at most a sixteenth of all connections, wider networks a multiple of that, as at the
//! throttle. One more takes the place of its own connection that has been idle for longest, or is closed if all of its
//! connections have a request. When nearly all connections are taken, a new one takes the place of any that has long been
//! idle. Connections of trusted proxies are not counted by network: they carry many clients.
//!
//! A connection without a request is closed after `http.keep_alive_secs`. A request that has begun has its own deadlines:
//! [`HEAD_SECS`] for its head, the same for its body (`body.rs`), and for each part of the answer that the client must
//! read.
//!
//! ```text
//!            first byte               head complete            body of the answer sent
//!   idle ───────────────▶ started ───────────────▶ serving ───────────────────────▶ idle
//!    │ keep_alive_secs       │ HEAD_SECS               │ unread answer: HEAD_SECS
//!    ▼                       ▼                         ▼
//!  closed                408, closed                 closed
//! ```
//!
//! Not counted in the journal: connections end with the process.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use crate::config::Config;
use crate::system::lock::Mutex;
use crate::value::network::Network;

/// Which part of all connections one network may hold.
const SHARES: usize = 16;
/// What one network may hold at least: a browser opens six at once.
const EACH_MIN: usize = 8;
/// How many connections are looked at to find an idle one.
const LOOKS_MAX: usize = 64;
/// The time for the head of a request to arrive, and for a client to read a part of an answer.
const HEAD_SECS: u32 = 10;
/// Seconds that a client has to read a refusal before its connection is closed.
const LINGER_SECS: u32 = 2;
const TICK: Duration = Duration::from_secs(1);
/// Bytes that are handed to the HTTP library before it must show a request, or a part of one: the largest head.
pub(super) const READ_AHEAD_MAX: u32 = 16 * 1024;

/// One connection. The event loop that serves it writes here; the table of connections reads.
#[derive(Default)]
pub(super) struct Connection {
    /// The network that is charged; `None` for a trusted proxy.
    network: Option<Network>,
    /// The number of requests that are being served.
    serving: AtomicU32,
    /// Bytes handed to the HTTP library since it last made progress.
    handed: AtomicU32,
    /// Whether a request has begun whose head is not complete.
    is_started: AtomicBool,
    /// Whether the client does not read what it is sent.
    is_unread: AtomicBool,
    /// Whether the request that is being served is the last one: what follows is thrown away.
    is_last: AtomicBool,
    /// Whether the client is being told why its request was refused.
    is_refused: AtomicBool,
    /// Seconds since the state last changed.
    ticks: AtomicU32,
    /// Whether the connection has to end.
    is_ending: AtomicBool,
    /// Whether the table has dropped it.
    is_forgotten: AtomicBool,
    /// Wakes the task that serves the connection.
    waker: Mutex<Option<Waker>>,
}

/// What the stream of a connection does with a wish to read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// Hands over at most this many bytes.
    Read(usize),
    /// Waits until the HTTP library has made progress.
    Wait,
    /// The head is too large.
    TooLarge,
    /// The head did not arrive in time.
    Late,
    /// The connection ends without a word.
    End,
}

impl Connection {
    fn new(network: Option<Network>) -> Self {
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
        if handed < READ_AHEAD_MAX || self.is_last.load(Relaxed) {
            return Turn::Read(READ_AHEAD_MAX.saturating_sub(handed).clamp(1, 4096) as usize);
        }
        if self.serving.load(Relaxed) > 0 {
            return Turn::Wait;
        }
        if self.is_unread.load(Relaxed) { Turn::End } else { Turn::TooLarge }
    }

    /// Notes that bytes were handed to the HTTP library.
    pub(super) fn handed(&self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.handed.store(self.handed.load(Relaxed).saturating_add(bytes), Relaxed);
        if self.serving.load(Relaxed) == 0 && !self.is_started.swap(true, Relaxed) {
            self.ticks.store(0, Relaxed);
        }
    }

    /// Notes whether the client reads what it is sent.
    pub(super) fn wrote(&self, is_unread: bool) {
        if self.is_unread.swap(is_unread, Relaxed) != is_unread || !is_unread {
            self.ticks.store(0, Relaxed);
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

    fn end(&self) {
        self.is_ending.store(true, Relaxed);
        self.wake();
    }

    fn is_idle(&self) -> bool {
        self.serving.load(Relaxed) == 0
    }

    /// Counts a second, and ends the connection if it has had its time.
    fn tick(&self, keep_alive_secs: u32) {
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
pub(super) struct Serving(Arc<Connection>);

impl Serving {
    pub(super) fn on(connection: &Arc<Connection>) -> Self {
        connection.serving.fetch_add(1, Relaxed);
        connection.is_started.store(false, Relaxed);
        connection.progress();
        Self(Arc::clone(connection))
    }

    /// Notes that a part of the body has been read.
    pub(super) fn read(&self) {
        self.0.progress();
    }

    /// Notes that nothing is read after this request.
    pub(super) fn is_last(&self) {
        self.0.is_last.store(true, Relaxed);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // What came after this request is the begin of the next one.
        self.0.is_started.store(self.0.handed.load(Relaxed) > 0, Relaxed);
        self.0.ticks.store(0, Relaxed);
        self.0.serving.fetch_sub(1, Relaxed);
        self.0.progress();
    }
}

/// The connections of a listener.
#[derive(Clone)]
pub struct Connections(Arc<Inner>);

struct Inner {
    config: Config,
    /// What all networks together may hold.
    most: usize,
    /// What one network may hold.
    each: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    all: Queue,
    networks: HashMap<Network, Queue>,
}

/// Connections, of which those in front have not been looked at for longest.
#[derive(Default)]
struct Queue {
    /// How many of `entries` are open.
    open: usize,
    entries: VecDeque<Weak<Connection>>,
}

impl Queue {
    fn push(&mut self, connection: &Arc<Connection>) {
        self.open += 1;
        self.entries.push_back(Arc::downgrade(connection));
    }

    fn closed(&mut self) {
        self.open = self.open.saturating_sub(1);
        // What has closed is dropped now and then, so that closing costs a constant in the mean.
        if self.entries.len() > 2 * self.open + LOOKS_MAX {
            self.entries.retain(is_open);
        }
    }

    /// Returns a connection without a request: of those looked at, the one that was opened or looked at first.
    fn idle(&mut self) -> Option<Arc<Connection>> {
        for _ in 0..self.entries.len().min(LOOKS_MAX) {
            let entry = self.entries.pop_front()?;
            let Some(connection) = entry.upgrade().filter(|_| is_open(&entry)) else { continue };
            self.entries.push_back(entry);
            if connection.is_idle() {
                return Some(connection);
            }
        }
        None
    }
}

fn is_open(entry: &Weak<Connection>) -> bool {
    entry.upgrade().is_some_and(|connection| !connection.is_forgotten.load(Relaxed))
}

impl Table {
    fn forget(&mut self, connection: &Connection) {
        if connection.is_forgotten.swap(true, Relaxed) {
            return;
        }
        self.all.closed();
        for network in connection.network.into_iter().flat_map(Network::around) {
            if let Some(queue) = self.networks.get_mut(&network) {
                queue.closed();
                if queue.open == 0 {
                    self.networks.remove(&network);
                }
            }
        }
    }

    fn replace(&mut self, idle: &Connection) {
        self.forget(idle);
        idle.end();
    }
}

impl Connections {
    /// Creates the table of a listener that accepts `most` connections at once.
    pub fn new(config: &Config, most: usize) -> Self {
        let each = (most / SHARES).max(EACH_MIN);
        Self(Arc::new(Inner { config: config.clone(), most, each, table: Mutex::default() }))
    }

    /// Lets one network hold all connections.
    #[must_use]
    pub fn with_unbounded_networks(self) -> Self {
        Self(Arc::new(Inner {
            config: self.0.config.clone(),
            most: self.0.most,
            each: usize::MAX,
            table: Mutex::default(),
        }))
    }

    /// Registers a connection from `peer`, or returns `None` if its network holds enough.
    pub(super) fn open(&self, peer: std::net::IpAddr) -> Option<Arc<Connection>> {
        let peer = peer.to_canonical();
        let is_proxy = self.0.config.http.trusted_proxies.iter().any(|proxy| proxy.contains(&peer));
        let network = (!is_proxy).then(|| Network::of(peer));
        let mut table = self.0.table.lock();
        for network in network.into_iter().flat_map(Network::around) {
            let most = self.0.each.saturating_mul(network.width.multiple() as usize);
            if let Some(queue) = table.networks.get_mut(&network).filter(|queue| queue.open >= most) {
                let idle = queue.idle()?;
                table.replace(&idle);
            }
        }
        // The last sixteenth of the places is for who comes while the others are taken.
        if table.all.open >= self.0.most - self.0.most / SHARES
            && let Some(idle) = table.all.idle()
        {
            table.replace(&idle);
        }
        let connection = Arc::new(Connection::new(network));
        table.all.push(&connection);
        for network in network.into_iter().flat_map(Network::around) {
            table.networks.entry(network).or_default().push(&connection);
        }
        Some(connection)
    }

    /// Takes a connection that has closed out of the table.
    pub(super) fn closed(&self, connection: &Connection) {
        self.0.table.lock().forget(connection);
    }

    /// Ends the connections that have had their time, for as long as the future is polled.
    pub async fn watch(self) {
        loop {
            tokio::time::sleep(TICK).await;
            self.tick();
        }
    }

    fn tick(&self) {
        let keep_alive_secs = u32::try_from(self.0.config.http.keep_alive.as_secs()).unwrap_or(u32::MAX);
        for connection in self.0.table.lock().all.entries.iter().filter_map(Weak::upgrade) {
            connection.tick(keep_alive_secs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Reader;

    fn connections(most: usize, proxies: &str) -> Connections {
        let mut reader = Reader::new();
        reader.plain("http.trusted_proxies", proxies, "test");
        Connections::new(&Config::from_reader(reader).unwrap(), most)
    }

    fn open(connections: &Connections, peer: &str) -> Option<Arc<Connection>> {
        connections.open(peer.parse().unwrap())
    }

    /// Ticks until the connection ends, and returns how often.
    fn ticks(connections: &Connections, connection: &Connection) -> u32 {
        (1..1000)
            .find(|_| {
                connections.tick();
                connection.is_over()
            })
            .unwrap()
    }

    #[test]
    fn each_state_of_a_connection_has_its_deadline() {
        let connections = connections(100, "");
        let fresh = open(&connections, "192.0.2.1").unwrap();
        assert_eq!((ticks(&connections, &fresh), fresh.turn()), (HEAD_SECS + 1, Turn::End));

        let half = open(&connections, "192.0.2.1").unwrap();
        for _ in 0..HEAD_SECS {
            half.handed(1);
            connections.tick();
        }
        assert_eq!((ticks(&connections, &half), half.turn()), (1, Turn::Late));
        half.refused();
        assert_eq!(ticks(&connections, &half), LINGER_SECS + 1);

        let kept = open(&connections, "192.0.2.1").unwrap();
        kept.handed(100);
        let serving = [Serving::on(&kept), Serving::on(&kept)];
        for _ in 0..500 {
            connections.tick();
        }
        drop(serving);
        assert_eq!((ticks(&connections, &kept), kept.turn()), (76, Turn::End));

        let pipelined = open(&connections, "192.0.2.1").unwrap();
        let serving = Serving::on(&pipelined);
        pipelined.handed(1);
        drop(serving);
        assert_eq!(ticks(&connections, &pipelined), HEAD_SECS + 1);

        let unread = open(&connections, "192.0.2.1").unwrap();
        let _serving = Serving::on(&unread);
        for is_unread in [true, false, true] {
            unread.wrote(is_unread);
            connections.tick();
        }
        assert_eq!((ticks(&connections, &unread), unread.turn()), (HEAD_SECS, Turn::End));
    }

    #[test]
    fn a_connection_hands_over_what_one_head_may_have() {
        let connections = connections(100, "");
        let connection = open(&connections, "192.0.2.1").unwrap();
        connection.handed(READ_AHEAD_MAX as usize - 1);
        assert_eq!(connection.turn(), Turn::Read(1));
        connection.handed(1);
        assert_eq!(connection.turn(), Turn::TooLarge);
        let serving = Serving::on(&connection);
        assert_eq!(connection.turn(), Turn::Read(4096));
        connection.handed(READ_AHEAD_MAX as usize);
        assert_eq!(connection.turn(), Turn::Wait);
        serving.read();
        assert_eq!(connection.turn(), Turn::Read(4096));
        connection.handed(usize::MAX);
        assert_eq!(connection.turn(), Turn::Wait);
        connection.wrote(true);
        drop(serving);
        connection.handed(READ_AHEAD_MAX as usize);
        assert_eq!(connection.turn(), Turn::End);
    }

    #[test]
    fn a_network_holds_its_share_and_its_idle_connections_go_first() {
        let connections = connections(320, "10.0.0.0/8");
        let mut held: Vec<_> = (0..20).map(|_| open(&connections, "192.0.2.1").unwrap()).collect();
        let others: Vec<_> =
            (2..9).map(|host| open(&connections, &format!("192.0.2.{host}")).unwrap()).collect();
        let serving: Vec<_> = held.iter().skip(1).map(Serving::on).collect();
        // The only idle one of the network gives way, though others have been idle for as long.
        held.push(open(&connections, "::ffff:192.0.2.1").unwrap());
        assert_eq!(
            held.iter().map(|one| one.is_over()).collect::<Vec<_>>(),
            [[true].as_slice(), &[false; 20]].concat()
        );
        let busy = Serving::on(&held[20]);
        assert!(open(&connections, "192.0.2.1").is_none());
        // Nor is it told anything first.
        held[0].handed(1);
        assert_eq!(held[0].turn(), Turn::End);
        assert!(!others.iter().any(|one| one.is_over()));
        // What has closed makes room, also if it was replaced before.
        for gone in [&held[0], &held[5], &held[5]] {
            connections.closed(gone);
        }
        assert!(open(&connections, "192.0.2.1").is_some());
        // A proxy carries many clients.
        assert!((0..100).all(|_| open(&connections, "10.0.0.1").is_some()));
        drop((serving, busy));
        for one in held.iter().chain(&others) {
            connections.closed(one);
        }
        assert_eq!(connections.0.table.lock().networks.len(), 0);
    }

    #[test]
    fn wider_networks_hold_a_multiple_and_idle_ones_give_way_when_all_is_taken() {
        let connections = connections(320, "");
        let site: Vec<_> =
            (0..200).filter_map(|host| open(&connections, &format!("192.0.2.{host}"))).collect();
        assert_eq!(site.iter().filter(|one| !one.is_over()).count(), 160);
        let held: Vec<_> =
            (0..200).filter_map(|net| open(&connections, &format!("198.51.{net}.1"))).collect();
        assert_eq!(held.len(), 200);
        let live = site.iter().chain(&held).filter(|one| !one.is_over()).count();
        assert_eq!(live, 300);
        // The longest idle one went first.
        assert!(held.iter().all(|one| !one.is_over()));
    }

    #[test]
    fn what_has_closed_does_not_fill_the_table() {
        let connections = connections(320, "");
        for host in 0..10_000_u32 {
            let one = open(&connections, &format!("10.{}.{}.1", host / 256 % 256, host % 256)).unwrap();
            connections.closed(&one);
        }
        let table = connections.0.table.lock();
        assert!(table.all.entries.len() <= 2 * LOOKS_MAX, "{}", table.all.entries.len());
        assert!(table.networks.is_empty());
    }
}
