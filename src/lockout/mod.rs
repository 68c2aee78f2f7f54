//! Lockout: failed attempts per account name, and the devices that are known.
//!
//! **The attack:** passwords are guessed, many at once; or they are guessed only to lock the owner out.
//!
//! **The rule:** attempts are counted against the *typed* name, whether or not there is such an account. An attempt
//! counts as failed from the moment it is admitted and is given back on success. Five failures from unknown devices
//! lock the name for unknown devices, for 1, 2, 4 … 60 minutes; while locked the right password is refused as well,
//! without hashing. A device that has logged in before carries a cookie, has a counter of its own, and is not touched
//! by the lock. After 100 consecutive failures unknown devices stop until the owner comes back. Repeats of the same
//! wrong password within ten minutes count once.
//!
//! ```text
//!            begin: failures + 1        the fifth                 begin: refused
//!   open ──────────────────────▶ open ───────────▶ locked(until) ────────────────▶ locked(until)
//!    ▲  finish(succeeded)          │                   │  time
//!    └─────────────────────────────┘◀── reset, unlock ─┴────────▶ open, the next failure locks twice as long
//! ```
//!
//! A cookie that fails five times is no longer known, until its count is forgotten after 24 h without a failure.
//!
//! Source: OWASP Authentication Cheat Sheet; NIST SP 800-63B-4 §3.2.2.

pub mod actor;
pub mod device;
pub mod record;
pub mod state;

pub use record::CountV1;
pub use state::{Attempt, Begin, Finish, Limits, Locked, Names, Outcome, Settled};
