//! Hashes that need more than one text: those of Firebase and of Keycloak.

use serde_json::{Map, Value};

use super::bounds::{SALT_BYTES_MAX, TEXT_BYTES_MAX};
use super::cost::ScryptCost;
use super::fault::{ForeignFault, OTHER_PBKDF2};
use super::fields::{decode, encode, number};
use super::pbkdf2::{Function, Pbkdf2};
use super::scrypt::Scrypt;
use super::stored::StoredHash;

type Object = Map<String, Value>;

/// Reads `{"firebase": {…}}` or `{"keycloak": {…}}`.
pub(super) fn read(object: &Object) -> Result<StoredHash, ForeignFault> {
    let wrong = ForeignFault::form("password hash", "expected {\"firebase\": {…}} or {\"keycloak\": {…}}");
    let mut fields = object.iter();
    match (fields.next(), fields.next()) {
        (Some((name, Value::Object(fields))), None) if name == "firebase" => firebase(fields),
        (Some((name, Value::Object(fields))), None) if name == "keycloak" => keycloak(fields),
        _ => Err(wrong),
    }
}

/// Returns a field that holds a text of bounded length.
fn text<'a>(fields: &'a Object, name: &str) -> Option<&'a str> {
    fields.get(name)?.as_str().filter(|text| text.len() <= TEXT_BYTES_MAX)
}

/// Returns a field that holds a number, also as a text.
fn integer(fields: &Object, name: &str) -> Option<u32> {
    match fields.get(name)? {
        Value::String(text) => number(text),
        value => u32::try_from(value.as_u64()?).ok(),
    }
}

/// Reads a hash of Firebase beside the parameters of its project.
fn firebase(fields: &Object) -> Result<StoredHash, ForeignFault> {
    let wrong = |what| ForeignFault::form("firebase", what);
    let bytes = |name: &str| decode(text(fields, name)?, 0..=SALT_BYTES_MAX);
    let hash = bytes("hash").ok_or(wrong("hash is missing, or not in base64"))?;
    let mut salt = bytes("salt").ok_or(wrong("salt is missing, or not in base64"))?;
    let separator = bytes("salt_separator").ok_or(wrong("salt_separator is missing, or not in base64"))?;
    let signer_key = bytes("signer_key").ok_or(wrong("signer_key is missing, or not in base64"))?;
    let rounds = integer(fields, "rounds").ok_or(wrong("rounds is missing, or no number"))?;
    let mem_cost = integer(fields, "mem_cost").ok_or(wrong("mem_cost is missing, or no number"))?;
    let cost = ScryptCost { log_n: u8::try_from(mem_cost).unwrap_or(u8::MAX), r: rounds, p: 1 };
    salt.extend(separator);
    Scrypt::of_firebase(cost, salt, &hash, &signer_key).map(Into::into)
}

/// Reads a credential of Keycloak: its fields side by side, or in `credentialData` and `secretData`, which its exports hold
/// as JSON in a text.
fn keycloak(fields: &Object) -> Result<StoredHash, ForeignFault> {
    let wrong = |what| ForeignFault::form("keycloak", what);
    let mut merged = fields.clone();
    for name in ["credentialData", "secretData"] {
        let part = match fields.get(name) {
            Some(Value::Object(part)) => part.clone(),
            Some(Value::String(part)) if part.len() <= 2 * TEXT_BYTES_MAX => serde_json::from_str(part)
                .map_err(|_| wrong("credentialData or secretData is no JSON object"))?,
            None => continue,
            Some(_) => return Err(wrong("credentialData or secretData is no JSON object")),
        };
        // Both have `additionalParameters`; those of the secret are empty.
        for (name, value) in part {
            if !merged.contains_key(&name) {
                merged.insert(name, value);
            }
        }
    }
    let algorithm = text(&merged, "algorithm").ok_or(wrong("algorithm is missing"))?;
    let iterations = integer(&merged, "hashIterations").ok_or(wrong("hashIterations is missing"))?;
    let salt = text(&merged, "salt").and_then(|salt| decode(salt, 1..=SALT_BYTES_MAX));
    let salt = salt.ok_or(wrong("salt is missing, or not in base64"))?;
    let value = text(&merged, "value").ok_or(wrong("value is missing"))?;
    match algorithm {
        "pbkdf2-sha256" => Pbkdf2::of(Function::Sha256, iterations, salt, value).map(Into::into),
        "pbkdf2-sha512" => Pbkdf2::of(Function::Sha512, iterations, salt, value).map(Into::into),
        "argon2" => keycloak_argon2(&merged, iterations, &salt, value),
        "pbkdf2" => Err(ForeignFault::Refused { scheme: "keycloak with pbkdf2 (SHA-1)", why: OTHER_PBKDF2 }),
        _ => Err(wrong("algorithm is none of pbkdf2-sha256, pbkdf2-sha512 and argon2")),
    }
}

/// Reads a hash of argon2, whose parameters are lists of one text each.
fn keycloak_argon2(
    fields: &Object,
    passes: u32,
    salt: &[u8],
    value: &str,
) -> Result<StoredHash, ForeignFault> {
    let wrong = ForeignFault::form(
        "keycloak",
        "argon2 needs type, version, memory and parallelism in additionalParameters",
    );
    let parameter = |name: &str| match fields.get("additionalParameters")?.get(name)? {
        Value::Array(values) => values.first()?.as_str(),
        value => value.as_str(),
    };
    let (Some(kind @ ("id" | "i" | "d")), Some(version), Some(memory), Some(lanes)) = (
        parameter("type"),
        parameter("version"),
        parameter("memory").and_then(number),
        parameter("parallelism").and_then(number),
    ) else {
        return Err(wrong);
    };
    let version = match version {
        "1.3" => 19,
        "1.0" => 16,
        _ => return Err(wrong),
    };
    let salt = encode(salt);
    StoredHash::of_argon2(&format!(
        "$argon2{kind}$v={version}$m={memory},t={passes},p={lanes}${salt}${value}"
    ))
}
