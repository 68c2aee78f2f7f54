//! Keys that sign access tokens: how one is made, named and published.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, Signature,
};
use base64ct::{Base64UrlUnpadded, Encoding};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::Serialize;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::system::clock::Timestamp;

/// The `typ` of an access token (RFC 9068 §2.1).
pub(super) const TYP: &str = "at+jwt";

/// The key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("signing key cannot be used: {0}")]
pub struct KeyError(pub(super) String);

/// A signature scheme of access tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// ECDSA over P-256 with SHA-256. Every JWT library checks it.
    Es256,
    /// Ed25519 (RFC 8037). Signing is faster.
    EdDsa,
}

impl Scheme {
    pub(super) const fn algorithm(self) -> Algorithm {
        match self {
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

/// A private key with its public key.
pub(super) enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Pair {
    pub(super) fn sign(&self, text: &[u8]) -> Result<Signature, KeyError> {
        match self {
            Self::P256(pair) => {
                let random = aws_lc_rs::rand::SystemRandom::new();
                pair.sign(&random, text).map_err(|error| KeyError(error.to_string()))
            }
            Self::Ed25519(pair) => Ok(pair.sign(text)),
        }
    }
}

/// A signing key, parsed and ready to use.
pub(super) struct SigningKey {
    /// Its id: the thumbprint of the public key (RFC 7638).
    pub(super) kid: String,
    pub(super) scheme: Scheme,
    /// When it begins to sign.
    pub(super) from: Timestamp,
    pub(super) pair: Pair,
    /// The header of every token that it signs, in base64url.
    pub(super) header: String,
    pub(super) decoding: DecodingKey,
    pub(super) public: Jwk,
}

/// Returns the id of a signing key, as tokens name it.
pub fn kid_of(pkcs8: &[u8]) -> Result<String, KeyError> {
    SigningKey::new(pkcs8, Timestamp::ZERO).map(|key| key.kid)
}

/// Returns the scheme of a signing key.
pub fn scheme_of(pkcs8: &[u8]) -> Result<Scheme, KeyError> {
    SigningKey::new(pkcs8, Timestamp::ZERO).map(|key| key.scheme)
}

/// Makes a new key and returns it as PKCS#8.
pub fn generate(scheme: Scheme) -> Result<Vec<u8>, KeyError> {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let document = match scheme {
        Scheme::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random),
        Scheme::EdDsa => Ed25519KeyPair::generate_pkcs8(&random),
    };
    document.map(|document| document.as_ref().to_vec()).map_err(|error| KeyError(error.to_string()))
}

impl SigningKey {
    pub(super) fn new(pkcs8: &[u8], from: Timestamp) -> Result<Self, KeyError> {
        let wrong = |error: jsonwebtoken::errors::Error| KeyError(error.to_string());
        let (scheme, pair, mut public) =
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8) {
                let public = Jwk::from_encoding_key(&EncodingKey::from_ec_der(pkcs8), Algorithm::ES256);
                (Scheme::Es256, Pair::P256(pair), public.map_err(wrong)?)
            } else {
                let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|error| KeyError(error.to_string()))?;
                let x = Base64UrlUnpadded::encode_string(pair.public_key().as_ref());
                // The JWK of RFC 8037 §2 is built here, because jsonwebtoken reads only another version of PKCS#8.
                let public = serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": x, "alg": "EdDSA"});
                let public = serde_json::from_value(public).map_err(|error| KeyError(error.to_string()))?;
                (Scheme::EdDsa, Pair::Ed25519(pair), public)
            };
        let kid = public.thumbprint(ThumbprintHash::SHA256).map_err(wrong)?;
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        let decoding = DecodingKey::from_jwk(&public).map_err(wrong)?;
        let mut header = Header::new(scheme.algorithm());
        header.typ = Some(TYP.to_owned());
        header.kid = Some(kid.clone());
        let header = encode(&header)?;
        Ok(Self { kid, scheme, from, pair, header, decoding, public })
    }
}

/// Returns a part of a token: its JSON in base64url.
pub(super) fn encode(part: &impl Serialize) -> Result<String, KeyError> {
    encode_with(part, "")
}

/// Returns a part of a token like [`encode`], with further `members` at the end of the object that `part` is.
pub(super) fn encode_with(part: &impl Serialize, members: &str) -> Result<String, KeyError> {
    let mut json = Vec::with_capacity(512);
    serde_json::to_writer(&mut json, part).map_err(|error| KeyError(error.to_string()))?;
    if !members.is_empty() {
        json.pop();
        json.push(b',');
        json.extend_from_slice(members.as_bytes());
        json.push(b'}');
    }
    Ok(Base64UrlUnpadded::encode_string(&json))
}

/// A signing key as it is stored.
#[derive(Clone, Eq, PartialEq, Zeroize, ZeroizeOnDrop)]
pub struct Signing {
    /// The key as PKCS#8.
    pub pkcs8: Vec<u8>,
    /// When it begins to sign. It is published before that.
    #[zeroize(skip)]
    pub from: Timestamp,
}

impl std::fmt::Debug for Signing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signing(from {})", self.from)
    }
}
