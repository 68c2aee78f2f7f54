//! Credentials that were found good a moment ago. Checking a signature costs more than all the rest of a request, and
//! asking two owners costs two ways to another thread: neither is needed while nothing was written that the verdict
//! rests on ([`crate::registry::write_counts`]).
//!
//! Kept under a digest of the credential, never the credential, and bounded.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::registry::account::AccountV1;
use crate::registry::refresh::FamilyV1;
use crate::registry::session::SessionV1;
use crate::registry::sharded_map::Shards;
use crate::registry::write_counts::Stamp;
use crate::system::clock::Timestamp;

const SHARDS: usize = 64;
/// About 1 KiB each.
const PER_SHARD: usize = 256;

/// What a credential belongs to.
#[derive(Clone, Debug)]
pub enum Held {
    /// An access token of a family.
    Family(FamilyV1),
    /// A browser session.
    Session(SessionV1),
}

/// Somebody whose credential is good now.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Who.
    pub account: AccountV1,
    /// By what.
    pub held: Held,
    /// Of an access token.
    pub times: Option<TokenTimes>,
}

/// When an access token was made and when it ends, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct TokenTimes {
    /// When it ends.
    pub exp: u64,
    /// When it was made.
    pub iat: u64,
}

impl Identity {
    /// The id of the session or family.
    pub const fn sid(&self) -> [u8; 16] {
        match &self.held {
            Held::Family(family) => family.id.to_bytes(),
            Held::Session(session) => session.id,
        }
    }
}

/// Under what a credential is kept.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(crate) struct CredentialDigest([u8; 32]);

impl CredentialDigest {
    /// `sent_by` is what else must be the same for the verdict to hold.
    pub(crate) fn of(credential: &str, sent_by: &str) -> Self {
        let digest = Sha256::new().chain_update(credential).chain_update([0]).chain_update(sent_by);
        Self(digest.finalize().into())
    }

    fn spread(self) -> usize {
        self.0.first().copied().unwrap_or_default().into()
    }
}

struct Kept {
    identity: Arc<Identity>,
    mark: Stamp,
    until: Timestamp,
}

/// Those of one engine.
#[derive(Default)]
pub(crate) struct CredentialCache(Shards<CredentialDigest, Kept, SHARDS, PER_SHARD>);

impl CredentialCache {
    /// Whose credential it is, if nothing has changed since it was found good. `mark` counts what there is to change for an
    /// identity.
    pub(crate) fn find(
        &self,
        digest: CredentialDigest,
        now: Timestamp,
        mark: impl FnOnce(&Identity) -> Stamp,
    ) -> Option<Arc<Identity>> {
        let (identity, kept) = self.0.find(digest.spread(), &digest, |kept| {
            (now < kept.until).then(|| (Arc::clone(&kept.identity), kept.mark))
        })?;
        (mark(&identity) == kept).then_some(identity)
    }

    /// Keeps a verdict. `mark` was read before its owners were asked.
    pub(crate) fn keep(
        &self,
        digest: CredentialDigest,
        identity: Arc<Identity>,
        mark: Stamp,
        until: Timestamp,
        now: Timestamp,
    ) {
        let kept = Kept { identity, mark, until };
        self.0.keep(digest.spread(), digest, kept, |kept| now >= kept.until);
    }
}
