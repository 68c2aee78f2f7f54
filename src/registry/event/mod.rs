//! Events: what other programs are told of accounts, sessions and locks.
//!
//! **The attack:** a program that keeps rows of its own beside the accounts misses one, or has one of an account that never
//! was, since a crash came between the change and the message about it. Or a stranger fills the log of events, so that those
//! that matter are removed.
//!
//! **The rule:** the events of a change are in the entry that makes it true: both are there after a crash, or neither. The
//! rules of the registries derive them from the state before and the writes ([`Registry::events_of`]). They are no state,
//! and in no snapshot; [`event_log`](crate::journal::event_log) collects them. What a stranger can cause is bounded: a
//! refused log-in makes no event unless it begins a lock of an account, which happens once a minute at most and ever less
//! often. A lock of a name without an account takes the same bytes of the entry, and the log drops it.
//!
//! No event holds a secret. Address and name are in those alone that are about them.
//!
//! [`Registry::events_of`]: crate::registry::Registry::events_of

pub mod record;
pub mod types;

pub use record::{Credential, EndReason, EventV1, Metadata, What};
pub use types::{TYPES, Wanted};

use crate::journal::format::codec::Stored;
use crate::journal::format::entry::Change;
use crate::registry::record::{ReadError, Record, Write};
use crate::system::clock::Timestamp;

/// The number of the table of events, which has no state.
pub const EVENTS: u16 = <EventV1 as Stored>::TABLE;

/// The number of the table of what is written in place of an event and dropped: a lock of a name that no account has takes
/// the bytes that one of an account takes.
pub const NO_EVENTS: u16 = EVENTS + 1;

/// An event, before the time of its entry is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// The account that it is about; the key of a name for [`What::LockoutOfNobody`].
    pub about: [u8; 16],
    /// What has happened.
    pub what: What,
}

impl Told {
    /// Creates an event about an account.
    pub const fn new(about: [u8; 16], what: What) -> Self {
        Self { about, what }
    }

    /// Returns the change that goes into the entry.
    ///
    /// # Panics
    /// The event is too long to be stored: no record that it is about could be.
    pub fn to_change(&self, now: Timestamp) -> Change {
        let event = EventV1 { about: self.about, at_ms: now.as_millis(), what: self.what.clone() };
        let change = Write::Put(event).to_change();
        let mut change = change.unwrap_or_else(|error| panic!("an event that cannot be stored: {error}"));
        if matches!(self.what, What::LockoutOfNobody { .. }) {
            change.table = NO_EVENTS;
        }
        change
    }
}

/// Reads an event of the log.
///
/// Errors: a later version wrote it, or the bytes are no event.
pub fn read(schema: u16, value: &[u8]) -> Result<EventV1, ReadError> {
    EventV1::read(schema, value)
}
