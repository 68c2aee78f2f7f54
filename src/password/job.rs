//! One job of the queue: for whom a password is hashed, and what becomes of it.

use std::time::Duration;

use ipnet::IpNet;

use crate::password::schedule::Lane;

/// For whom a password is hashed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct QueueKey {
    /// The class in the queue.
    pub lane: Lane,
    /// Networks of one lane take turns.
    pub network: IpNet,
}

impl QueueKey {
    /// Of the server's own work, and of operators.
    pub const OWN: Self = Self {
        lane: Lane::Known,
        network: IpNet::V4(ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::LOCALHOST, 32)),
    };
}

/// The queue is full. Never counted as a failed attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too many passwords wait to be checked; try again in {} s", retry_after.as_secs())]
pub struct Shed {
    /// When it is worth trying again.
    pub retry_after: Duration,
}

/// The answer of a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verified {
    /// Whether the password is the right one.
    pub matches: bool,
    /// Whether its string has another cost than new ones.
    pub needs_rehash: bool,
}
