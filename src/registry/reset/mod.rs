//! Single-use mailed tokens: they set a password, prove an address, or lift a lockout.
//!
//! **The attack:** a token is guessed, used twice, used for another purpose, or kept until it is worth something; the
//! answer or its time reveals whether an account exists; a mailbox is flooded; a stranger asks for links until the owner
//! gets none, or until the one in the owner's hand is dead.
//!
//! **The rule:** a token has 192 bits that nobody can guess, of which only the digest is kept. It is good once, by
//! compare-and-remove, for one purpose, for a short time, and only while the account's epoch is the one it was minted
//! under. Its secret is derived from its id and a key of the server, so that a further request mails the *same* link and
//! extends its life: no request ends a link that was mailed. For an unknown name the same is written, under an id that
//! no account has, and no secret redeems it.
//!
//! **The quotas** ([`quotas`]): three mails of a kind to one account in an hour, one of which is kept for a network that
//! has not asked; ten mails that one network causes; a bound for each domain. Operators and owners have quotas apart
//! from those of strangers. Beyond a quota a stranger gets the same answer. Whoever asks for an account without a live link
//! gets one whatever was sent to the account before: else three requests would keep the owner out for the rest of the
//! hour, since a link lives for half of it.
//!
//! ```text
//!   mint ──▶ live ──▶ gone (redeemed | expired | the account's tokens ended)
//!            │  ▲
//!            └──┘ asked for again: the same token, for its whole life
//! ```
//!
//! Source: OWASP Forgot Password Cheat Sheet.

pub mod actor;
pub mod first_asks;
pub mod quotas;
pub mod record;
pub mod state;

pub use quotas::{Cause, Wish};
pub use record::{MailedV1, MailedV2, Purpose};
pub use state::{Invalid, Limits, LinkUse, MailedTokens, Mint, Minted, Redeem, Renewal};
