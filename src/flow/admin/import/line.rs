//! One line of an import: an account as JSON, judged field by field.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::id::mapped;
use super::report::Refused;
use crate::engine::Engine;
use crate::flow::account::carried::{Carried, Stored};
use crate::flow::admin::accounts::roles;
use crate::flow::admin::hash::{read_hash, wrong_hash};
use crate::flow::refusal::{FlowError, Refusal, parse_new_name_for_admin};
use crate::password::foreign::{self, FastDigest, StoredHash};
use crate::registry::account::{AccountV4, Origin, SignUp, Status};
use crate::system::clock::Timestamp;
use crate::system::random::NoRandomness;
use crate::value::account_name::NameKey;
use crate::value::id::{AccountId, Slot};
use crate::value::json_object::NewObject;

/// How far ahead the clock of the other system may have been.
const AHEAD_MS: u64 = 24 * 60 * 60 * 1000;

/// An id of another system, which some write as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum IdText {
    Text(String),
    Number(u64),
}

impl IdText {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

/// The fields of a line. It is never printed: it holds the hash of a password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    id: Option<IdText>,
    external_id: Option<IdText>,
    email: String,
    email_verified: Option<bool>,
    password_hash: Option<Value>,
    name: Option<String>,
    roles: Option<Vec<String>>,
    locale: Option<String>,
    status: Option<String>,
    created_at: Option<String>,
    user_metadata: Option<NewObject>,
    app_metadata: Option<NewObject>,
}

/// An account that a line describes.
pub(super) struct Judged {
    /// The account, without a password that is still to be hashed.
    pub(super) account: AccountV4,
    /// Whether its id follows from the line.
    pub(super) has_given_id: bool,
    /// A digest that argon2id is to hash before it is stored.
    pub(super) digest: Option<FastDigest>,
}

impl Judged {
    /// Returns the key of its address.
    pub(super) const fn name(&self) -> NameKey {
        NameKey(self.account.name_key)
    }

    /// Returns its external id, or else the id that the line gives.
    pub(super) fn external_id(&self) -> Option<Box<str>> {
        let own = || self.has_given_id.then(|| self.account.id.to_string().into());
        self.account.external_id().map(Into::into).or_else(own)
    }
}

/// Why a line gives no account.
pub(super) enum LineError {
    /// The line is wrong.
    Refused(Refused),
    /// The system gave no randomness for an id.
    NoRandomness(NoRandomness),
}

impl From<NoRandomness> for LineError {
    fn from(error: NoRandomness) -> Self {
        Self::NoRandomness(error)
    }
}

impl From<Refused> for LineError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Refusal> for LineError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refused(refusal))
    }
}

fn refused(refusal: Refusal) -> Refused {
    match refusal {
        Refusal::Field { pointer, code, message } => Refused::at(pointer, code, message),
        other => Refused::at("", "invalid", FlowError::from(other).to_string()),
    }
}

/// Judges a line at `now`. `is_verified` says whether its address counts as proved if the line does not say. Nothing is hashed and nobody is asked, so it takes microseconds.
pub(super) fn judge(
    engine: &Engine,
    line: &[u8],
    is_verified: bool,
    now: Timestamp,
) -> Result<Judged, LineError> {
    let fields = read(line)?;
    let services = &engine.services;
    let name = parse_new_name_for_admin(&services.config, &fields.email)?;
    let key = name.key(&services.keys.directory);
    let given = fields.id.map(IdText::into_text);
    let mapped = given.as_deref().map(|given| mapped(given, key.slot()));
    let external_id = fields.external_id.map(IdText::into_text);
    let kept = given.filter(|_| mapped.as_ref().is_some_and(|mapped| mapped.needs_external_id));
    let external_id = external_id.or(kept);
    let carried = Carried {
        name: fields.name.as_deref(),
        locale: fields.locale.as_deref(),
        user_metadata: fields.user_metadata,
        app_metadata: fields.app_metadata,
        external_id: external_id.as_deref(),
    };
    let Stored { name: display_name, mut extra } = carried.stored()?;
    extra.imported_ms = Some(now.as_millis());
    let status = match fields.status.as_deref() {
        None | Some("active") => Status::Active,
        Some("disabled") => Status::Disabled,
        Some(_) => {
            let why = "this field takes `active` or `disabled`";
            return Err(Refused::at("/status", "invalid_type", why).into());
        }
    };
    let created_ms = match fields.created_at.as_deref() {
        None => now.as_millis(),
        Some(text) => created(text, now)?,
    };
    let (phc, digest) = match fields.password_hash {
        None | Some(Value::Null) => (None, None),
        Some(value) => match read_hash(engine, &value)? {
            StoredHash::Text(text) => (Some(text), None),
            StoredHash::Fast(digest) => (None, Some(digest)),
        },
    };
    let email_verified = fields.email_verified.unwrap_or(is_verified);
    let has_given_id = mapped.is_some();
    let id = match mapped {
        Some(mapped) => mapped.id,
        None => AccountId::mint(key.slot(), services.random.bytes()?),
    };
    let sign_up = SignUp {
        id,
        name_key: key,
        email: name.as_str().into(),
        name: display_name.filter(|name| !name.is_empty()),
        phc,
        roles: roles(fields.roles.unwrap_or_default())?,
        verified: email_verified,
        origin: Origin::Administrator,
        extra: extra.made(),
    };
    // Whoever signed up there with the address of another person must not keep a password once its owner proves it here.
    let is_vouched = email_verified;
    let account = AccountV4 { status, created_ms, is_vouched, ..sign_up.into_account(now) };
    debug_assert!(account.extra.as_ref().is_none_or(|extra| Arc::strong_count(extra) == 1));
    Ok(Judged { account, has_given_id, digest })
}

/// Reads the fields of a line, without judging them: what hostile bytes reach first.
///
/// Errors: what is wrong with the line.
pub fn parse(line: &[u8]) -> Result<(), Refused> {
    let fields = read(line)?;
    let id = fields.id.map(IdText::into_text);
    let _ = id.map(|id| mapped(&id, Slot::FIRST));
    fields.created_at.map_or(Ok(0), |text| created(&text, Timestamp::from_secs(u32::MAX.into())))?;
    match fields.password_hash.unwrap_or_default() {
        Value::Null => Ok(()),
        hash => foreign::read(&hash).map(|_| ()).map_err(|fault| refused(wrong_hash(&fault))),
    }
}

/// Returns the external id that a line gives, or else its id, whatever else is wrong with it. Returns `None` if it is too long
/// or has more than one line.
pub(super) fn named(line: &[u8]) -> Option<Box<str>> {
    /// The ids that a line has of the other system.
    #[derive(Deserialize)]
    struct Ids {
        external_id: Option<IdText>,
        id: Option<IdText>,
    }

    let Ids { external_id, id } = serde_json::from_slice(line).ok()?;
    let text = external_id.or(id)?.into_text();
    crate::value::external_id::parse(&text).ok()
}

/// Reads when an account was created.
fn created(text: &str, now: Timestamp) -> Result<u64, Refused> {
    let wrong = |why| Refused::at("/created_at", "invalid_time", why);
    let at = Timestamp::parse_rfc3339(text)
        .ok_or(wrong("a time since 1970 in the format of RFC 3339, such as 2026-11-30T12:00:00Z"))?;
    if at.as_millis() > now.as_millis().saturating_add(AHEAD_MS) {
        return Err(wrong("this time is still to come"));
    }
    Ok(at.as_millis())
}

/// Reads the fields of a line.
fn read(line: &[u8]) -> Result<Fields, Refused> {
    let not_json = || Refused::at("", "malformed_json", "the line is no JSON object");
    if line.trim_ascii_start().first() != Some(&b'{') {
        return Err(not_json());
    }
    // The slower reader, which finds the faulty field, runs only if there is one.
    if let Ok(fields) = serde_json::from_slice(line) {
        return Ok(fields);
    }
    let mut json = serde_json::Deserializer::from_slice(line);
    let mut track = serde_path_to_error::Track::new();
    let read = Fields::deserialize(serde_path_to_error::Deserializer::new(&mut json, &mut track));
    match read {
        Ok(fields) => json.end().map(|()| fields).map_err(|_| not_json()),
        Err(error) if error.is_data() => {
            let pointer: String = track.path().iter().map(pointer_token).collect();
            Err(wrong_field(pointer, &error.to_string()))
        }
        Err(_) => Err(not_json()),
    }
}

/// Returns a step of a JSON pointer. A name that the line has chosen is cut.
fn pointer_token(segment: &Segment) -> String {
    match segment {
        Segment::Seq { index } => format!("/{index}"),
        other => {
            let name: String = other.to_string().chars().filter(|c| !c.is_control()).take(64).collect();
            format!("/{}", name.replace('~', "~0").replace('/', "~1"))
        }
    }
}

/// Describes the fault of one field. The description names fields and types, never a value of the line.
fn wrong_field(mut pointer: String, message: &str) -> Refused {
    // Only these two name a field of ours, which the path does not: it ends at the object around the field.
    let of_object = ["missing field", "duplicate field"].iter().any(|kind| message.starts_with(kind));
    if let Some(name) = message.split('`').nth(1).filter(|_| of_object) {
        pointer = format!("{pointer}/{name}");
    }
    if message.starts_with("unknown field") {
        Refused::at(pointer, "unknown_field", "an account has no such field")
    } else if message.starts_with("missing field") {
        Refused::at(pointer, "missing_field", "this field is required")
    } else if message.starts_with("duplicate field") {
        Refused::at(pointer, "duplicate_field", "this field may be there once only")
    } else {
        // The end of the message is what the type takes; before it there may be what the line has.
        let takes = message.rsplit_once(", expected ").map(|(_, takes)| takes);
        let takes = takes.map(|takes| takes.rsplit_once(" at line ").map_or(takes, |(takes, _)| takes));
        let why = format!("this field takes {}", takes.unwrap_or("another type of value"));
        Refused::at(pointer, "invalid_type", why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::start::on_an_engine;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn refused(engine: &Engine, line: &str) -> (String, &'static str, String) {
        match judge(engine, line.as_bytes(), false, NOW) {
            Err(LineError::Refused(Refused { pointer, code, why })) => (pointer, code, why),
            Err(LineError::NoRandomness(error)) => panic!("{error}"),
            Ok(_) => panic!("taken: {line}"),
        }
    }

    #[test]
    fn each_field_becomes_a_part_of_the_account() {
        on_an_engine(async |engine| {
            let line = r#"{"id":"f47ac10b-58cc-4372-a567-0e02b2c3d479","email":"Ada@Example.org","email_verified":true,
                "password_hash":"$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy","name":"Ada","roles":["b","a"],
                "locale":"en-gb","status":"disabled","created_at":"2020-01-02T03:04:05.678Z","user_metadata":{"a":1},
                "app_metadata":{"b":2}}"#;
            let Ok(Judged { account, has_given_id, digest }) = judge(engine, line.as_bytes(), false, NOW)
            else {
                panic!()
            };
            assert!(has_given_id && digest.is_none() && account.is_sound());
            assert_eq!(&*account.email, "ada@example.org");
            assert_eq!(account.external_id(), Some("f47ac10b-58cc-4372-a567-0e02b2c3d479"));
            assert_eq!(account.id.slot(), NameKey(account.name_key).slot());
            assert!(account.email_verified && account.is_vouched);
            assert_eq!(account.name.as_deref(), Some("Ada"));
            assert_eq!(account.roles, [Box::from("a"), Box::from("b")]);
            assert_eq!(account.locale(), Some("en-GB"));
            assert_eq!(account.status, Status::Disabled);
            assert_eq!(account.created_ms, 1_577_934_245_678);
            assert_eq!(account.user_metadata(), Some("{\"a\":1}"));
            assert_eq!(account.app_metadata(), Some("{\"b\":2}"));
            assert_eq!(account.extra.unwrap().imported_ms, NOW.as_millis());
            let least = judge(engine, br#"{"email":"bob@example.org","id":null,"name":null}"#, false, NOW);
            let Ok(Judged { account, has_given_id, .. }) = least else { panic!() };
            assert!(!has_given_id && !account.email_verified && !account.is_vouched && account.phc.is_none());
            assert_eq!((account.created_ms, account.name.clone()), (NOW.as_millis(), None));
            let number = judge(engine, br#"{"email":"eve@example.org","id":7}"#, true, NOW);
            let Ok(Judged { account, .. }) = number else { panic!() };
            assert_eq!((account.external_id(), account.email_verified), (Some("7"), true));
        });
    }

    #[test]
    fn what_is_wrong_is_named_by_field_and_never_repeated() {
        on_an_engine(async |engine| {
            for (line, pointer, code) in [
                ("", "", "malformed_json"),
                ("[]", "", "malformed_json"),
                ("[\"a@example.org\"]", "", "malformed_json"),
                ("{\"email\":\"a@example.org\"", "", "malformed_json"),
                ("{\"email\":\"a@example.org\"} {}", "", "malformed_json"),
                ("{}", "/email", "missing_field"),
                ("{\"email\":7}", "/email", "invalid_type"),
                ("{\"email\":\"secret\"}", "/email", "invalid_email"),
                ("{\"email\":\"a@localhost\"}", "/email", "invalid_email"),
                ("{\"email\":\"a\\u0000@example.org\"}", "/email", "invalid_email"),
                ("{\"email\":\"a@example.org\",\"email\":\"a@example.org\"}", "/email", "duplicate_field"),
                ("{\"email\":\"a@example.org\",\"secret\":1}", "/secret", "unknown_field"),
                (
                    "{\"email\":\"a@example.org\",\"email_verified\":\"secret\"}",
                    "/email_verified",
                    "invalid_type",
                ),
                ("{\"email\":\"a@example.org\",\"roles\":[\"secret\",7]}", "/roles/1", "invalid_type"),
                ("{\"email\":\"a@example.org\",\"roles\":[\"SECRET\"]}", "/roles", "invalid_role"),
                ("{\"email\":\"a@example.org\",\"status\":\"secret\"}", "/status", "invalid_type"),
                ("{\"email\":\"a@example.org\",\"created_at\":\"secret\"}", "/created_at", "invalid_time"),
                (
                    "{\"email\":\"a@example.org\",\"created_at\":\"2099-01-01T00:00:00Z\"}",
                    "/created_at",
                    "invalid_time",
                ),
                ("{\"email\":\"a@example.org\",\"locale\":\"secret_\"}", "/locale", "invalid_locale"),
                ("{\"email\":\"a@example.org\",\"id\":\"secret\\n\"}", "/external_id", "invalid_id"),
                ("{\"email\":\"a@example.org\",\"app_metadata\":[]}", "/app_metadata", "invalid_type"),
                (
                    "{\"email\":\"a@example.org\",\"password_hash\":\"secret\"}",
                    "/password_hash",
                    "unknown_scheme",
                ),
                (
                    "{\"email\":\"a@example.org\",\"password_hash\":\"$1$secret\"}",
                    "/password_hash",
                    "refused_scheme",
                ),
                (
                    "{\"email\":\"a@example.org\",\"password_hash\":\"{SHA}secret\"}",
                    "/password_hash",
                    "refused_scheme",
                ),
                (
                    "{\"email\":\"a@example.org\",\"password_hash\":\
                     \"$2b$31$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\"}",
                    "/password_hash",
                    "out_of_bounds",
                ),
                (
                    "{\"email\":\"a@example.org\",\"password_hash\":\
                     \"$argon2id$v=19$m=64,t=1,p=1,keyid=b3RoZXI$c29tZXNhbHQ$c29tZWhhc2hzb21laGFzaA\"}",
                    "/password_hash",
                    "unknown_pepper",
                ),
            ] {
                let (at, why, message) = refused(engine, line);
                assert_eq!((at.as_str(), why), (pointer, code), "{line}: {message}");
                assert!(!message.to_lowercase().contains("secret"), "{line}: {message}");
            }
        });
    }
}
