//! What the journal remembers of files that it does not hold: a check value of every key, and that the log of security
//! events has a record of its end.
//!
//! **The attack:** the server is started with keys of another installation, or with a damaged one, and takes every
//! account for unknown. Or a signing key comes back that was retired, or that a restore has ended, with an old copy of the
//! directory of the keys: tokens of a thief are good again. Or lines are cut off the end of the log of security events, and `audit.end`, which would tell, is
//! removed with them: a directory of before that file was known looks the same.
//!
//! **The rule:** whatever is here must agree with the files at a start: the keys, or the start is refused
//! ([`key_check`](crate::token::key_check)); and the end of the log, or the missing lines are reported
//! ([`audit`](crate::audit)). Signing keys are remembered as long as they verify; a start sets aside the file of any other
//! ([`key_loading`](crate::engine::key_loading)), and one that is missing is no reason to refuse. A key is remembered before anything is written with it is acknowledged, and forgotten before
//! its file is removed, so no crash leaves a key that is remembered and not there. Nothing is remembered of a directory
//! of an earlier version until its next start. Records lie in the server's own slot, 0xFFFF, which no account has.
//!
//! ```text
//!   unknown ──▶ remembered ──▶ forgotten (nothing lives that the key made)
//! ```
//!
//! Source: the key check value of ANSI X9.24, here an HMAC.

pub mod actor;
pub mod record;
pub mod state;

pub use record::{CheckedFile, FileCheckV1};
pub use state::FileChecks;
