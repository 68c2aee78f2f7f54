//! Lockout: failed attempts by account name, and known devices.
//!
//! **The attack:** passwords are guessed, many at once; or they are guessed only to lock the owner out.
//!
//! **The rule:** attempts are counted against the *typed* name, whether or not an account has it. An attempt counts as
//! failed from the moment it is admitted; a success gives it back. Five failures from unknown devices lock the name for
//! unknown devices, for 1, 2, 4 … 60 minutes. While the name is locked the right password is refused as well, without
//! hashing. A device that has logged in before has a cookie and a counter of its own, and the lock does not concern it.
//! After 100 consecutive failures unknown devices are refused until the owner comes back: by a reset, by the link in
//! the lockout mail, or from a known device. The same wrong password again within ten minutes counts once.
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
//!   known device:  known ── five failures without a success ──▶ unknown for good
//! ```
//!
//! With time the ladder of locks is forgotten, but neither the count towards the hundred nor the failures of a device,
//! or a patient attacker would begin anew each day. So against one account, from any number of networks, an attacker
//! has 34 guesses in 24 hours, and 100 in all without an act of the owner. When a user who is logged in is asked for
//! the password again, the session counts as a device of its own, so that strangers cannot keep the owner from changing
//! the password.
//!
//! A log-out ends the session and leaves the device known, because it does not say whose browser it is. So no answer
//! has the header `Clear-Site-Data`, which would clear the device cookie as well.
//!
//! Unknown names are counted alike. The table holds at most a million names; the least locked one gives way.
//!
//! Source: OWASP Authentication Cheat Sheet; NIST SP 800-63B-4 §3.2.2.

pub mod actor;
pub mod count;
pub mod device;
pub mod record;
mod repeats;
pub mod state;
pub mod turns;

pub use count::Limits;
pub use device::DeviceCookie;
pub use record::{CountV1, CountV2};
pub use state::{
    Attempt, AttemptOutcome, Begin, Caller, Device, Finish, Lockouts, Refused, Settled, UsedDevice,
};
pub use turns::Turns;
