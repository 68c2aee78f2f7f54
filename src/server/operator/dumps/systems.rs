//! How the users of other systems become lines.
//!
//! Roles of other systems give nothing here: what an administrator may there is not what one may here. They are kept in
//! `app_metadata`, and an operator gives roles by `portcullis user set-role`.

use serde_json::{Value, json};

use super::fields::{Converted, Line, Object, flag, full_name, id, object, text, time};
use super::format::{Format, Options};
use crate::flow::admin::import::report::Refused;

/// Finds what another file says about the user with an id.
pub(super) type Joined<'a> = &'a mut dyn FnMut(&str) -> Option<Object>;

/// Converts a user of `format`.
///
/// Errors: why it cannot be an account.
pub(super) fn convert(
    format: Format,
    options: &Options,
    user: &Object,
    joined: Joined<'_>,
) -> Result<Converted, Refused> {
    match format {
        Format::Portcullis => Ok(Converted::Line(user.clone())),
        Format::Supabase => supabase(user, options),
        Format::Keycloak => keycloak(user),
        Format::Firebase => firebase(user, options),
        Format::Auth0 => auth0(user, joined),
        Format::BetterAuth => better_auth(user, joined),
        Format::Django => django(user),
    }
}

/// A row of `auth.users`, which GoTrue writes.
fn supabase(user: &Object, options: &Options) -> Result<Converted, Refused> {
    if time(user, "deleted_at").is_some() {
        return Ok(Converted::Skipped);
    }
    let metadata = object(user, "raw_user_meta_data");
    let name = metadata.as_ref().and_then(|data| text(data, "full_name").or_else(|| text(data, "name")));
    let hash = text(user, "encrypted_password").map(|hash| match firebase_in_gotrue(hash) {
        Some(object) => object,
        None => Value::from(hash),
    });
    let is_banned = time(user, "banned_until").is_some_and(|until| until > options.now);
    // Rows of before 2021 have `confirmed_at` alone.
    let is_verified = ["email_confirmed_at", "confirmed_at"].iter().any(|name| time(user, name).is_some());
    Ok(Line::of(user, "email")?
        .with("id", id(user, "id"))
        .with("email_verified", Some(is_verified))
        .with("password_hash", hash)
        .with_name(name)
        .created(time(user, "created_at"))
        .disabled(is_banned)
        .with_object("app_metadata", object(user, "raw_app_meta_data"))
        .with_object("user_metadata", metadata.clone())
        .done())
}

/// Reads a hash that GoTrue has taken from Firebase: `$fbscrypt$v=1,n=14,r=8,p=1,ss=…,sk=…$salt$hash`.
fn firebase_in_gotrue(hash: &str) -> Option<Value> {
    let mut parts = hash.strip_prefix("$fbscrypt$")?.split('$');
    let (parameters, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
    let parameter = |name: &str| {
        let mut all = parameters.split(',').filter_map(|parameter| parameter.split_once('='));
        all.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    Some(json!({"firebase": {
        "hash": hash,
        "salt": salt,
        "salt_separator": parameter("ss")?,
        "signer_key": parameter("sk")?,
        "rounds": parameter("r")?,
        "mem_cost": parameter("n")?,
    }}))
}

/// A user of the export of a realm.
fn keycloak(user: &Object) -> Result<Converted, Refused> {
    if text(user, "serviceAccountClientId").is_some() {
        return Ok(Converted::Skipped);
    }
    let is_password = |credential: &&Object| text(credential, "type") == Some("password");
    let credentials = user.get("credentials").and_then(Value::as_array).into_iter().flatten();
    let credential = credentials.filter_map(Value::as_object).find(is_password);
    let hash = credential.map(|credential| {
        let mut fields = Object::new();
        for name in ["credentialData", "secretData", "algorithm", "hashIterations", "salt", "value"] {
            if let Some(value) = credential.get(name) {
                fields.insert(name.to_owned(), value.clone());
            }
        }
        // Versions before 8.
        if let Some(value) = credential.get("hashedSaltedValue") {
            fields.insert("value".to_owned(), value.clone());
        }
        json!({"keycloak": fields})
    });
    let attributes = object(user, "attributes");
    let locale = attributes.as_ref().and_then(|all| all.get("locale")?.get(0)?.as_str());
    let mut kept = Object::new();
    for (name, there) in [("attributes", "attributes"), ("realm_roles", "realmRoles"), ("groups", "groups")] {
        if let Some(value) = user.get(there).filter(|value| !is_empty(value)) {
            kept.insert(name.to_owned(), value.clone());
        }
    }
    let name = full_name(text(user, "firstName"), text(user, "lastName"));
    Ok(Line::of(user, "email")?
        .with("id", id(user, "id"))
        .with("email_verified", flag(user, "emailVerified"))
        .with("password_hash", hash)
        .with_name(name.as_deref())
        .with("locale", locale.filter(|locale| crate::value::locale::parse(locale).is_ok()))
        .created(time(user, "createdTimestamp"))
        .disabled(flag(user, "enabled") == Some(false))
        .with_object("app_metadata", Some(kept))
        .done())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}

/// A user of `firebase auth:export`.
fn firebase(user: &Object, options: &Options) -> Result<Converted, Refused> {
    let hash = match (text(user, "passwordHash"), &options.firebase) {
        (None, _) => None,
        (Some(hash), Some(parameters)) => {
            let mut fields = parameters.clone();
            fields.insert("hash".to_owned(), hash.into());
            fields.insert("salt".to_owned(), text(user, "salt").unwrap_or_default().into());
            Some(json!({"firebase": fields}))
        }
        (Some(_), None) => {
            let why = "the hash needs the parameters of its project: give them by --hash-config";
            return Err(Refused::at("/passwordHash", "needs_hash_config", why));
        }
    };
    Ok(Line::of(user, "email")?
        .with("id", id(user, "localId"))
        .with("email_verified", flag(user, "emailVerified"))
        .with("password_hash", hash)
        .with_name(text(user, "displayName"))
        .created(time(user, "createdAt"))
        .disabled(flag(user, "disabled") == Some(true))
        .with_object("app_metadata", object(user, "customAttributes"))
        .done())
}

/// A user of an export of Auth0: of the users, or of the hashes that its support sends.
fn auth0(user: &Object, joined: Joined<'_>) -> Result<Converted, Refused> {
    if let Some(id) = auth0_id(user) {
        return auth0_hash(user, &id);
    }
    let id = id(user, "user_id");
    let hash = id.as_deref().and_then(joined).and_then(|found| text(&found, "passwordHash").map(Value::from));
    let name = text(user, "name").filter(|name| text(user, "email") != Some(*name));
    let full = full_name(text(user, "given_name"), text(user, "family_name"));
    Ok(Line::of(user, "email")?
        .with("id", id)
        .with("email_verified", flag(user, "email_verified"))
        .with("password_hash", hash)
        .with_name(name.or(full.as_deref()))
        .created(time(user, "created_at"))
        .disabled(flag(user, "blocked") == Some(true))
        .with_object("user_metadata", object(user, "user_metadata"))
        .with_object("app_metadata", object(user, "app_metadata"))
        .done())
}

/// A line of the hashes, which stands for a user by itself. Some have their address in a list alone.
fn auth0_hash(user: &Object, id: &str) -> Result<Converted, Refused> {
    let identifiers = user.get("identifiers").and_then(Value::as_array).into_iter().flatten();
    let is_address = |of: &&Object| text(of, "type") == Some("email");
    let address = identifiers.filter_map(Value::as_object).find(is_address);
    let mut user = user.clone();
    if let (None, Some(address)) = (text(&user, "email"), address) {
        user.insert("email".to_owned(), text(address, "value").unwrap_or_default().into());
        user.insert("email_verified".to_owned(), (flag(address, "verified") == Some(true)).into());
    }
    Ok(Line::of(&user, "email")?
        .with("id", Some(id))
        .with("email_verified", flag(&user, "email_verified"))
        .with("password_hash", text(&user, "passwordHash"))
        .done())
}

/// Returns the id of the user that a line of the hashes is about.
pub(super) fn auth0_id(line: &Object) -> Option<String> {
    let own = line.get("_id")?.get("$oid")?.as_str()?;
    Some(format!("auth0|{}", text(line, "alt_id").unwrap_or(own)))
}

/// A row of the table `user` of Better Auth. Its password is in the table `account`.
fn better_auth(user: &Object, joined: Joined<'_>) -> Result<Converted, Refused> {
    let id = id(user, "id");
    let password =
        id.as_deref().and_then(joined).and_then(|account| text(&account, "password").map(str::to_owned));
    let hash = password.map(|password| better_auth_hash(&password).unwrap_or(password));
    let either = |camel: &str, snake: &str| flag(user, camel).or_else(|| flag(user, snake));
    let mut kept = Object::new();
    if let Some(role) = text(user, "role").filter(|role| *role != "user") {
        kept.insert("role".to_owned(), role.into());
    }
    Ok(Line::of(user, "email")?
        .with("id", id)
        .with("email_verified", either("emailVerified", "email_verified"))
        .with("password_hash", hash)
        .with_name(text(user, "name"))
        .created(time(user, "createdAt").or_else(|| time(user, "created_at")))
        .disabled(flag(user, "banned") == Some(true))
        .with_object("app_metadata", Some(kept))
        .done())
}

/// Says whether an object is a row of the table `account`.
pub(super) fn is_better_auth_account(row: &Object) -> bool {
    row.contains_key("providerId") || row.contains_key("provider_id")
}

/// Returns the id of the user whose password a row of the table `account` holds.
pub(super) fn better_auth_id(account: &Object) -> Option<String> {
    let provider = text(account, "providerId").or_else(|| text(account, "provider_id"))?;
    text(account, "password").filter(|_| provider == "credential")?;
    id(account, "userId").or_else(|| id(account, "user_id"))
}

/// Brings the hash that Better Auth makes to the form of PHC: `salt:key`, of scrypt with N = 2^14, r = 16, p = 1. The salt is
/// the text of its hexadecimal digits.
fn better_auth_hash(text: &str) -> Option<String> {
    use base64ct::{Base64Unpadded, Encoding};
    let (salt, key) = text.split_once(':')?;
    let is_hex =
        |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hex(salt, 32) || !is_hex(key, 128) {
        return None;
    }
    let key = base16ct::mixed::decode_vec(key).ok()?;
    let encode = Base64Unpadded::encode_string;
    Some(format!("$scrypt$ln=14,r=16,p=1${}${}", encode(salt.as_bytes()), encode(&key)))
}

/// Returns the fields of an object of `dumpdata` that is a user.
pub(super) fn django_user(row: &Object) -> Option<&Object> {
    let fields = row.get("fields")?.as_object()?;
    (fields.contains_key("email") && fields.contains_key("password")).then_some(fields)
}

/// An object of `dumpdata`: a user, or something else. A model of one's own is one if it has an address and a password.
fn django(row: &Object) -> Result<Converted, Refused> {
    let Some(fields) = django_user(row) else {
        return Ok(Converted::Skipped);
    };
    // A password that cannot be used begins with an exclamation mark.
    let hash = text(fields, "password").filter(|hash| !hash.starts_with('!'));
    let name = full_name(text(fields, "first_name"), text(fields, "last_name"));
    let mut kept = Object::new();
    if let Some(username) = text(fields, "username") {
        kept.insert("username".to_owned(), username.into());
    }
    for name in ["is_staff", "is_superuser"] {
        if flag(fields, name) == Some(true) {
            kept.insert(name.to_owned(), true.into());
        }
    }
    Ok(Line::of(fields, "email")?
        .with("id", id(row, "pk"))
        .with("password_hash", hash)
        .with_name(name.as_deref())
        .created(time(fields, "date_joined"))
        .disabled(flag(fields, "is_active") == Some(false))
        .with_object("app_metadata", Some(kept))
        .done())
}
