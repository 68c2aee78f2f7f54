//! API keys: credentials of other services, which are no person's log-in.
//!
//! **The attack:** a service that reads the feed, introspects tokens or scrapes metrics has the password of an account
//! with a role, and whoever finds it in a configuration is that account. Or a key is copied and works for ever, or
//! reaches further than its purpose.
//!
//! **The rule:** an API key holds a fresh 192-bit secret, of which the server keeps only the digest. It reaches the
//! endpoints of its scopes and no other, ends 400 days after it was made at the latest, is listed with its last use, and
//! is dead the moment it is deleted. A restore from a backup ends all of them, since one that was deleted after the
//! backup would be alive again. At most 1,000 exist at a time. Its records lie in the server's own slot, 0xFFFF, which
//! no account has.
//!
//! ```text
//!   made ──▶ alive ──▶ gone (deleted)
//!             │ ▲
//!             └─┘ used, written once an hour       "expired" is a function of (record, now)
//! ```
//!
//! Source: OWASP REST Security Cheat Sheet; RFC 6750 §5.3 (short lives, scopes).

pub mod actor;
pub mod record;
pub mod state;

pub use record::{ApiKeyV1, Scope};
pub use state::{API_KEYS_MAX, ApiKeys, LIFE_MAX};
