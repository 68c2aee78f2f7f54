//! Access tokens and the server's keys.
//!
//! **The attack:** a token is forged, changed, signed by another key or algorithm, used for another audience, or used
//! after its session has ended.
//!
//! **The rule:** ES256, or EdDSA by `token.algorithm`, 15 minutes, `typ` `at+jwt`; the algorithm is pinned, `kid` names one
//! of our own keys and nothing else; issuer, audience and time are checked. At our own endpoints a token also dies with its
//! session and with its account's epoch, at once. A new key is published ten minutes before it signs
//! (`token.publish_ahead_secs`), so that whoever keeps the published keys knows it when its first token comes. One that
//! may have leaked is taken out at once, here and by the feed; then the newest of the others whose time has come signs.
//!
//! Source: RFC 9068, RFC 8725.

use std::time::Duration;

pub mod access;
pub mod feed;
pub mod keys;
pub mod opaque;
pub mod signing_key;

pub use access::{Claims, Rejected, Signer};
pub use feed::Feed;
pub use keys::Keys;
pub use signing_key::{KeyError, Scheme, scheme_of};

/// For so long may `/.well-known/jwks.json` be kept, as its `Cache-Control` says.
pub const JWKS_KEPT: Duration = Duration::from_mins(5);
