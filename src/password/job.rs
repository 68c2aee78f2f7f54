//! One job of the queue: the key by which it is queued, and its results.

use std::time::Duration;

use ipnet::IpNet;

use crate::password::lane::Lane;

/// The key by which a job is queued.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct QueueKey {
    /// The class in the queue.
    pub lane: Lane,
    /// The client's network. Networks of one lane take turns.
    pub network: IpNet,
    /// The account name, where a known device logs in to one. In that lane names take turns before networks do.
    pub name: Option<[u8; 16]>,
}

impl QueueKey {
    /// Returns the key of a job of no certain account name.
    pub const fn new(lane: Lane, network: IpNet) -> Self {
        Self { lane, network, name: None }
    }

    /// Names the account name of the job.
    #[must_use]
    pub const fn of_name(self, name: [u8; 16]) -> Self {
        Self { name: Some(name), ..self }
    }

    /// The key of work that nobody waits for.
    pub const fn in_background() -> Self {
        Self { lane: Lane::Failing, ..Self::OWN }
    }

    /// The key of the server's own work, and of operators.
    pub const OWN: Self = Self {
        lane: Lane::Known,
        network: IpNet::V4(ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::LOCALHOST, 32)),
        name: None,
    };
}

/// The job was refused or dropped because of overload. It never counts as a failed attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too many passwords wait to be checked; try again in {} s", retry_after.as_secs())]
pub struct Shed {
    /// The delay after which the client may try again.
    pub retry_after: Duration,
}

impl Shed {
    /// The answer where no better delay is known.
    pub(super) const FOR_A_SECOND: Self = Self { retry_after: Duration::from_secs(1) };
}

/// Why a password was not checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unverified {
    /// Because of overload.
    Shed(Shed),
    /// Its client had gone before the work began.
    Withdrawn,
}

impl Unverified {
    /// Returns the answer of a job that is never withdrawn.
    pub(super) const fn into_shed(self) -> Shed {
        match self {
            Self::Shed(shed) => shed,
            Self::Withdrawn => Shed::FOR_A_SECOND,
        }
    }
}

impl From<Shed> for Unverified {
    fn from(shed: Shed) -> Self {
        Self::Shed(shed)
    }
}

/// The result of a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verified {
    /// Whether the password matches.
    pub matches: bool,
    /// Whether the stored text was made by another system, or has another cost or pepper than new ones have.
    pub needs_rehash: bool,
}
