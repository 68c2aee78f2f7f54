//! Invitations: an administrator lets somebody have an account, with roles that are given in advance.
//!
//! **The attack:** the link is guessed, used twice, used by two at once, or after it was withdrawn; somebody asks with wrong
//! links who was invited; an administrator who is none any more still gives roles by a link of before; a stolen
//! administrator's session mails the whole world.
//!
//! **The rule:** the link holds 192 random bits, of which only the digest is kept. It is good once, by compare-and-remove,
//! until its end, and only until another one for the same address is sent. Each use but the good one has the same answer; the
//! request that made the account is answered alike again for ten minutes, which [`registry::reset`] remembers.
//! Roles that are given in advance count only as long as their giver may give them. One administrator mails
//! [`MAILS_PER_HOUR`] invitations in an hour, and [`INVITATIONS_MAX`] are open at once.
//!
//! ```text
//!   sent ──▶ open ──▶ gone (accepted | withdrawn | another one for the address | expired | restored from a backup)
//! ```
//!
//! It is removed before the account is made, so that no link makes two. A crash in between costs one more mail.
//!
//! Source: OWASP Forgot Password Cheat Sheet, on links by mail.
//!
//! [`registry::reset`]: crate::registry::reset

pub mod actor;
pub mod record;
pub mod state;

pub use record::{InvitationV1, Inviter};
pub use state::{INVITATIONS_MAX, Invitations, Invite, MAILS_PER_HOUR, Refused};
