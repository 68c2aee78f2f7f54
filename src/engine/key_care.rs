//! How a server looks after its keys: it loads them, changes them by age or on demand, and removes those of which
//! nothing lives.
//!
//! | kind | an older key verifies for | because that long lives |
//! |---|---|---|
//! | signing | `token.access_ttl_secs` + 30 s after its successor began to sign | an access token |
//! | edge | the longest life of an opaque token, 400 days | an API key; sessions, refresh and mailed tokens live shorter |
//! | device | 366 days | a device cookie |
//! | csrf | the longest life of a session | the page that holds the token |
//! | outbox | 8 days | a mail that waits, and its link |
//! | directory, audit | they never change | every record was placed, and every line sealed, with them |

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::key_loading;
use super::services::Services;
use crate::config::Config;
use crate::registry::api_key;
use crate::system::clock::Timestamp;
use crate::token::feed::Ended;
use crate::token::keys::RINGS;
use crate::token::signing_key::Signing;
use crate::token::{self, KeyFiles, KeyKind, Keys, RotateError};

/// Longer than a browser keeps a device cookie, which is a year.
const DEVICE_LIFE: Duration = Duration::from_hours(24 * 366);
/// Longer than a mail waits in the outbox, and than the link in it lives.
const OUTBOX_LIFE: Duration = Duration::from_hours(24 * 8);

/// Returns how long an older key of a ring still verifies.
fn life(config: &Config, kind: KeyKind) -> Duration {
    let session = config.session.absolute.max(config.session.remember_absolute);
    match kind {
        KeyKind::Edge => {
            let mailed = config.reset.reset.max(config.reset.verify).max(OUTBOX_LIFE);
            session.max(config.refresh.absolute).max(mailed).max(api_key::LIFE_MAX)
        }
        KeyKind::Device => DEVICE_LIFE,
        KeyKind::Csrf => session,
        KeyKind::Outbox => OUTBOX_LIFE,
        KeyKind::Signing => key_loading::overlap(config),
        KeyKind::Directory | KeyKind::Audit => Duration::MAX,
    }
}

/// The changes that a look at the keys has made.
#[derive(Debug, Default)]
pub struct Tended {
    /// A signing key that was made because the newest was old, and when it begins to sign.
    pub made: Option<(String, Timestamp)>,
    /// Keys of which nothing lived any more. They are gone.
    pub dropped: Vec<String>,
}

/// A key of a ring, for operators.
#[derive(Clone, Debug)]
pub struct ListedKey {
    /// Its id: the kind and a number.
    pub kid: String,
    /// Its use.
    pub kind: KeyKind,
    /// Since when it is in use. Zero if no file says so.
    pub from: Timestamp,
    /// When it will be removed; `None` for the newest.
    pub until: Option<Timestamp>,
}

impl Services {
    /// Makes a new key of `kind`. Older ones still verify, each as long as something lives that it made. Returns the id
    /// of the new key and from when it is used: a signing key is published now and signs after
    /// `token.publish_ahead_secs`.
    pub fn rotate_key(&self, kind: KeyKind) -> Result<(String, Timestamp), RotateError> {
        let files = self.key_files.lock();
        let now = self.clock.now();
        if kind != KeyKind::Signing {
            let (kid, from) = self.keys.rotate_ring(&files, kind, now)?;
            return Ok((format!("{}-{kid}", kind.name()), from));
        }
        let from = now + self.config.token.publish_ahead;
        let signing = Keys::add_signing(&files, self.config.token.algorithm, from)?;
        self.replace_signer(&signing)?;
        let signer = self.signer.read();
        let (kid, from) = signer.newest().unwrap_or_default();
        Ok((kid.to_owned(), from))
    }

    /// Removes a signing key for good: tokens that it signed are refused, here at once and at resource servers by the
    /// feed. Returns false if there is no such key.
    pub fn retire_signing_key(&self, kid: &str) -> std::io::Result<bool> {
        let files = self.key_files.lock();
        let now = self.clock.now();
        // A key that is over must not come back when its successor goes.
        self.drop_over(&files, now)?;
        let retired = Keys::retire_signing(&files, kid, self.config.token.algorithm, now)?;
        let Some(signing) = retired else { return Ok(false) };
        self.replace_signer(&signing)?;
        self.everything_changed.fetch_add(1, Ordering::SeqCst);
        self.revoked.push(Ended::Kid(kid.to_owned()), self.clock.system_now());
        Ok(true)
    }

    /// Returns the keys of rings of which nothing lives any more.
    pub fn expired_keys(&self) -> Vec<(KeyKind, u8)> {
        let now = self.clock.now();
        let of_kind = |kind| {
            let expired = self.keys.expired(kind, life(&self.config, kind), now);
            expired.into_iter().map(move |kid| (kind, kid))
        };
        RINGS.into_iter().flat_map(of_kind).collect()
    }

    /// Changes the signing key if it is older than `token.key_days`, and removes the signing keys of which nothing lives,
    /// and the keys `expired`, which the journal must have forgotten. To be called every second or so.
    pub fn tend_keys(&self, expired: &[(KeyKind, u8)]) -> Result<Tended, RotateError> {
        let now = self.clock.now();
        let mut tended = Tended::default();
        {
            let files = self.key_files.lock();
            tended.dropped = self.drop_over(&files, now)?;
            for (kind, kid) in expired {
                self.keys.drop_key(&files, *kind, *kid)?;
                tended.dropped.push(format!("{}-{kid}", kind.name()));
            }
        }
        let newest = self.signer.read().newest().map_or(now, |(_, from)| from);
        let age_max = Duration::from_secs(self.config.token.key_days * 86_400);
        if now.since(newest) >= age_max {
            tended.made = Some(self.rotate_key(KeyKind::Signing)?);
        }
        Ok(tended)
    }

    /// Returns the keys of all rings, newest first.
    pub fn listed_keys(&self) -> Vec<ListedKey> {
        let mut listed = Vec::new();
        for kind in RINGS {
            let mut successor: Option<Timestamp> = None;
            for (kid, from) in self.keys.ring(kind).map(token::KeyRing::listed).unwrap_or_default() {
                let until = successor.map(|successor| successor + life(&self.config, kind));
                listed.push(ListedKey { kid: format!("{}-{kid}", kind.name()), kind, from, until });
                successor = Some(from);
            }
        }
        listed
    }

    /// Removes the signing keys that are over, and returns their ids.
    fn drop_over(&self, files: &KeyFiles, now: Timestamp) -> std::io::Result<Vec<String>> {
        let over = self.signer.read().over(now);
        if !over.is_empty() {
            let left = Keys::drop_signing(files, |kid| over.iter().any(|over| over == kid))?;
            self.replace_signer(&left)?;
            // A verdict on a token of such a key may still be cached.
            self.everything_changed.fetch_add(1, Ordering::SeqCst);
        }
        Ok(over)
    }

    fn replace_signer(&self, signing: &[Signing]) -> std::io::Result<()> {
        *self.signer.write() = key_loading::signer(&self.config, signing).map_err(std::io::Error::other)?;
        Ok(())
    }
}
