#![doc = include_str!("README.md")]

use std::time::Duration;

pub mod access;
pub mod feed;
pub mod keys;
pub mod mark;
pub mod opaque;
pub mod signing_key;

pub use access::{Claims, LEEWAY_SECS, Rejected, Signer};
pub use feed::Feed;
pub use keys::Keys;
pub use mark::TokenMarks;
pub use signing_key::{KeyError, Scheme, scheme_of};

/// How long `/.well-known/jwks.json` may be cached, as its `Cache-Control` header says.
pub const JWKS_KEPT: Duration = Duration::from_mins(5);
