//! Single-use mailed tokens: to set a new password, to prove an address, to lift a lockout.
//!
//! **The attack:** a token is guessed, used twice, used for something else, or kept until it is worth something; the
//! answer or its time tells whether an account exists; a mailbox is flooded.
//!
//! **The rule:** 192 random bits, of which the digest alone is kept; good once, by compare-and-remove, for one purpose,
//! for a short time, and only while the account's epoch is the one it was minted under. A new one ends the one before.
//! At most three mails of a kind go to one account in an hour, silently. For an unknown name the same
//! is written, under an id that no account has, and redeemed by no secret.
//!
//! ```text
//!   mint ──▶ live ──▶ gone (redeemed | replaced | the account's other tokens ended)
//! ```
//!
//! Source: OWASP Forgot Password Cheat Sheet.

pub mod actor;
pub mod record;
pub mod state;

pub use record::{MailedV1, Purpose};
pub use state::{Invalid, Limits, MailedTokens, Mint, Redeem};
