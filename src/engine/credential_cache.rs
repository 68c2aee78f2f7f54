//! A cache of credentials that were verified a moment ago.
//!
//! Verifying a signature costs more than the rest of a request, and asking two owners costs two messages to another thread.
//! Neither is needed while nothing was written that the verdict rests on: an entry carries the [`Stamp`] of the write counts
//! as they were before its owners were asked, and is valid only while the counts stand still
//! ([`crate::registry::write_counts`]).
//!
//! Entries are keyed by a digest of the credential, never by the credential, and their number is bounded.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::registry::account::AccountV4;
use crate::registry::refresh::{Audience, FamilyV3};
use crate::registry::session::SessionV2;
use crate::registry::sharded_map::Shards;
use crate::registry::write_counts::Stamp;
use crate::system::clock::Timestamp;
use crate::value::id::{AccountId, hex};

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
    /// Returns the epoch of the account, and the global one, that its credential was issued under.
    pub const fn epochs(&self) -> (u64, u64) {
        match self {
            Self::Family(family) => (family.auth_epoch, family.global_epoch),
            Self::Session(session) => (session.auth_epoch, session.global_epoch),
        }
    }

    /// Returns when it was last used or refreshed, in milliseconds since 1970.
    pub const fn used_ms(&self) -> u64 {
        match self {
            Self::Family(family) => family.rotated_ms,
            Self::Session(session) => session.used_ms,
        }
    }

    /// Returns the audience of its credential. A session by cookie is for the endpoints here alone.
    pub const fn audience(&self) -> Audience {
        match self {
            Self::Family(family) => family.audience,
            Self::Session(_) => Audience::App,
        }
    }
}

/// An account whose credential was verified.
#[derive(Clone)]
pub struct Identity {
    /// The account that the credential belongs to.
    #[doc(hidden)]
    pub account: AccountV4,
    /// The session or token family it was issued for.
    #[doc(hidden)]
    pub held: Held,
    /// Issue and expiry time; `None` for a session cookie.
    #[doc(hidden)]
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

impl fmt::Debug for Identity {
    /// Shows ids alone: no address, no digest of a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = self.session_id();
        let mut shown = f.debug_struct("Identity");
        shown.field("account_id", &self.account_id()).field("session_id", &session).finish_non_exhaustive()
    }
}

impl Identity {
    /// Returns the id of the account.
    pub fn account_id(&self) -> AccountId {
        self.account.account_id()
    }

    /// Returns the address of the account.
    pub fn email(&self) -> &str {
        &self.account.email
    }

    /// Says whether the owner has proved that mail to the address reaches them.
    pub const fn is_email_verified(&self) -> bool {
        self.account.email_verified
    }

    /// Returns the name that the owner wants to be called by.
    pub fn name(&self) -> Option<&str> {
        self.account.name.as_deref()
    }

    /// Returns the roles of the account, sorted.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.account.roles.iter().map(|role| &**role)
    }

    /// Says whether the account has this role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles().any(|held| held == role)
    }

    /// Returns the id of the session or token family, as `/v1/sessions` shows it.
    pub fn session_id(&self) -> String {
        hex(&self.sid())
    }

    /// Returns when the user proved who they are, as far as this credential says.
    pub fn authenticated_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.proved().0)
    }

    /// Returns the methods by which the session or family was opened, as bits.
    pub(crate) const fn methods(&self) -> u16 {
        match &self.held {
            Held::Family(family) => family.methods,
            Held::Session(session) => session.methods,
        }
    }

    /// Returns when the user proved who they are, as far as this credential says. A proof is that of one access token:
    /// another one of the family does not become fresh with it, since a copy of it would as well.
    pub(crate) fn proved(&self) -> Timestamp {
        match (&self.held, &self.times) {
            (Held::Family(family), Some(times)) => {
                // The token names the second alone.
                let exact = [family.proved_ms, family.issued_ms].map(Timestamp);
                let exact = exact.into_iter().find(|at| at.as_secs() == times.proved.as_secs());
                exact.unwrap_or(times.proved)
            }
            (Held::Family(family), None) => Timestamp(family.proved_ms),
            (Held::Session(session), _) => Timestamp(session.proved_ms),
        }
    }

    /// Returns the id of the session or token family.
    #[doc(hidden)]
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

    /// Returns the digest.
    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
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
