//! Stuffing: many names tried from one network, one name tried from many networks, more failures than usual anywhere.
//!
//! **The attack:** pairs of names and passwords that leaked elsewhere are tried once each, so no name is ever locked; or
//! one name is guessed from thousands of rented networks, so no network is ever throttled.
//!
//! **The rule:** more than ten distinct names that failed from one network within 15 minutes make it a suspect: its
//! log-ins cost eight times as much for an hour ([`super::throttle::suspects`]). So do those of a whole IPv6 /48 from which
//! more than forty failed, however few from each /64 of it. More than ten distinct networks that
//! failed at one name within an hour: its owner is told, once a day at most; for a name without an account the same is
//! done for nobody. When the failures of the last five minutes are far above their moving mean, the alarm rings: an
//! event, a figure, and networks that nobody has logged in from lately wait behind the others for the hash.
//!
//! Failures of a known device do not count: it is its owner who mistypes.
//!
//! ```text
//!   network:  quiet ──▶ failing(names) ──▶ suspect ── an hour ──▶ quiet
//!   alarm:    off ── failures far above the mean ──▶ on ── ten minutes below the line ──▶ off
//! ```
//!
//! In which lane a stranger waits is read by every thread without a way to the owner, where it is [certain](standings): a
//! storm comes from ever new networks, and most of it is refused.
//!
//! What is remembered is exact up to the line and [bounded](sketch): places for so many networks and names, eight of
//! which a newcomer may take, that with the fewest failures first. Not journalled: it is worth minutes, and a write for
//! each failure would be a gift to whoever sends them.
//!
//! Source: OWASP Credential Stuffing Prevention Cheat Sheet.

pub mod actor;
pub mod reputation_cache;
pub mod sketch;
pub mod state;

pub use reputation_cache::ReputationCache;
pub use state::{Noticed, Outcome, Reputation, Stuffing, Tried};
