//! What an import gives as the hash of a password, and what is stored of it.

use base64ct::{Base64, Encoding};
use serde_json::Value;

use super::bcrypt::Bcrypt;
use super::bounds::TEXT_BYTES_MAX;
use super::cost::ScryptCost;
use super::fault::{FAST, ForeignFault, OTHER_PBKDF2, SchemeName, UNSALTED};
use super::fields::{decode, number, parts};
use super::objects;
use super::pbkdf2::{Function, Pbkdf2};
use super::scrypt::Scrypt;
use super::ssha::{FastDigest, is_ssha};
use super::stored::{Stored, StoredHash};

/// Reads the `password_hash` of an import: a text, or an object `{"firebase": {…}}` or `{"keycloak": {…}}`.
///
/// Errors: name scheme and fault, and nothing of the hash.
pub fn read(value: &Value) -> Result<StoredHash, ForeignFault> {
    match value {
        Value::String(text) => read_text(text),
        Value::Object(object) => objects::read(object),
        _ => Err(ForeignFault::form("password hash", "expected a text or an object")),
    }
}

/// Reads a hash in the form in which a program stores it: PHC, MCF, of an LDAP directory, of Django, of ASP.NET Identity, or
/// of this server.
///
/// Errors: name scheme and fault, and nothing of the hash.
pub fn read_text(text: &str) -> Result<StoredHash, ForeignFault> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(ForeignFault::form("password hash", "longer than 1,024 bytes"));
    }
    if text.starts_with('$') {
        read_mcf(text)
    } else if let Some((name, rest)) = text.strip_prefix('{').and_then(|text| text.split_once('}')) {
        read_ldap(text, name, rest)
    } else if let Some((name, rest)) = text.split_once('$') {
        read_django(text, name, rest)
    } else {
        read_bare(text)
    }
}

/// Says whether a text has a form in which programs store passwords, so that it is no password itself. Hexadecimal digits
/// alone are not: that is how some people draw a password.
pub fn is_hash_text(text: &str) -> bool {
    match read_text(text) {
        Ok(_) | Err(ForeignFault::OutOfBounds { .. }) => true,
        Err(_) => ["{\"firebase\":", "{\"keycloak\":"].iter().any(|begin| {
            let spaceless = text.chars().filter(|c| !c.is_whitespace());
            spaceless.take(begin.len()).eq(begin.chars())
        }),
    }
}

/// Reads a text whose name stands between dollar signs.
fn read_mcf(text: &str) -> Result<StoredHash, ForeignFault> {
    let name = text.get(1..).and_then(|rest| rest.split('$').next()).unwrap_or_default();
    let refused = |scheme, why| Err(ForeignFault::Refused { scheme, why });
    match name {
        "1" | "md5" | "apr1" => return refused("MD5 crypt", FAST),
        "P" | "H" => return refused("phpass (MD5)", FAST),
        "3" | "NT" => return refused("NTLM", UNSALTED),
        "2" | "2x" => {
            return refused("bcrypt $2$ and $2x$", "these early versions lose characters of a password");
        }
        "pbkdf2" | "pbkdf2-sha1" => return refused("PBKDF2-SHA1", OTHER_PBKDF2),
        "7" | "y" | "gy" => return refused("yescrypt and scrypt of crypt(3)", "export them in another form"),
        _ => {}
    }
    if text.starts_with("$argon2") {
        return StoredHash::of_argon2(text);
    }
    Ok(match Stored::parse(text)? {
        Stored::Native(_) | Stored::Wrapped(_) => StoredHash::Text(text.into()),
        Stored::Foreign(foreign) => foreign.into(),
    })
}

/// Reads a text of an LDAP directory: `{name}…`.
fn read_ldap(text: &str, name: &str, rest: &str) -> Result<StoredHash, ForeignFault> {
    if is_ssha(name) {
        return FastDigest::parse(name, rest).map(StoredHash::Fast);
    }
    let refused = |scheme, why| Err(ForeignFault::Refused { scheme, why });
    match name.to_ascii_uppercase().as_str() {
        "CRYPT" | "BCRYPT" | "ARGON2" if rest.starts_with('$') => read_mcf(rest),
        "CRYPT" => refused("DES crypt", FAST),
        "PBKDF2-SHA256" => pbkdf2_of(Function::Sha256, rest),
        "PBKDF2-SHA512" => pbkdf2_of(Function::Sha512, rest),
        "PBKDF2" | "PBKDF2-SHA1" => refused("PBKDF2-SHA1", OTHER_PBKDF2),
        "SHA" | "SHA256" | "SHA384" | "SHA512" => refused("{SHA}", UNSALTED),
        "MD5" => refused("{MD5}", UNSALTED),
        "SMD5" => refused("{SMD5}", FAST),
        "NT" | "LM" | "NTLM" | "X-NTHASH" => refused("NTLM", UNSALTED),
        "CLEAR" | "CLEARTEXT" | "PLAIN" | "NOOP" => refused("a password in clear", "it was never hashed"),
        _ => Err(ForeignFault::Unknown(SchemeName::of(text))),
    }
}

/// Reads what follows the name of PBKDF2 in a directory: iterations, salt and hash.
fn pbkdf2_of(function: Function, rest: &str) -> Result<StoredHash, ForeignFault> {
    let wrong = |what| ForeignFault::form("{PBKDF2}", what);
    let [iterations, salt, hash] = parts(rest).ok_or(wrong("expected iterations, salt and hash"))?;
    let iterations = number(iterations).ok_or(wrong("the iterations are no number"))?;
    let salt = decode(salt, 1..=super::bounds::SALT_BYTES_MAX).ok_or(wrong("the salt is not in base64"))?;
    Pbkdf2::of(function, iterations, salt, hash).map(Into::into)
}

/// Reads a text of Django: `name$…`.
fn read_django(text: &str, name: &str, rest: &str) -> Result<StoredHash, ForeignFault> {
    let wrong = |scheme, what| ForeignFault::form(scheme, what);
    let refused = |scheme, why| Err(ForeignFault::Refused { scheme, why });
    match name {
        "pbkdf2_sha256" | "pbkdf2_sha512" => {
            let wrong = |what| wrong("pbkdf2_sha256", what);
            let [iterations, salt, hash] = parts(rest).ok_or(wrong("expected iterations, salt and hash"))?;
            let iterations = number(iterations).ok_or(wrong("the iterations are no number"))?;
            let function = if name == "pbkdf2_sha256" { Function::Sha256 } else { Function::Sha512 };
            // The salt is text.
            Pbkdf2::of(function, iterations, salt.as_bytes().to_vec(), hash).map(Into::into)
        }
        "argon2" => read_mcf(&format!("${rest}")),
        "bcrypt" => Bcrypt::parse(rest).map(Into::into),
        "bcrypt_sha256" => Bcrypt::parse(rest)?.of_sha256_hex().map(Into::into),
        "scrypt" => {
            let wrong = |what| wrong("scrypt", what);
            let fields = parts(rest).ok_or(wrong("expected N, salt, r, p and hash"))?;
            let [n, salt, r, p, hash] = fields;
            let numbers = number(n).zip(number(r)).zip(number(p));
            let ((n, r), p) = numbers.ok_or(wrong("N, r and p must be numbers"))?;
            if !n.is_power_of_two() {
                return Err(wrong("N is no power of two"));
            }
            let cost = ScryptCost { log_n: u8::try_from(n.trailing_zeros()).unwrap_or(u8::MAX), r, p };
            Scrypt::of(cost, salt.as_bytes().to_vec(), hash).map(Into::into)
        }
        "pbkdf2_sha1" => refused("PBKDF2-SHA1", OTHER_PBKDF2),
        "sha1" | "md5" => refused("a salted MD5 or SHA-1", FAST),
        "unsalted_sha1" | "unsalted_md5" => refused("an MD5 or SHA-1 without a salt", UNSALTED),
        "crypt" => refused("DES crypt", FAST),
        _ => Err(ForeignFault::Unknown(SchemeName::of(text))),
    }
}

/// Reads a text without a name.
fn read_bare(text: &str) -> Result<StoredHash, ForeignFault> {
    let refused = |scheme, why| Err(ForeignFault::Refused { scheme, why });
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.len() {
        _ if text.starts_with('!') || text.starts_with('*') => {
            refused("a password that cannot be used", "leave password_hash out")
        }
        32 if is_hex => refused("MD5 or NTLM", UNSALTED),
        40 if is_hex => refused("SHA-1", UNSALTED),
        56 | 64 | 96 | 128 if is_hex => refused("SHA-2", UNSALTED),
        13 if text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/')) => {
            refused("DES crypt", FAST)
        }
        // The first byte is the version. In version 3 a zero follows; version 2 has 49 bytes in all.
        60.. if text.starts_with("AQ") && Base64::decode_vec(text).is_ok() => {
            Pbkdf2::of_asp_net(text).map(Into::into)
        }
        68 if Base64::decode_vec(text).is_ok_and(|blob| blob.len() == 49 && blob.first() == Some(&0)) => {
            let why = "version 2 is PBKDF2-SHA1 with 1,000 iterations; version 3 is taken";
            refused("ASP.NET Identity", why)
        }
        _ => Err(ForeignFault::Unknown(SchemeName::of(text))),
    }
}
