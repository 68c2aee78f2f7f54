//! Access tokens (RFC 9068): their claims, and the signer that makes and checks them.

use std::fmt;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use jsonwebtoken::Validation;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::signing_key::{KeyError, Signing, SigningKey, TYP, encode_with};
use crate::system::clock::Timestamp;

/// How far in the future a token may be issued, in seconds: the clock of the machine may have been set back, and a token
/// may be issued a second ahead of the loss of a role.
const LEEWAY_SECS: u64 = 30;
/// Maximum length of a token. Those of this server are shorter, also with as many roles as an account may have and with as
/// many further claims as there may be, of accounts and of a hook.
pub(super) const TOKEN_CHARS_MAX: usize = 8192;

/// The claims of an access token (RFC 7519, RFC 9068 §2.2).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Claims {
    /// Issuer: the public origin.
    pub iss: String,
    /// Subject: the id of the account.
    pub sub: String,
    /// Audience: the resource server that the token is for.
    pub aud: String,
    /// The client that the token was issued to.
    #[serde(default)]
    pub client_id: OwnClient,
    /// Expiry, in seconds since 1970.
    pub exp: u64,
    /// Issue time, in seconds since 1970.
    pub iat: u64,
    /// Id of the token, with the [mark](super::mark) of this server.
    pub jti: String,
    /// Id of the session, which is the refresh-token family. The token ends with it.
    pub sid: String,
    /// Roles of the account.
    pub roles: Vec<String>,
    /// When the user last authenticated, in seconds since 1970.
    pub auth_time: u64,
    /// Methods by which the user authenticated (RFC 8176).
    pub amr: Vec<String>,
}

/// The client of a token that a user got by logging in here: no other client gets tokens. RFC 9068 §2.2 demands the claim,
/// and strict decoders look for it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OwnClient;

impl Serialize for OwnClient {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("portcullis")
    }
}

impl<'de> Deserialize<'de> for OwnClient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// The token is not accepted. The reason is for the log, not for the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Rejected {
    /// The text is not a JWT.
    #[error("not a well-formed access token")]
    Form,
    /// The header names an unknown key, or another algorithm or type than that key signs.
    #[error("access token names an unknown key, algorithm or type")]
    Key,
    /// The signature, issuer or audience is wrong.
    #[error("access token is not signed by this server for this audience")]
    Signature,
    /// The token has expired, or was issued in the future.
    #[error("access token has expired")]
    Expired,
    /// The session of the token has ended, or may have ended.
    #[error("session of the access token was ended")]
    Ended,
    /// The issuer was not heard for too long, so the session may have ended. Only a resource server says so.
    #[error("nothing was heard of the issuer for too long")]
    Silent,
}

/// Signs access tokens with the newest key that is due, and checks them with all keys. A key is published before it is
/// due, so that resource servers that cache the published keys know it when they see its first token.
pub struct Signer {
    /// At least one key, newest first.
    keys: Vec<SigningKey>,
    issuer: String,
    audience: String,
    /// The audience of tokens for the administrators' endpoints.
    admin_audience: String,
    /// How long a key verifies after its successor began to sign.
    overlap: Duration,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.kid)).finish()
    }
}

impl Signer {
    /// Builds a signer from `signing`, newest first. The keys must not be used for anything else.
    ///
    /// Errors: there is no key, or one is neither a P-256 nor an Ed25519 key.
    pub fn new(signing: &[Signing], issuer: &str, audience: &str) -> Result<Self, KeyError> {
        // The provider is installed once per process; for a second engine this fails and the first one stays.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let keys = signing.iter().map(|key| SigningKey::new(&key.pkcs8, key.from));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(KeyError(String::from("there is none")));
        }
        let admin_audience = format!("{}/admin", issuer.trim_end_matches('/'));
        let overlap = Duration::MAX;
        Ok(Self { keys, issuer: issuer.to_owned(), audience: audience.to_owned(), admin_audience, overlap })
    }

    /// Sets how long a key verifies after its successor began to sign: as long as its last honest token lives.
    #[must_use]
    pub fn with_overlap(self, overlap: Duration) -> Self {
        Self { overlap, ..self }
    }

    /// Returns when the key `kid` is over, in seconds since 1970: no honest token of it lives then, so one that comes is
    /// forged. `None` for the key that signs, and for later ones.
    fn end_of(&self, kid: &str) -> Option<u64> {
        // The earliest of the newer keys takes over from it.
        let newer = self.keys.iter().take_while(|key| key.kid != kid);
        let successor = newer.map(|key| key.from).min()?;
        Some(successor.as_secs().saturating_add(self.overlap.as_secs()))
    }

    /// Says whether the key `kid` is over at `now`.
    fn is_over(&self, kid: &str, now: Timestamp) -> bool {
        self.end_of(kid).is_some_and(|end| now.as_secs() >= end)
    }

    /// Returns the keys that are not over at `now`, newest first.
    fn live(&self, now: Timestamp) -> impl Iterator<Item = &SigningKey> {
        self.keys.iter().filter(move |key| !self.is_over(&key.kid, now))
    }

    /// Returns the ids of the keys that are over at `now`.
    pub fn over(&self, now: Timestamp) -> Vec<String> {
        let over = self.keys.iter().filter(|key| self.is_over(&key.kid, now));
        over.map(|key| key.kid.clone()).collect()
    }

    /// Returns the key that signs at `now`: the newest one that is due, or the oldest one if none is.
    fn current(&self, now: Timestamp) -> Result<&SigningKey, KeyError> {
        let due = self.keys.iter().find(|key| key.from <= now).or(self.keys.last());
        due.ok_or_else(|| KeyError(String::from("there is none")))
    }

    /// Returns the ids of all keys, newest first.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.kid.as_str())
    }

    /// Returns the id of the newest key and when it begins to sign.
    pub fn newest(&self) -> Option<(&str, Timestamp)> {
        self.keys.first().map(|key| (key.kid.as_str(), key.from))
    }

    /// Returns the issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the audience of the application.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// Returns the audience of the administrators' endpoints.
    pub fn admin_audience(&self) -> &str {
        &self.admin_audience
    }

    /// Returns the text of a token that is issued at `now`.
    pub fn sign(&self, claims: &Claims, now: Timestamp) -> Result<String, KeyError> {
        self.sign_with(claims, "", now)
    }

    /// Returns the text of a token like [`Signer::sign`], with the `further` claims after the server's own: members of a
    /// JSON object, without its braces and with names of their own.
    pub fn sign_with(&self, claims: &Claims, further: &str, now: Timestamp) -> Result<String, KeyError> {
        let key = self.current(now)?;
        // `jsonwebtoken::encode` would parse and check the key for each token.
        let claims = encode_with(claims, further)?;
        let mut text = String::with_capacity(key.header.len() + claims.len() + 96);
        text.push_str(&key.header);
        text.push('.');
        text.push_str(&claims);
        let signature = key.pair.sign(text.as_bytes())?;
        text.push('.');
        text.push_str(&Base64UrlUnpadded::encode_string(signature.as_ref()));
        Ok(text)
    }

    /// Checks form, key, type, signature, issuer, audience and time, and returns the claims, with an end that is not after
    /// the end of the key. The caller must also check that the session of the token is alive, and has this audience.
    ///
    /// The token ends at the second it names: the clock is the one by which it was issued. `keys_ahead` is how far the
    /// clock by which keys change is ahead of it.
    pub fn verify(&self, text: &str, now: Timestamp, keys_ahead: Duration) -> Result<Claims, Rejected> {
        if text.len() > TOKEN_CHARS_MAX {
            return Err(Rejected::Form);
        }
        let header = jsonwebtoken::decode_header(text).map_err(|_| Rejected::Form)?;
        let own = |key: &&SigningKey| Some(&key.kid) == header.kid.as_ref();
        let key = self.live(now + keys_ahead).find(own).ok_or(Rejected::Key)?;
        let algorithm = key.scheme.algorithm();
        if header.alg != algorithm || header.typ.as_deref() != Some(TYP) {
            return Err(Rejected::Key);
        }
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&[&self.audience, &self.admin_audience]);
        validation.set_issuer(&[&self.issuer]);
        // The crate would read the clock of the system. The time is checked below, against `now`.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(text, &key.decoding, &validation)
            .map_err(|_| Rejected::Signature)?
            .claims;
        let now = now.as_secs();
        if now >= claims.exp || claims.iat > now.saturating_add(LEEWAY_SECS) {
            return Err(Rejected::Expired);
        }
        // A forged end would outlive the key in a cache of verdicts. No honest one is as far away.
        let latest = now.saturating_add(self.overlap.as_secs());
        let end = self.end_of(&key.kid).map_or(latest, |end| end.min(latest));
        Ok(Claims { exp: claims.exp.min(end), ..claims })
    }

    /// Returns the public keys that are not over at `now`, for resource servers.
    pub fn jwks(&self, now: Timestamp) -> JwkSet {
        JwkSet { keys: self.live(now).map(|key| key.public.clone()).collect() }
    }

    /// Returns the public keys, newest first. Each comes with the time from which it signs, and with whether it is the
    /// one that signs at `now`.
    pub fn listed(&self, now: Timestamp) -> impl Iterator<Item = (&Jwk, Timestamp, bool)> {
        let signs = self.current(now).ok().map(|key| key.kid.as_str());
        self.live(now).map(move |key| (&key.public, key.from, Some(key.kid.as_str()) == signs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::signing_key::{Scheme, generate, kid_of, scheme_of};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn claims() -> Claims {
        Claims {
            client_id: OwnClient,
            iss: "http://here".into(),
            sub: "0001".into(),
            aud: "http://here".into(),
            exp: NOW.as_secs() + 900,
            iat: NOW.as_secs(),
            jti: "j".into(),
            sid: "s".into(),
            roles: vec!["admin".into()],
            auth_time: NOW.as_secs(),
            amr: vec!["pwd".into()],
        }
    }

    fn signer(keys: &[Vec<u8>]) -> Signer {
        let at_once = |key: &Vec<u8>| Signing { pkcs8: key.clone(), from: Timestamp::ZERO };
        Signer::new(&keys.iter().map(at_once).collect::<Vec<_>>(), "http://here", "http://here").unwrap()
    }

    #[test]
    fn a_token_is_accepted_until_it_expires_also_by_an_older_key() {
        let old = generate(Scheme::Es256).unwrap();
        let new = generate(Scheme::Es256).unwrap();
        let text = signer(std::slice::from_ref(&old)).sign(&claims(), NOW).unwrap();
        let both = signer(&[new.clone(), old]);
        assert_eq!(both.verify(&text, NOW, Duration::ZERO), Ok(claims()));
        let secs = std::time::Duration::from_secs;
        assert!(both.verify(&text, NOW + secs(899), Duration::ZERO).is_ok());
        assert_eq!(both.verify(&text, NOW + secs(900), Duration::ZERO), Err(Rejected::Expired));
        assert!(both.verify(&text, NOW - secs(30), Duration::ZERO).is_ok());
        assert_eq!(both.verify(&text, NOW - secs(31), Duration::ZERO), Err(Rejected::Expired));
        assert_eq!(signer(&[new]).verify(&text, NOW, Duration::ZERO), Err(Rejected::Key));
        assert_eq!(both.jwks(NOW).keys.len(), 2);
        assert!(!serde_json::to_string(&both.jwks(NOW)).unwrap().contains("\"d\""));
    }

    #[test]
    fn further_claims_stand_after_the_servers_own_and_change_none_of_them() {
        let signer = signer(&[generate(Scheme::Es256).unwrap()]);
        let payload = |text: &str| {
            let part = text.split('.').nth(1).unwrap();
            String::from_utf8(Base64UrlUnpadded::decode_vec(part).unwrap()).unwrap()
        };
        let own = payload(&signer.sign(&claims(), NOW).unwrap());
        assert_eq!(own, serde_json::to_string(&claims()).unwrap());
        let text = signer.sign_with(&claims(), r#""app_metadata":{"plan":"pro"}"#, NOW).unwrap();
        let with = format!("{},\"app_metadata\":{{\"plan\":\"pro\"}}}}", own.strip_suffix('}').unwrap());
        assert_eq!(payload(&text), with);
        assert_eq!(signer.verify(&text, NOW, Duration::ZERO), Ok(claims()));
    }

    #[test]
    fn the_longest_token_of_this_server_is_short_enough_for_it() {
        let longest = Claims {
            iss: format!("https://{}", "a".repeat(253)),
            aud: format!("https://{}/admin", "a".repeat(253)),
            roles: (0..32).map(|number| format!("{number:064}")).collect(),
            ..claims()
        };
        let further = format!("\"name\":\"{}\"", "x".repeat(crate::token::further_claims::CLAIMS_BYTES_MAX));
        let signer = signer(&[generate(Scheme::Es256).unwrap()]);
        let text = signer.sign_with(&longest, &further, NOW).unwrap();
        assert!(text.len() <= TOKEN_CHARS_MAX, "{}", text.len());
    }

    #[test]
    fn keys_of_both_schemes_check_their_own_tokens() {
        let p256 = generate(Scheme::Es256).unwrap();
        let ed25519 = generate(Scheme::EdDsa).unwrap();
        assert_eq!([&p256, &ed25519].map(|key| scheme_of(key).unwrap()), [Scheme::Es256, Scheme::EdDsa]);
        let old = signer(std::slice::from_ref(&p256)).sign(&claims(), NOW).unwrap();
        let both = signer(&[ed25519.clone(), p256]);
        let new = both.sign(&claims(), NOW).unwrap();
        assert_eq!(both.verify(&old, NOW, Duration::ZERO), Ok(claims()));
        assert_eq!(both.verify(&new, NOW, Duration::ZERO), Ok(claims()));
        assert!(signer(&[ed25519]).verify(&old, NOW, Duration::ZERO).is_err());
        assert!(SigningKey::new(b"no key", NOW).is_err());
    }

    #[test]
    fn a_new_key_signs_once_it_is_due_or_at_once_if_it_is_the_only_one() {
        let key = |from| Signing { pkcs8: generate(Scheme::Es256).unwrap(), from };
        let later = NOW + std::time::Duration::from_mins(10);
        let (old, new) = (key(Timestamp::ZERO), key(later));
        let signer = |keys: &[Signing]| Signer::new(keys, "http://here", "http://here").unwrap();
        let both = signer(&[new.clone(), old.clone()]);
        assert_eq!(both.jwks(NOW).keys.len(), 2);
        let by = |signer: &Signer, now| {
            let text = signer.sign(&claims(), now).unwrap();
            jsonwebtoken::decode_header(&text).unwrap().kid.unwrap()
        };
        let kid = |key: &Signing| kid_of(&key.pkcs8).unwrap();
        assert_eq!(by(&both, NOW), kid(&old));
        assert_eq!(by(&both, later - std::time::Duration::from_millis(1)), kid(&old));
        assert_eq!(by(&both, later), kid(&new));
        assert_eq!(both.newest(), Some((kid(&new).as_str(), later)));
        let signs: Vec<_> = both.listed(NOW).map(|(_, from, signs)| (from, signs)).collect();
        assert_eq!(signs, [(later, false), (Timestamp::ZERO, true)]);
        assert_eq!(by(&signer(std::slice::from_ref(&new)), NOW), kid(&new));
        assert!(Signer::new(&[], "http://here", "http://here").is_err());
    }

    #[test]
    fn a_key_is_over_a_while_after_its_successor_began_to_sign() {
        let key = |from| Signing { pkcs8: generate(Scheme::Es256).unwrap(), from };
        let secs = std::time::Duration::from_secs;
        // The key in the middle was published, but never signed: the newest was due before.
        let keys = [key(NOW + secs(100)), key(NOW + secs(200)), key(Timestamp::ZERO)];
        let signer = Signer::new(&keys, "http://here", "http://here").unwrap().with_overlap(secs(930));
        let text = signer.sign(&claims(), NOW).unwrap();
        for (after, published) in [(0, 3), (1029, 3), (1030, 1), (100_000, 1)] {
            let now = NOW + secs(after);
            assert_eq!(signer.jwks(now).keys.len(), published, "{after}");
            assert_eq!(signer.listed(now).filter(|(_, _, signs)| *signs).count(), 1, "{after}");
            assert_eq!(signer.over(now).len(), 3 - published, "{after}");
            // With an end far away, as a forger writes it.
            let forged = Claims { exp: NOW.as_secs() + 100_000_000, ..claims() };
            let forged = Signer::new(&keys[2..], "http://here", "http://here").unwrap().sign(&forged, NOW);
            assert_eq!(
                signer.verify(&forged.unwrap(), now, Duration::ZERO).is_ok(),
                published == 3,
                "{after}"
            );
        }
        assert!(signer.verify(&text, NOW, Duration::ZERO).is_ok());
    }

    #[test]
    fn forged_tokens_are_rejected() {
        let key = generate(Scheme::Es256).unwrap();
        let signer = signer(std::slice::from_ref(&key));
        let text = signer.sign(&claims(), NOW).unwrap();
        let kid = signer.keys[0].kid.clone();
        let parts: Vec<&str> = text.split('.').collect();
        let encode = |text: String| Base64UrlUnpadded::encode_string(text.as_bytes());
        let with_header = |header: String| format!("{}.{}.{}", encode(header), parts[1], parts[2]);
        let none =
            format!("{}.{}.", encode(format!(r#"{{"alg":"none","typ":"at+jwt","kid":"{kid}"}}"#)), parts[1]);
        assert!(signer.verify(&none, NOW, Duration::ZERO).is_err());
        let hmac = with_header(format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":"{kid}"}}"#));
        assert_eq!(signer.verify(&hmac, NOW, Duration::ZERO), Err(Rejected::Key));
        let other_type = with_header(format!(r#"{{"alg":"ES256","typ":"JWT","kid":"{kid}"}}"#));
        assert_eq!(signer.verify(&other_type, NOW, Duration::ZERO), Err(Rejected::Key));
        let raised = serde_json::to_string(&Claims { roles: vec!["root".into()], ..claims() }).unwrap();
        let changed = format!("{}.{}.{}", parts[0], encode(raised), parts[2]);
        assert_eq!(signer.verify(&changed, NOW, Duration::ZERO), Err(Rejected::Signature));
        for (iss, aud) in [("http://there", "http://here"), ("http://here", "http://there")] {
            let other = Claims { iss: iss.into(), aud: aud.into(), ..claims() };
            let text = signer.sign(&other, NOW).unwrap();
            assert_eq!(signer.verify(&text, NOW, Duration::ZERO), Err(Rejected::Signature));
        }
        let for_admin = Claims { aud: "http://here/admin".into(), ..claims() };
        let text_for_admin = signer.sign(&for_admin, NOW).unwrap();
        assert_eq!(signer.verify(&text_for_admin, NOW, Duration::ZERO), Ok(for_admin));
        for text in ["", "a.b.c", &text[..text.len() - 4], &"a".repeat(5000)] {
            assert!(signer.verify(text, NOW, Duration::ZERO).is_err());
        }
    }
}
