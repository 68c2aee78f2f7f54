//! Lockout: failed attempts per account name, and the devices that are known.
//!
//! **The attack:** passwords are guessed, many at once; or they are guessed only to lock the owner out.
//!
//! **The rule:** attempts are counted against the *typed* name, whether or not there is such an account. An attempt
//! counts as failed from the moment it is admitted and is given back on success. Five failures from unknown devices
//! lock the name for unknown devices, for 1, 2, 4 … 60 minutes; while locked the right password is refused as well,
//! without hashing. A device that has logged in before carries a cookie, has a counter of its own, and is not touched
//! by the lock. After 100 consecutive failures unknown devices stop until the owner comes back: by a reset, by the link
//! in the lockout mail, or from a known device. Repeats of the same wrong password within ten minutes count once.
//!
//! ```text
//!            begin: failures + 1        the fifth                 begin: refused
//!   open ──────────────────────▶ open ───────────▶ locked(until) ────────────────▶ locked(until)
//!    ▲  finish(succeeded)          │                   │  time
//!    └─────────────────────────────┘◀── reset, unlock ─┴────────▶ open, the next failure locks twice as long
//!    │                                                  24 h without a failure: the ladder begins anew
//!    │        the hundredth failure since the owner was last here
//!    └─▶ … ────────────────────────▶ stopped for strangers ──── reset, unlock, known device ────▶ open
//!
//!   known device:  standing ── five failures without a success ──▶ none: a stranger, for good
//! ```
//!
//! Time makes the ladder of locks forgotten, but neither what counts towards the hundred nor what a device has done: a
//! patient guesser would begin anew each day. So against one account, from however many networks, 34 guesses are had in
//! 24 hours and 100 ever without an act of its owner. A session of somebody who is logged in counts as a device of its
//! own where it is asked for the password again, so that strangers cannot keep the owner from changing it.
//!
//! A log-out ends the session and leaves the device known: it says nothing of whose browser it is. So no answer carries
//! `Clear-Site-Data`, which would clear this cookie as well.
//!
//! Unknown names are counted alike, in a table of at most a million; the least locked gives way.
//!
//! Source: OWASP Authentication Cheat Sheet; NIST SP 800-63B-4 §3.2.2.

pub mod actor;
pub mod count;
pub mod device;
pub mod record;
mod repeats;
pub mod state;

pub use count::Limits;
pub use record::CountV1;
pub use state::{Attempt, Begin, Finish, Locked, Lockouts, Outcome, Settled};
