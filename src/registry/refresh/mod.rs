//! Refresh-token families.
//!
//! **The attack:** a refresh token is copied (from a log, a device, a proxy) and used beside its owner.
//!
//! **The rule:** each token is good for one rotation. Rotation is a compare-and-swap on the family's generation, never
//! on a time. A spent token that comes back ends the whole family, because the server cannot know which of the two
//! holders is the thief. There is one exception, since clients lose answers: within the grace window, and until the
//! successor is first used, the spent token gets the *same* successor again. Nothing new is ever minted from a spent
//! token. The exception is for the client that spent it: another network *and* another program end the family, another
//! network alone is shown in the list of sessions. The grace counts the time in which answers could leave, so that an
//! outage or a stalled disk does not look like a theft.
//!
//! A log-out ends the family, and does not silence the alarm: a thief who has rotated could log out before the owner comes
//! back. So a spent token is a reuse after it as well, unless it comes from where the log-out came from, or would have had
//! its successor again. To log out with a spent token is to use it.
//!
//! An account has so many open at most that the one unused longest gives way to a new one. Of a family that ended, its
//! id and the cause stay for a day at least, and who logged out.
//!
//! ```text
//!                 rotate(live)             rotate(spent), grace over or successor used
//!   open ──▶ alive(generation) ──▶ alive(generation + 1) ──────────────▶ revoked(reuse)
//!                 │    ▲  └ rotate(spent), within the grace: the same successor
//!                 │    └──────┘
//!                 └─ log-out, an administrator ──▶ revoked(cause)
//! ```
//!
//! "Expired" is no state but a function of (record, now).
//!
//! Source: RFC 9700 §4.14.2 (refresh token rotation), OWASP Session Management Cheat Sheet.

pub mod actor;
mod pauses;
pub mod record;
pub mod state;
mod tombstones;

pub use record::{Audience, Cause, FamilyV3};
pub use state::{Families, Limits, LoggedOut, OpenFamily, OpenedFamily, Presented, Refusal, Rotate, Rotated};
