//! Sign-ups that wait for the proof of their address. None of them is an account yet.
//!
//! **The attack:** a stranger signs up with the address of somebody else and waits for its owner to follow a link in a
//! mail, so that the stranger's password opens the owner's account; or pushes the owner's own sign-up out; or asks at
//! the log-in whether somebody has signed up; or signs up without end, to fill the memory and the disk.
//!
//! **The rule:** a sign-up has two halves. Its link goes to the mailbox, its other half to the browser that signed up.
//! Both together make the account, with the password of that sign-up. The link alone proves the address and nothing
//! else: every password that waits for the address is dropped, and its owner sets a new one. An address has three
//! sign-ups at most, of which none gives way to a fourth: that one gets the same answer, the last link is mailed again,
//! and its half opens nothing. All addresses together have 100,000, the oldest giving way. Each is gone after
//! `signup.verify_ttl_secs`. For an address that has an account a record of the same length is written, which no half
//! and no link opens.
//!
//! ```text
//!             ┌─ both halves ──▶ opening ──▶ opened ─┐
//!   waiting ──┤                  (until the account  ├─▶ gone, an hour later
//!      │      └─ link alone ───▶ proved   exists)  ──┘
//!      └──▶ gone (out of time | another sign-up of the address is proved | an administrator makes the account |
//!                 100,000 younger ones)
//! ```
//!
//! For an hour the same link and half get the same answer: a browser asks twice, and a crash may come between the halves
//! and the account. The password stays in the record until the account exists, and no longer.
//!
//! Source: Sudhodanan and Paverd, "Pre-hijacked accounts", USENIX Security 2022.

pub mod actor;
pub mod invitation;
pub mod record;
pub mod state;

pub use record::{SignUpV2, Stage};
pub use state::{Begin, Limits, Proof, SignUps};
