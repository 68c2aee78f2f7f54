//! Opaque tokens: refresh tokens, browser sessions, mailed tokens, API keys and the halves of sign-ups.
//!
//! The secret that a client holds and the digest that a registry keeps are two types, and `Debug` prints neither. Every
//! opaque token has the form `<prefix>_` and base64url of
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 | kid: the edge key that made the tag |
//! | 2 | slot of the record, big-endian |
//! | 14 | the rest of the id |
//! | 4 | generation, big-endian |
//! | 24 | the secret |
//! | 8 | tag: first 8 bytes of the HMAC-SHA-256 of the prefix and the bytes before |
//!
//! The tag lets forged text be dropped before a registry is asked. The credential is the secret, of which a registry
//! keeps only the SHA-256.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::key_ring::{KeyRing, RingKey};
use crate::system::clock::Timestamp;
use crate::system::random::{NoRandomness, Random};
use crate::value::id::keyed_digest;

const VERSION: u8 = 1;
const SECRET_BYTES: usize = 24;
const SIGNED_BYTES: usize = 1 + 1 + 16 + 4 + SECRET_BYTES;
const TOKEN_BYTES: usize = SIGNED_BYTES + 8;
const TOKEN_CHARS: usize = TOKEN_BYTES / 3 * 4;

/// The use of an opaque token. Each kind has a prefix of its own, by which secret scanners find leaked tokens.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TokenKind {
    /// `pcr_`: a refresh token.
    Refresh,
    /// `pcs_`: a browser session.
    Session,
    /// `pcm_`: a mailed token.
    Mailed,
    /// `pck_`: an API key.
    ApiKey,
    /// `pcu_`: the half of a sign-up that its browser keeps.
    SignUp,
}

impl TokenKind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Refresh => "pcr_",
            Self::Session => "pcs_",
            Self::Mailed => "pcm_",
            Self::ApiKey => "pck_",
            Self::SignUp => "pcu_",
        }
    }
}

/// The secret of the successor of a spent token, sealed under a key derived from the spent token: 24 bytes and a tag of
/// 16.
pub type SealedSuccessor = [u8; 40];

/// The random part of a token. Not `Clone` or `Display`; `Debug` does not print it; wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// Makes a new secret.
    pub fn mint(random: &Random) -> Result<Self, NoRandomness> {
        random.bytes().map(Self)
    }

    /// Derives the secret of the mailed token `id` from a key of the server, so that the same link can be mailed again.
    ///
    /// Security: it is as hard to guess as the key, and the digest at rest says nothing of it.
    pub fn derive(key: &[u8; 32], id: [u8; 16]) -> Self {
        let digest = Zeroizing::new(keyed_digest(key, &[b"portcullis mailed secret v1", &id]));
        Self(std::array::from_fn(|at| digest.get(at).copied().unwrap_or_default()))
    }

    /// Returns the digest that a registry keeps.
    pub fn digest(&self) -> SecretDigest {
        SecretDigest(Sha256::digest(self.0).into())
    }

    /// Derives the secret of another token from this one, the same each time for one `label`.
    #[must_use]
    pub fn derive_next(&self, label: &[u8]) -> Self {
        let key = self.padded();
        let digest = Zeroizing::new(keyed_digest(&key, &[b"portcullis derived v1", label]));
        Self(std::array::from_fn(|at| digest.get(at).copied().unwrap_or_default()))
    }

    /// Seals `next` so that only a holder of `self` can open it.
    ///
    /// Security: the key is derived from `self` and the digest of `next`, so that it seals one text only, however often
    /// a rotation of the same token is tried. The nonce can therefore be constant.
    pub fn seal_successor(&self, next: &Self) -> SealedSuccessor {
        let mut sealed = [0; 40];
        let mut text = Zeroizing::new(next.0);
        let key = self.successor_key(&next.digest());
        // Sealing 24 bytes under a key of the right length cannot fail.
        let tag = key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key([0; 12]),
            Aad::empty(),
            &mut text[..],
        );
        assert!(tag.is_ok(), "AES-256-GCM refused to seal 24 bytes");
        let tag = tag.iter().flat_map(AsRef::as_ref);
        for (to, from) in sealed.iter_mut().zip(text.iter().chain(tag)) {
            *to = *from;
        }
        sealed
    }

    /// Opens what [`Self::seal_successor`] sealed. Returns `None` if `self` is not the spent secret or `next` is not
    /// the digest of its successor.
    pub fn open_successor(&self, sealed: &SealedSuccessor, next: &SecretDigest) -> Option<Self> {
        let mut bytes = Zeroizing::new(*sealed);
        let key = self.successor_key(next);
        let text =
            key.open_in_place(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut bytes[..]).ok()?;
        let secret = Self(<[u8; SECRET_BYTES]>::try_from(&*text).ok()?);
        (secret.digest() == *next).then_some(secret)
    }

    fn successor_key(&self, next: &SecretDigest) -> LessSafeKey {
        let own = self.padded();
        let key = Zeroizing::new(keyed_digest(&own, &[b"portcullis successor v1", &next.0]));
        match UnboundKey::new(&AES_256_GCM, &key[..]) {
            Ok(key) => LessSafeKey::new(key),
            Err(_) => unreachable!("a key of 32 bytes is the length that AES-256 takes"),
        }
    }
}

impl Secret {
    /// Returns the secret as a key of 32 bytes.
    fn padded(&self) -> Zeroizing<[u8; 32]> {
        let mut own = Zeroizing::new([0; 32]);
        for (to, from) in own.iter_mut().zip(&self.0) {
            *to = *from;
        }
        own
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The SHA-256 of a secret. `==` takes constant time.
#[derive(Clone, Copy)]
pub struct SecretDigest(pub [u8; 32]);

impl SecretDigest {
    /// Returns the digest of a secret that is valid only together with `address`.
    #[must_use]
    pub fn bound_to(self, address: &str) -> Self {
        Self(keyed_digest(&self.0, &[b"address", address.as_bytes()]))
    }
}

impl PartialEq for SecretDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretDigest {}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(..)")
    }
}

/// An opaque token with a valid tag, or one that was just made.
#[derive(Debug)]
pub struct OpaqueToken {
    /// The use of the token.
    pub kind: TokenKind,
    /// The id of its record, slot first. The record may not exist.
    pub id: [u8; 16],
    /// Number of the token in its family.
    pub generation: u32,
    /// The credential.
    pub secret: Secret,
}

/// The text is not a token of this server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a token of this server")]
pub struct NotAToken;

/// The keys that tag opaque tokens. Older keys are kept until all tokens that they tagged have expired.
pub struct EdgeKeys(Arc<KeyRing>);

impl EdgeKeys {
    /// Builds the set from the newest key and the older ones, each with its kid.
    pub fn new(newest: (u8, [u8; 32]), older: Vec<(u8, [u8; 32])>) -> Self {
        let first = RingKey { kid: newest.0, from: Timestamp(1), key: Zeroizing::new(newest.1) };
        let older = older.into_iter();
        let older = older.map(|(kid, key)| RingKey { kid, from: Timestamp::ZERO, key: Zeroizing::new(key) });
        Self::over(Arc::new(KeyRing::new(std::iter::once(first).chain(older).collect())))
    }

    /// Builds the set over a ring, whose keys may change.
    pub(super) const fn over(ring: Arc<KeyRing>) -> Self {
        Self(ring)
    }

    /// Returns the text of `token` for the client. It is wiped when dropped.
    pub fn write(&self, token: &OpaqueToken) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(TOKEN_BYTES));
        self.0.with_newest(|kid, key| {
            bytes.extend_from_slice(&[VERSION, kid]);
            bytes.extend_from_slice(&token.id);
            bytes.extend_from_slice(&token.generation.to_be_bytes());
            bytes.extend_from_slice(&token.secret.0);
            let tag = tag(key, token.kind, &bytes);
            bytes.extend_from_slice(&tag);
        });
        let mut text = Zeroizing::new(String::with_capacity(4 + TOKEN_CHARS));
        text.push_str(token.kind.prefix());
        text.push_str(&Zeroizing::new(Base64UrlUnpadded::encode_string(&bytes)));
        text
    }

    /// Parses the text of a token of `kind` and checks its tag. Costs at most one HMAC and asks no registry.
    pub fn read(&self, kind: TokenKind, text: &str) -> Result<OpaqueToken, NotAToken> {
        let encoded = text.strip_prefix(kind.prefix()).ok_or(NotAToken)?;
        if encoded.len() != TOKEN_CHARS {
            return Err(NotAToken);
        }
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        let read = Base64UrlUnpadded::decode(encoded, &mut bytes[..]).map_err(|_| NotAToken)?;
        let (signed, claimed_tag) = read.split_first_chunk::<SIGNED_BYTES>().ok_or(NotAToken)?;
        let ([version, kid_of_key], rest) = signed.split_first_chunk::<2>().ok_or(NotAToken)?;
        let expected = self.0.with(*kid_of_key, |key| tag(key, kind, signed));
        let expected = expected.filter(|_| *version == VERSION).ok_or(NotAToken)?;
        if !bool::from(expected.ct_eq(claimed_tag)) {
            return Err(NotAToken);
        }
        let (id, rest) = rest.split_first_chunk::<16>().ok_or(NotAToken)?;
        let (generation, rest) = rest.split_first_chunk::<4>().ok_or(NotAToken)?;
        let secret = <[u8; SECRET_BYTES]>::try_from(rest).map_err(|_| NotAToken)?;
        Ok(OpaqueToken { kind, id: *id, generation: u32::from_be_bytes(*generation), secret: Secret(secret) })
    }
}

impl fmt::Debug for EdgeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EdgeKeys(..)")
    }
}

/// Returns the tag of the bytes `signed` of a token of `kind`.
fn tag(key: &[u8; 32], kind: TokenKind, signed: &[u8]) -> [u8; 8] {
    let digest = keyed_digest(key, &[kind.prefix().as_bytes(), signed]);
    std::array::from_fn(|at| digest.get(at).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> EdgeKeys {
        EdgeKeys::new((2, [2; 32]), vec![(1, [1; 32])])
    }

    fn token(random: &Random) -> OpaqueToken {
        OpaqueToken {
            kind: TokenKind::Refresh,
            id: [7; 16],
            generation: 3,
            secret: Secret::mint(random).unwrap(),
        }
    }

    #[test]
    fn a_written_token_is_read_back_and_other_text_is_refused() {
        let token = token(&Random::seeded(1));
        let text = keys().write(&token);
        assert_eq!(text.len(), 4 + 72);
        let read = keys().read(TokenKind::Refresh, &text).unwrap();
        assert_eq!(read.id, token.id);
        assert_eq!(read.generation, 3);
        assert_eq!(read.secret.digest(), token.secret.digest());

        for at in 0..text.len() {
            for other in ['A', 'b', '-', '=', '\u{e9}'] {
                let mut chars: Vec<char> = text.chars().collect();
                if chars[at] != other {
                    chars[at] = other;
                    let forged: String = chars.into_iter().collect();
                    assert_eq!(keys().read(TokenKind::Refresh, &forged).err(), Some(NotAToken), "{forged}");
                }
            }
            assert!(keys().read(TokenKind::Refresh, &text[..at]).is_err());
        }
    }

    #[test]
    fn system_randomness_never_repeats_and_is_never_zero() {
        let random = Random::system();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            assert!(seen.insert(random.bytes::<24>().unwrap()));
        }
        assert!(!seen.contains(&[0; 24]));
    }

    #[test]
    fn a_token_is_bound_to_its_kind_and_to_a_known_key() {
        let text = keys().write(&token(&Random::seeded(2)));
        let relabelled = text.replace("pcr_", "pcs_");
        assert!(keys().read(TokenKind::Session, &relabelled).is_err());
        assert!(keys().read(TokenKind::Session, &text).is_err());
        assert!(EdgeKeys::new((3, [3; 32]), vec![(2, [2; 32])]).read(TokenKind::Refresh, &text).is_ok());
        assert!(EdgeKeys::new((2, [3; 32]), vec![]).read(TokenKind::Refresh, &text).is_err());
        assert!(EdgeKeys::new((3, [2; 32]), vec![]).read(TokenKind::Refresh, &text).is_err());
    }

    #[test]
    fn only_the_spent_token_opens_its_successor() {
        let random = Random::seeded(3);
        let [spent, next, other] = [(); 3].map(|()| Secret::mint(&random).unwrap());
        let sealed = spent.seal_successor(&next);
        assert_eq!(spent.open_successor(&sealed, &next.digest()).unwrap().0, next.0);
        assert!(other.open_successor(&sealed, &next.digest()).is_none());
        assert!(spent.open_successor(&sealed, &other.digest()).is_none());
        for at in 0..40 {
            let mut cut = sealed;
            cut[at] ^= 1;
            assert!(spent.open_successor(&cut, &next.digest()).is_none());
        }
        assert!(!sealed.windows(8).any(|part| next.0.windows(8).any(|secret| secret == part)));
    }

    #[test]
    fn a_derived_secret_is_always_the_same_and_says_nothing_of_another() {
        let random = Random::seeded(5);
        let [one, other] = [(); 2].map(|()| Secret::mint(&random).unwrap());
        assert_eq!(one.derive_next(b"a").0, one.derive_next(b"a").0);
        assert_ne!(one.derive_next(b"a").0, one.derive_next(b"b").0);
        assert_ne!(one.derive_next(b"a").0, other.derive_next(b"a").0);
        assert_ne!(one.derive_next(b"a").0, one.0);
    }

    #[test]
    fn secrets_do_not_print() {
        let token = token(&Random::seeded(4));
        let printed = format!("{token:?} {:?} {:?}", token.secret.digest(), keys());
        for hidden in ["Secret(..)", "SecretDigest(..)", "EdgeKeys(..)"] {
            assert!(printed.contains(hidden), "{printed}");
        }
    }
}
