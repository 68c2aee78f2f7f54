//! Browser sessions.
//!
//! **The attack:** a session cookie is guessed, stolen, or planted before the log-in (fixation).
//!
//! **The rule:** the cookie holds a fresh 192-bit secret at every log-in, of which the server keeps only the digest.
//! The session ends when it is unused for too long, at its absolute end, at log-out, and when the epoch of its account
//! is raised. Its last use is journalled at most once a minute. It is not bound to an address, which would log mobile
//! users out; but a browser of another [family](agent) than the one that logged in must log in again. A log-in ends the
//! session that the browser had before.
//!
//! ```text
//!   log-in ──▶ alive ──▶ gone (log-out, list of sessions)
//!               │ ▲
//!               └─┘ used            "expired" is a function of (record, now)
//! ```
//!
//! Source: OWASP Session Management Cheat Sheet.

pub mod actor;
pub mod agent;
pub mod record;
pub mod state;

pub use record::SessionV2;
pub use state::{Limits, OpenSession, OpenedSession, Sessions};
