//! Credential stuffing: many names tried from one network, one name tried from many networks, or more failures than
//! usual anywhere.
//!
//! **The attack:** pairs of names and passwords that leaked elsewhere are tried once each, so that no name is ever
//! locked; or one name is guessed from thousands of rented networks, so that no network is ever throttled.
//!
//! **The rule:** a network from which more than ten distinct names failed within 15 minutes becomes a suspect: its
//! log-ins cost eight times as much for an hour (`throttle/suspects.rs`). The same holds for a whole IPv6 /48 from
//! which more than forty distinct names failed, however few from each /64 of it. If attempts at one name failed from
//! more than ten distinct networks within an hour, the owner is notified, at most once a day; for a name without an
//! account the same work is done for nobody. When the failures of the last five minutes are far above their moving
//! mean, the alarm rings: an event is recorded, a metric shows it, and networks without a log-in in the last day wait
//! after the others for a hash.
//!
//! Failures of a known device do not count: the owner has mistyped.
//!
//! ```text
//!   network:  quiet ──▶ failing(names) ──▶ suspect ── an hour ──▶ quiet
//!   alarm:    off ── failures far above the mean ──▶ on ── ten minutes below the line ──▶ off
//! ```
//!
//! Every thread reads from a [cache](reputation_cache) in which lane a network waits, where that is certain: an attack
//! comes from ever new networks, and most of its requests are refused, so they must not cost a message to the actor.
//!
//! Counts are exact up to the line, and [bounded](sketch): a fixed number of networks and names, in sets of eight
//! places; a new one takes the place of the one with the fewest failures. Nothing is journalled: the counts are worth
//! minutes, and a write for each failure would serve the attacker.
//!
//! Source: OWASP Credential Stuffing Prevention Cheat Sheet.

pub mod actor;
pub mod reputation_cache;
pub mod sketch;
pub mod state;

pub use reputation_cache::ReputationCache;
pub use state::{Noticed, Outcome, Reputation, Stuffing, Tried};
