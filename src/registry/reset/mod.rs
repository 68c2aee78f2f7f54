//! Single-use mailed tokens: they set a new password, prove an address, or lift a lockout.
//!
//! **The attack:** a token is guessed, used twice, used for another purpose, or kept until it is worth something; the
//! answer or its time reveals whether an account exists; a mailbox is flooded.
//!
//! **The rule:** a token has 192 random bits, of which only the digest is kept. It is good once, by compare-and-remove,
//! for one purpose, for a short time, and only while the account's epoch is the one it was minted under. A new token
//! ends the one before. At most three mails of a kind go to one account in an hour; further requests are answered
//! alike. For an unknown name the same is written, under an id that no account has, and no secret redeems it.
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
