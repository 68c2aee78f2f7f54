//! Accounts: who exists.
//!
//! **The attack:** to learn who has an account, to take an address that belongs to another person, to go on using a
//! session after the owner of the account has changed the password.
//!
//! **The rule:** an address in its canonical form is one account. An address that was never proved belongs to nobody
//! yet: the next sign-up replaces the last one. Every account has an epoch. A new password, another status or "log out
//! everywhere" raises it, and a credential of an earlier epoch is invalid.
//!
//! ```text
//!   sign-up ──▶ unproved ──▶ proved ──▶ disabled
//!                │    ▲                  │   ▲
//!                └────┘ next sign-up     └───┘ an administrator, either way: epoch + 1
//! ```
//!
//! An account stays in the slot of its id when its address changes; after that only the key of the address finds it.
//! Once slots are spread over several engines, the slot of the new address will need an entry that points to the
//! account.
//!
//! Source: OWASP Authentication Cheat Sheet; NIST SP 800-63B-4 §3.1.1.

pub mod actor;
pub mod record;
pub mod state;
pub mod stored_costs;

pub use record::{AccountV2, Status};
pub use state::{Accounts, Change, FormerChange, Refusal, SignUp, SignedUp};
