//! Accounts: who exists.
//!
//! **The attack:** to learn who has an account, to take an address that belongs to another person, to go on using a
//! session after the owner of the account has changed the password.
//!
//! **The rule:** an address in its canonical form is one account. A sign-up becomes an account once its address is
//! proved (`sign_up/`). An account whose address is not proved is one that an administrator made, or one of an earlier
//! version, where sign-ups were accounts: a link that proves its address makes the password of the former usable, and
//! takes the password of the latter away. Every account has an epoch. A new password, another address, another status or
//! "log out everywhere" raises it, and a credential of an earlier epoch is invalid. When a role is taken away, access
//! tokens issued before are invalid; sessions live on and get new ones.
//!
//! ```text
//!   a proved sign-up ──────────────────▶ proved ◀──▶ disabled
//!                                          ▲         an administrator, either way: epoch + 1
//!   an administrator ──▶ unproved ── link ─┘
//! ```
//!
//! **A change of address** can be undone for a time. As long as it can, the account remembers the former address, which
//! nobody else may have, and the passwords that were in force within three days before the change. So each account
//! remembers the passwords that were replaced within three days, four at most, of which the oldest stay: a thief who
//! changes the password before the address leaves the owner's among them.
//!
//! **An import** creates the accounts of another system, many in one message: see `import.rs`. Of these, what is not proved is
//! not vouched for either: whoever signed up there with the address of another person must not keep a password here.
//!
//! **What else an account carries** is a language, two JSON objects and the id of another program: see `extra.rs`. A change of
//! that raises no epoch. An account to which an administrator has given some of it holds its address like one with roles.
//!
//! An account stays in the slot of its id when its address changes; after that only the key of the address finds it.
//! Once slots are spread over several engines, the slot of the new address will need an entry that points to the
//! account.
//!
//! Source: OWASP Authentication Cheat Sheet; NIST SP 800-63B-4 §3.1.1.

pub mod actor;
pub mod command;
mod extra;
pub mod foreign;
pub mod import;
pub mod record;
pub mod state;
pub mod stored_costs;
mod told;

pub use command::{Altered, Change, FormerChange, Holder, Origin, Refusal, SignUp, SignedUp};
pub use extra::ExtraChange;
pub use foreign::Limits;
pub use record::{AccountExtraV1, AccountV4, Status};
pub use state::{ADMIN, Accounts, is_admin};
pub use told::created_bytes;
