#![doc = include_str!("README.md")]

use std::time::Duration;

pub mod access;
pub mod feed;
pub mod feed_places;
pub mod further_claims;
pub mod key_check;
pub mod key_files;
pub mod key_kind;
pub mod key_ring;
pub mod keys;
pub mod mark;
pub mod master;
pub mod opaque;
pub mod signing_key;

pub use access::{Claims, OwnClient, Rejected, Signer};
pub use feed::Feed;
pub use key_check::{KeyCheck, KeyMismatch};
pub use key_files::{KeyFiles, Sealing};
pub use key_kind::KeyKind;
pub use key_ring::{KEYS_MAX, KeyRing};
pub use keys::{Keys, RotateError};
pub use mark::TokenMarks;
pub use master::{Master, MasterError};
pub use signing_key::{KeyError, Scheme, scheme_of};

/// How long `/.well-known/jwks.json` may be cached, as its `Cache-Control` header says.
pub const JWKS_KEPT: Duration = Duration::from_mins(5);
