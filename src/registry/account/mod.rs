//! Accounts: who exists.
//!
//! **The attack:** to learn who has an account, to take an address that is another's, to go on with a session after its
//! owner has changed the password.
//!
//! **The rule:** an address in its one form is one account. An address that nobody has proved belongs to nobody: the
//! next sign-up replaces the last one. Every account carries an epoch; a new password, another status or "log out
//! everywhere" raises it, and what carries another epoch is dead.
//!
//! ```text
//!   sign-up ──▶ unproved ──▶ proved ──▶ disabled
//!                │    ▲                  │   ▲
//!                └────┘ next sign-up     └───┘ an administrator, either way: epoch + 1
//! ```
//!
//! An account stays in the slot of its id when its address changes; the address is then found by its key alone. Where
//! slots are spread over several engines, the slot of the new address will need an entry that points here.
//!
//! Source: OWASP Authentication Cheat Sheet; NIST SP 800-63B-4 §3.1.1.

pub mod actor;
pub mod record;
pub mod state;

pub use record::{AccountV1, Status};
pub use state::{Accounts, Change, Refusal, SignUp, SignedUp};
