//! A cache of credentials that were verified a moment ago.
//!
//! Verifying a signature costs more than the rest of a request, and asking two owners costs two messages to another thread.
//! Neither is needed while nothing was written that the verdict rests on: an entry carries the [`Stamp`] of the write counts
//! as they were before its owners were asked, and is valid only while the counts stand still
//! ([`crate::registry::write_counts`]).
//!
//! Entries are keyed by a digest of the credential, never by the credential, and their number is bounded.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::registry::account::AccountV4;
use crate::registry::refresh::{Audience, FamilyV3};
use crate::registry::session::SessionV2;
use crate::registry::sharded_map::Shards;
use crate::registry::write_counts::Stamp;
use crate::system::clock::Timestamp;

const SHARDS: usize = 64;
/// About 1 KiB each. What an account carries beside that is shared with the registry as long as it has not changed there; of
/// one that has changed, an entry keeps 8 KiB more at most.
const PER_SHARD: usize = 256;

/// The session or token family that a credential was issued for.
#[derive(Clone, Debug)]
pub enum Held {
    /// An access token of a family.
    Family(FamilyV3),
    /// A browser session.
    Session(SessionV2),
}

impl Held {
    /// Returns the audience of its credential. A session by cookie is for the endpoints here alone.
    pub const fn audience(&self) -> Audience {
        match self {
            Self::Family(family) => family.audience,
            Self::Session(_) => Audience::App,
        }
    }
}

/// An account whose credential was verified.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The account that the credential belongs to.
    pub account: AccountV4,
    /// The session or token family it was issued for.
    pub held: Held,
    /// Issue and expiry time; `None` for a session cookie.
    pub times: Option<TokenTimes>,
}

/// The issue and expiry time of an access token, in seconds since 1970 by the system's clock.
#[derive(Clone, Copy, Debug)]
pub struct TokenTimes {
    /// The expiry time.
    pub exp: u64,
    /// The issue time.
    pub iat: u64,
    /// When the user last proved who they are, by the engine's clock.
    pub proved: Timestamp,
}

impl Identity {
    /// Returns the id of the session or token family.
    pub const fn sid(&self) -> [u8; 16] {
        match &self.held {
            Held::Family(family) => family.id.to_bytes(),
            Held::Session(session) => session.id,
        }
    }
}

/// The key of an entry: a digest of the credential.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(crate) struct CredentialDigest([u8; 32]);

impl CredentialDigest {
    /// Computes the key of an access token that came as a bearer.
    pub(crate) fn of_bearer(token: &str) -> Self {
        Self(Sha256::new().chain_update(b"bearer").chain_update([0]).chain_update(token).finalize().into())
    }

    /// Computes the key of a session cookie. The verdict holds only for requests of the same family of browsers, and never
    /// for the same text as a bearer, which needs no protection against CSRF.
    pub(crate) fn of_cookie(cookie: &str, browser: &str) -> Self {
        let digest = Sha256::new().chain_update(b"cookie").chain_update([0]).chain_update(cookie);
        Self(digest.chain_update([0]).chain_update(browser).finalize().into())
    }

    fn spread(self) -> usize {
        self.0.first().copied().unwrap_or_default().into()
    }
}

struct Kept {
    identity: Arc<Identity>,
    stamp: Stamp,
    until: Timestamp,
}

/// The cache of one engine.
#[derive(Default)]
pub(crate) struct CredentialCache(Shards<CredentialDigest, Kept, SHARDS, PER_SHARD>);

impl CredentialCache {
    /// Returns the identity of a credential if nothing it rests on has changed. `stamp` reads the write counts for an identity.
    pub(crate) fn find(
        &self,
        digest: CredentialDigest,
        now: Timestamp,
        stamp: impl FnOnce(&Identity) -> Stamp,
    ) -> Option<Arc<Identity>> {
        let (identity, kept) = self.0.find(digest.spread(), &digest, |kept| {
            (now < kept.until).then(|| (Arc::clone(&kept.identity), kept.stamp))
        })?;
        (stamp(&identity) == kept).then_some(identity)
    }

    /// Keeps a verdict until `until`. `stamp` was read before the owners were asked.
    pub(crate) fn keep(
        &self,
        digest: CredentialDigest,
        identity: Arc<Identity>,
        stamp: Stamp,
        until: Timestamp,
        now: Timestamp,
    ) {
        let kept = Kept { identity, stamp, until };
        self.0.keep(digest.spread(), digest, kept, |kept| now >= kept.until);
    }
}
