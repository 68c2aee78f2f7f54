//! Connections: how many one network may hold, and how long one may stay open without a request.
//!
//! **The attack:** a client opens connections and holds them, so that nobody else gets one. It sends nothing, or the
//! first byte of a request, or requests whose answers it does not read.
//!
//! **The rule:** a network holds at most a sixteenth of all connections, wider networks a multiple of that, as at the
//! throttle, but no more than half of all. One more takes the place of its own connection that has been idle for longest, or is closed if all of its
//! connections have a request. When nearly all connections are taken, a new one takes the place of any that has long been
//! idle. Connections of trusted proxies are not counted by network: they carry many clients.
//!
//! How long a connection may go on: `lifetime.rs`.
//!
//! Not counted in the journal: connections end with the process.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::lifetime::Connection;
use crate::config::Config;
use crate::system::lock::Mutex;
use crate::value::network::Network;

/// Which part of all connections one network may hold.
const SHARES: usize = 16;
/// Which part of all connections the widest network may hold.
const HALF: usize = 2;
/// The least number of connections that a network may hold: a browser opens six at once.
const EACH_MIN: usize = 8;
/// How many connections are looked at to find an idle one.
const LOOKS_MAX: usize = 64;
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two lines in the log.
const TICKS_PER_LINE: u64 = 60;

/// The connections of a listener.
#[derive(Clone)]
pub struct Connections(Arc<Inner>);

struct Inner {
    config: Config,
    /// The most connections of all networks together.
    most: usize,
    /// The most connections of one network.
    each: usize,
    /// Whether a new connection may take the place of an idle one.
    replaces: bool,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    all: Queue,
    networks: HashMap<Network, Queue>,
    /// Connections that were closed on arrival since the last line in the log.
    refused: u64,
    /// Connections that gave their place to others since then.
    replaced: u64,
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
        // Closed connections are dropped from time to time, so that closing one costs constant time on average.
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
        self.replaced += 1;
        self.forget(idle);
        idle.end();
    }
}

impl Connections {
    /// Creates the table of a listener that accepts `most` connections at once.
    pub fn new(config: &Config, most: usize) -> Self {
        let each = (most / SHARES).max(EACH_MIN);
        Self(Arc::new(Inner { config: config.clone(), most, each, replaces: true, table: Mutex::default() }))
    }

    /// Lets one network hold all connections.
    #[must_use]
    pub fn with_unbounded_networks(self) -> Self {
        Self(Arc::new(Inner {
            config: self.0.config.clone(),
            most: self.0.most,
            each: usize::MAX,
            replaces: self.0.replaces,
            table: Mutex::default(),
        }))
    }

    /// Lets no connection take the place of another: of these it is not known whether they have a request.
    #[must_use]
    pub(super) fn without_replacing(self) -> Self {
        Self(Arc::new(Inner {
            config: self.0.config.clone(),
            most: self.0.most,
            each: self.0.each,
            replaces: false,
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
            let multiple = self.0.each.saturating_mul(network.width.multiple() as usize);
            // A rented /48 has sixteen shares, which would be all connections.
            let most = if self.0.each == usize::MAX {
                multiple
            } else {
                multiple.min(self.0.most / HALF).max(EACH_MIN)
            };
            if let Some(queue) = table.networks.get_mut(&network).filter(|queue| queue.open >= most) {
                let Some(idle) = queue.idle().filter(|_| self.0.replaces) else {
                    table.refused += 1;
                    return None;
                };
                table.replace(&idle);
            }
        }
        // The last sixteenth of the places is for who comes while the others are taken.
        if self.0.replaces
            && table.all.open >= self.0.most - self.0.most / SHARES
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
        for tick in 1_u64.. {
            tokio::time::sleep(TICK).await;
            self.tick();
            if tick.is_multiple_of(TICKS_PER_LINE) {
                self.log();
            }
        }
    }

    fn tick(&self) {
        let keep_alive_secs = u32::try_from(self.0.config.http.keep_alive.as_secs()).unwrap_or(u32::MAX);
        for connection in self.0.table.lock().all.entries.iter().filter_map(Weak::upgrade) {
            connection.tick(keep_alive_secs);
        }
    }
}

impl Connections {
    /// Writes one line if connections were closed for want of room.
    fn log(&self) {
        let mut table = self.0.table.lock();
        let (refused, replaced) = (std::mem::take(&mut table.refused), std::mem::take(&mut table.replaced));
        drop(table);
        if refused + replaced > 0 {
            let (most, each) = (self.0.most, self.0.each);
            tracing::warn!(
                refused,
                replaced,
                most,
                each,
                "closed connections for want of room: an attack, too low a limit of open files, or a proxy that is not in \
                 http.trusted_proxies"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Reader;
    use crate::http::connection::lifetime::{Serving, Turn};

    fn connections(most: usize, proxies: &str) -> Connections {
        let mut reader = Reader::new();
        reader.plain("http.trusted_proxies", proxies, "test");
        Connections::new(&Config::from_reader(reader).unwrap(), most)
    }

    fn open(connections: &Connections, peer: &str) -> Option<Arc<Connection>> {
        connections.open(peer.parse().unwrap())
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
        // A closed connection makes room, also if it was replaced before.
        for gone in [&held[0], &held[5], &held[5]] {
            connections.closed(gone);
        }
        held.push(open(&connections, "192.0.2.1").unwrap());
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
    fn no_site_holds_more_than_half() {
        let connections = connections(320, "");
        let held: Vec<_> = (0..400)
            .filter_map(|link| {
                let one = open(&connections, &format!("2001:db8:1:{link:x}::1"))?;
                let serving = Serving::on(&one);
                Some((one, serving))
            })
            .collect();
        assert_eq!(held.len(), 160);
        assert!((0..100).all(|number| open(&connections, &format!("192.0.{number}.1")).is_some()));
        let unbounded = connections.with_unbounded_networks();
        let all = (0..400).filter_map(|link| open(&unbounded, &format!("2001:db8:1:{link:x}::1")));
        assert_eq!(all.count(), 400);
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
