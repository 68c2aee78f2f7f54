//! Lockout: failed attempts by account name, and known devices.
//!
//! **The attack:** passwords are guessed, many at once; or they are guessed only to lock the owner out; or cookies of known
//! devices are stolen, or kept from a time when the password was known, to do either.
//!
//! **The rule:** attempts are counted against the *typed* name, whether or not an account has it. An attempt counts as
//! failed from the moment it is admitted; a success gives it back. Five failures from unknown devices lock the name for
//! unknown devices, for 1, 2, 4 … 60 minutes. While the name is locked the right password is refused as well, without
//! hashing. After 20 failures in 24 hours, or 80 since the owner last logged in, unknown devices are refused until the
//! day is over, or until the owner comes back: by a reset, by the link in the lockout mail, or from a known device. The
//! same wrong password again within a day of its last try is not counted.
//! A password that is sent beside a mailed link is counted under a key that stands for the link, in place of a name.
//!
//! A device that has logged in has a [cookie](device) and a place on the list of the account, and the lock does not
//! concern it. It has five failures between two successes; after those it is a stranger for good, and the owner is told.
//! All devices of a name together have 20 failures in 24 hours, and 20 since the owner last logged in from anywhere. Of
//! these one is kept for each device that has not failed, so that one always gets in, whatever strangers and thieves of
//! other cookies do. When a user who is logged in is asked for the password again, the session counts as a device of its
//! own, and four failures are kept for sessions.
//!
//! ```text
//!            begin: failures + 1        the fifth                 begin: refused
//!   open ──────────────────────▶ open ───────────▶ locked(until) ────────────────▶ locked(until)
//!    ▲  finish(succeeded)          │                   │  time
//!    └─────────────────────────────┘◀── reset, unlock ─┴────────▶ open, the next failure locks twice as long
//!    │                                                  24 h without a failure: the ladder begins anew
//!    │        the eightieth failure since the owner was last here
//!    └─▶ … ────────────────────────▶ stopped for strangers ──── reset, unlock, known device ────▶ open
//!
//!   device:  listed ── five failures without a success ──▶ a stranger for good
//!              │  ▲
//!              └──┘ log-in: no failures, and a year more
//!            listed ── new password, log-out everywhere, the owner's word, a restore, another account,
//!                      a year unused ──▶ a stranger
//! ```
//!
//! With time the ladder of locks is forgotten, but neither the counts towards the cap nor the failures of a device, or a
//! patient attacker would begin anew each day. So against one account, from any number of networks and with any number of
//! cookies, an attacker has 40 guesses in 24 hours, and 100 in all without an act of the owner.
//!
//! An account has 16 devices at most, which bounds what a thief of all of them can do. In a full list the family of
//! browsers that holds most places gives up the device that was unused longest.
//!
//! What unknown devices meet depends on unknown devices alone. Otherwise a name would show by its locks whether it has an
//! account with known devices.
//!
//! Attempts that are [in flight](turns) are failures to nobody: others of the name wait until they are settled.
//!
//! A log-out ends the session and leaves the device known, because it does not say whose browser it is. So no answer
//! has the header `Clear-Site-Data`, which would clear the device cookie as well.
//!
//! Unknown names are counted alike. The table holds at most a million of them (half a million beside very many accounts);
//! the least locked one gives way. A name with an account stays for as long as one of its devices.
//!
//! Source: OWASP Authentication Cheat Sheet; NIST SP 800-63B-4 §3.2.2.

pub mod actor;
pub mod count;
pub mod device;
pub mod record;
mod repeats;
pub mod state;
pub mod turns;

pub use count::{AskedSession, Limits};
pub use device::DeviceCookie;
pub use record::{CountV1, CountV2};
pub use state::{
    Attempt, AttemptOutcome, Begin, Caller, Device, Finish, LockState, Lockouts, NewDevice, Refused, Settled,
    UsedDevice,
};
pub use turns::Turns;
