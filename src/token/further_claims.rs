//! Claims that an access token has beside the server's own: which there may be, and how many fit.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};

use crate::system::clock::Timestamp;

/// The most further claims that a configuration names.
pub const PATHS_MAX: usize = 16;
/// The most bytes of JSON that all further claims of one token take.
pub const CLAIMS_BYTES_MAX: usize = 1024;
/// The most names below an object that one path has.
const STEPS_MAX: usize = 8;
/// Maximum length of a path in bytes.
const PATH_BYTES_MAX: usize = 256;
/// Seconds between two warnings that a claim was left out.
const WARN_EVERY_SECS: u64 = 60;

/// The claims that the server writes itself, and those that mean something to others who read tokens.
///
/// Source: RFC 7519 §4.1; RFC 9068 §2.2; RFC 8693 §4; RFC 7800 §3.1; RFC 9470 §6; RFC 9396 §9.1; OpenID Connect Core 1.0 §2.
const OWN: [&str; 21] = [
    "iss",
    "sub",
    "aud",
    "client_id",
    "exp",
    "nbf",
    "iat",
    "jti",
    "sid",
    "roles",
    "auth_time",
    "amr",
    "acr",
    "scope",
    "cnf",
    "act",
    "may_act",
    "azp",
    "nonce",
    "typ",
    "authorization_details",
];

/// Says whether a claim of this name is the server's own, means something to others who read tokens, or is a field of an
/// account; or whether programs that read it could be misled: it is empty, has characters that nobody sees, or stands for something
/// else in JavaScript.
pub fn is_reserved(name: &str) -> bool {
    let is_misleading = name.is_empty() || name == "__proto__" || name.chars().any(char::is_control);
    is_misleading || OWN.contains(&name) || Source::ALL.iter().any(|source| source.name() == name)
}

/// The field of an account that a claim is taken from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// The JSON object that administrators alone may change.
    AppMetadata,
    /// The JSON object that the owner may change.
    UserMetadata,
    /// The name by which the owner wants to be called.
    Name,
    /// The language of the owner.
    Locale,
    /// The address.
    Email,
    /// Whether the address was proved.
    EmailVerified,
    /// The id that another program knows the account by.
    ExternalId,
}

impl Source {
    const ALL: [Self; 7] = [
        Self::AppMetadata,
        Self::UserMetadata,
        Self::Name,
        Self::Locale,
        Self::Email,
        Self::EmailVerified,
        Self::ExternalId,
    ];

    /// Returns the name of the claim.
    const fn name(self) -> &'static str {
        match self {
            Self::AppMetadata => "app_metadata",
            Self::UserMetadata => "user_metadata",
            Self::Name => "name",
            Self::Locale => "locale",
            Self::Email => "email",
            Self::EmailVerified => "email_verified",
            Self::ExternalId => "external_id",
        }
    }

    /// Says whether it is an object, of which a path names a member.
    const fn is_object(self) -> bool {
        matches!(self, Self::AppMetadata | Self::UserMetadata)
    }
}

/// The place of a claim: a field of the account, and the names that lead to a member of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimPath {
    /// The field.
    pub source: Source,
    /// The names, from the outermost object on; none for a field that is no object.
    steps: Box<[Box<str>]>,
}

/// The reason why a text is no place of a claim.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PathFault {
    /// The claim is one of `OWN`.
    #[error("is a claim that the server writes itself, or that has a meaning of its own in tokens")]
    Own,
    /// No field of an account has this name.
    #[error(
        "begins with no field of an account: app_metadata, user_metadata, name, locale, email, email_verified, external_id"
    )]
    Unknown,
    /// The text names a whole object.
    #[error("names a whole object: name a member of it, such as {0}.plan")]
    Whole(&'static str),
    /// The text names a member of a field that is no object.
    #[error("names a member of {0}, which is no object")]
    NoObject(&'static str),
    /// A name between two full stops is missing.
    #[error("has an empty name between its full stops")]
    Empty,
    /// The path is too long.
    #[error("is longer than {PATH_BYTES_MAX} bytes or {STEPS_MAX} names below the object")]
    TooLong,
}

impl FromStr for ClaimPath {
    type Err = PathFault;

    fn from_str(text: &str) -> Result<Self, PathFault> {
        let mut names = text.split('.');
        let first = names.next().unwrap_or_default();
        if OWN.contains(&first) {
            return Err(PathFault::Own);
        }
        let source =
            Source::ALL.into_iter().find(|source| source.name() == first).ok_or(PathFault::Unknown)?;
        let steps: Box<[Box<str>]> = names.map(Box::from).collect();
        if text.len() > PATH_BYTES_MAX || steps.len() > STEPS_MAX {
            return Err(PathFault::TooLong);
        }
        if steps.iter().any(|step| step.is_empty()) {
            return Err(PathFault::Empty);
        }
        match (source.is_object(), steps.is_empty()) {
            (true, true) => Err(PathFault::Whole(source.name())),
            (false, false) => Err(PathFault::NoObject(source.name())),
            _ => Ok(Self { source, steps }),
        }
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.source.name())?;
        self.steps.iter().try_for_each(|step| write!(f, ".{step}"))
    }
}

impl ClaimPath {
    /// Says whether the two name the same claim, or one of them a part of the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.source == other.source && self.steps.iter().zip(&other.steps).all(|(one, other)| one == other)
    }

    /// Returns the member of `object` that the path names.
    pub fn member_of(&self, object: Option<&Value>) -> Option<Value> {
        self.steps.iter().try_fold(object?, |value, step| value.as_object()?.get(&**step)).cloned()
    }
}

/// The further claims of one token, gathered one by one.
#[derive(Debug, Default)]
pub struct FurtherClaims {
    members: Map<String, Value>,
    bytes: usize,
}

impl FurtherClaims {
    /// Adds the claim at `path`. Returns false, and adds nothing, if it does not fit.
    pub fn add(&mut self, path: &ClaimPath, value: Value) -> bool {
        // Each counts as if it stood alone, so that what is left out depends on the order of the configuration alone.
        let names = path.steps.iter().map(|step| quoted_len(step) + ":{}".len()).sum::<usize>();
        let own = format!("\"{}\":,", path.source.name()).len();
        let bytes = self.bytes + own + names + value.to_string().len();
        if bytes > CLAIMS_BYTES_MAX {
            return false;
        }
        self.bytes = bytes;
        let mut object = &mut self.members;
        let mut name = path.source.name();
        for step in &path.steps {
            let inner = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
            // Paths that overlap are refused in the configuration, so no value stands where an object should.
            let Value::Object(inner) = inner else { return false };
            object = inner;
            name = step;
        }
        object.insert(name.to_owned(), value);
        true
    }

    /// Returns the claims as members of a JSON object, without its braces.
    pub fn into_members(self) -> String {
        let text = Value::Object(self.members).to_string();
        let members = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        members.unwrap_or_default().to_owned()
    }
}

/// Returns the length of `text` as a text of JSON.
fn quoted_len(text: &str) -> usize {
    Value::from(text).to_string().len()
}

/// Counts claims that were left out of tokens, and says when the log is to tell of it.
#[derive(Debug, Default)]
pub struct LeftOut {
    count: AtomicU64,
    /// When the log was told last, in seconds since 1970.
    told_secs: AtomicU64,
}

impl LeftOut {
    /// Counts a claim that was left out at `now`. Returns whether to tell of it: at most once a minute.
    pub fn note(&self, now: Timestamp) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed);
        let now = now.as_secs();
        let told = self.told_secs.load(Ordering::Relaxed);
        let is_due = told == 0 || now >= told.saturating_add(WARN_EVERY_SECS);
        // Of several threads one tells.
        is_due && self.told_secs.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Returns how many claims were left out.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> ClaimPath {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_names_a_field_or_a_member_of_an_object() {
        for text in [
            "app_metadata.plan",
            "user_metadata.a.b.c",
            "name",
            "locale",
            "email",
            "email_verified",
            "external_id",
        ] {
            assert_eq!(path(text).to_string(), text);
        }
        for (text, fault) in [
            ("roles", PathFault::Own),
            ("sub", PathFault::Own),
            ("exp.x", PathFault::Own),
            ("scope", PathFault::Own),
            ("phc", PathFault::Unknown),
            ("App_metadata.plan", PathFault::Unknown),
            ("", PathFault::Unknown),
            ("app_metadata", PathFault::Whole("app_metadata")),
            ("user_metadata", PathFault::Whole("user_metadata")),
            ("name.first", PathFault::NoObject("name")),
            ("app_metadata.", PathFault::Empty),
            ("app_metadata.a..b", PathFault::Empty),
            ("app_metadata.1.2.3.4.5.6.7.8.9", PathFault::TooLong),
        ] {
            assert_eq!(text.parse::<ClaimPath>(), Err(fault), "{text}");
        }
        let long = format!("app_metadata.{}", "a".repeat(PATH_BYTES_MAX));
        assert_eq!(long.parse::<ClaimPath>(), Err(PathFault::TooLong));
    }

    #[test]
    fn two_paths_overlap_if_one_is_a_part_of_the_other() {
        for (one, other, overlap) in [
            ("name", "name", true),
            ("name", "locale", false),
            ("app_metadata.a", "app_metadata.a", true),
            ("app_metadata.a", "app_metadata.a.b", true),
            ("app_metadata.a.b", "app_metadata.a.c", false),
            ("app_metadata.a", "user_metadata.a", false),
            ("app_metadata.a", "app_metadata.ab", false),
        ] {
            assert_eq!(path(one).overlaps(&path(other)), overlap, "{one} {other}");
            assert_eq!(path(other).overlaps(&path(one)), overlap, "{one} {other}");
        }
    }

    #[test]
    fn claims_stand_in_the_objects_that_they_come_from() {
        let object = json!({"a": {"b": [1, {"c": 2}], "d": null}, "e": "x"});
        let mut claims = FurtherClaims::default();
        for (text, is_there) in [
            ("app_metadata.a.b", true),
            ("app_metadata.a.d", true),
            ("app_metadata.e", true),
            ("app_metadata.f", false),
            ("app_metadata.e.g", false),
            ("app_metadata.a.b.c", false),
        ] {
            let value = path(text).member_of(Some(&object));
            assert_eq!(value.is_some(), is_there, "{text}");
            if let Some(value) = value {
                assert!(claims.add(&path(text), value));
            }
        }
        assert!(claims.add(&path("name"), json!("Ada \"A\"")));
        assert_eq!(
            claims.into_members(),
            r#""app_metadata":{"a":{"b":[1,{"c":2}],"d":null},"e":"x"},"name":"Ada \"A\"""#
        );
        assert_eq!(path("app_metadata.a").member_of(None), None);
        assert_eq!(FurtherClaims::default().into_members(), "");
    }

    #[test]
    fn what_does_not_fit_is_left_out_whole_and_what_fits_after_it_is_not() {
        let mut claims = FurtherClaims::default();
        assert!(claims.add(&path("app_metadata.a"), json!("x".repeat(900))));
        assert!(!claims.add(&path("app_metadata.b"), json!("y".repeat(100))));
        assert!(claims.add(&path("locale"), json!("en-GB")));
        let members = claims.into_members();
        assert!(members.len() <= CLAIMS_BYTES_MAX, "{}", members.len());
        assert!(!members.contains('y'));
        assert!(members.ends_with(r#""locale":"en-GB""#));
        // The bound holds for names that need escapes as well.
        let mut claims = FurtherClaims::default();
        for number in 0..PATHS_MAX {
            claims.add(&path(&format!("user_metadata.\u{1}\"{number}")), json!("\u{1}".repeat(20)));
        }
        assert!(claims.into_members().len() <= CLAIMS_BYTES_MAX);
    }

    #[test]
    fn the_log_is_told_once_a_minute_and_all_are_counted() {
        let left_out = LeftOut::default();
        let now = Timestamp::from_secs(1_800_000_000);
        let after = |secs| now + std::time::Duration::from_secs(secs);
        for (secs, is_told) in [(0, true), (0, false), (59, false), (60, true), (61, false), (120, true)] {
            assert_eq!(left_out.note(after(secs)), is_told, "{secs}");
        }
        assert_eq!(left_out.count(), 6);
    }
}
