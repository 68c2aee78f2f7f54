//! Browser sessions in cookies.
//!
//! **The attack:** a cookie is guessed, stolen, or planted before the log-in (fixation).
//!
//! **The rule:** the cookie is a fresh 192-bit secret at every log-in, of which the server keeps the digest alone. It
//! ends when it is not used, at its absolute end, at log-out, and when its account's epoch moves. Its last use is
//! written down at most once a minute. It is not bound to an address, which would log mobile users out; but a browser of
//! another [family](agent) than it was opened with is asked for the password. A log-in ends the session that the browser
//! had before.
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

pub use record::SessionV1;
pub use state::{Limits, OpenSession, Sessions};
