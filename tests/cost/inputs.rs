//! The dearest inputs known, for every endpoint: the corpus of the cost meter.
//!
//! [`FIELDS`] names the free-text fields of every endpoint and what each holds. Each field is tried with every dear value
//! of its kind while the others are ordinary; [`BODIES`] and [`HEADERS`] are tried at every endpoint. An input that the
//! search finds to be dear is added to the values here.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value, json};

use crate::routes::Route;

/// What a field holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A password, new or old.
    Password,
    /// An e-mail address.
    Email,
    /// An opaque token or an access token.
    Token,
    /// Any other text.
    Text,
    /// A list of texts.
    Texts,
    /// A JSON object.
    Object,
    /// One of a few words, always sent as it stands here.
    Fixed(&'static str),
}

/// Who sends a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sender {
    /// Nobody who is known.
    Stranger,
    /// The owner of an account, with an access token.
    User,
    /// An administrator, with an access token.
    Admin,
}

use Kind::{Email, Fixed, Object, Password, Text, Texts, Token};
use Sender::{Admin, Stranger, User};

/// The free-text fields of an endpoint. Those of `GET` and `DELETE` without a body are in the query.
type Fields = (&'static str, &'static str, Sender, &'static [(&'static str, Kind)]);

/// Every endpoint with its sender and its fields.
pub const FIELDS: &[Fields] = &[
    (
        "POST",
        "/v1/signup",
        Stranger,
        &[("email", Email), ("password", Password), ("name", Text), ("locale", Text)],
    ),
    ("POST", "/v1/login", Stranger, &[("email", Email), ("password", Password)]),
    ("GET", "/v1/admin/events", Admin, &[("after", Text), ("types", Text)]),
    ("POST", "/v1/reauthenticate", User, &[("password", Password)]),
    ("POST", "/v1/refresh", Stranger, &[("refresh_token", Token)]),
    ("POST", "/v1/logout", Stranger, &[("refresh_token", Token)]),
    ("GET", "/v1/session", User, &[("optional", Text)]),
    ("GET", "/v1/csrf", User, &[]),
    ("GET", "/v1/sessions", User, &[("cursor", Text), ("limit", Text)]),
    ("DELETE", "/v1/sessions/{id}", User, &[]),
    ("GET", "/v1/devices", User, &[]),
    ("DELETE", "/v1/devices", User, &[]),
    ("GET", "/v1/me", User, &[]),
    ("PATCH", "/v1/me", User, &[("name", Text), ("locale", Text), ("user_metadata", Object)]),
    ("DELETE", "/v1/me", User, &[("password", Password)]),
    ("POST", "/v1/me/delete", User, &[("password", Password)]),
    ("POST", "/v1/password/forgot", Stranger, &[("email", Email)]),
    ("POST", "/v1/password/reset", Stranger, &[("token", Token), ("new_password", Password)]),
    (
        "POST",
        "/v1/password/change",
        User,
        &[("current_password", Fixed(crate::support::PASSWORD)), ("new_password", Password)],
    ),
    ("POST", "/v1/password/check", Stranger, &[("password", Password), ("email", Email)]),
    ("POST", "/v1/email/verify", Stranger, &[("token", Token), ("signup_token", Token)]),
    ("POST", "/v1/email/verify/resend", Stranger, &[("email", Email), ("signup_token", Token)]),
    ("POST", "/v1/email/change", User, &[("email", Email), ("password", Password)]),
    (
        "POST",
        "/v1/email/change/confirm",
        Stranger,
        &[("token", Token), ("email", Email), ("password", Password)],
    ),
    (
        "POST",
        "/v1/email/change/undo",
        Stranger,
        &[("token", Token), ("email", Email), ("password", Password)],
    ),
    (
        "POST",
        "/v1/invitations/accept",
        Stranger,
        &[("token", Token), ("password", Password), ("name", Text), ("locale", Text)],
    ),
    ("POST", "/v1/unlock", Stranger, &[("token", Token)]),
    ("POST", "/v1/introspect", Admin, &[("token", Token)]),
    ("GET", "/v1/revocations", Admin, &[("since", Text), ("wait", Text)]),
    ("POST", "/v1/admin/users/import", Admin, &[]),
    (
        "GET",
        "/v1/admin/users",
        Admin,
        &[("q", Text), ("status", Text), ("external_id", Text), ("cursor", Text), ("limit", Fixed("1"))],
    ),
    (
        "POST",
        "/v1/admin/users",
        Admin,
        &[
            ("email", Email),
            ("password", Password),
            ("roles", Texts),
            ("locale", Fixed("en")),
            ("user_metadata", Object),
            ("app_metadata", Object),
        ],
    ),
    ("GET", "/v1/admin/users/{id}", Admin, &[]),
    ("GET", "/v1/admin/invitations", Admin, &[("cursor", Text), ("limit", Fixed("1"))]),
    (
        "POST",
        "/v1/admin/invitations",
        Admin,
        &[("email", Email), ("name", Text), ("roles", Texts), ("locale", Fixed("en"))],
    ),
    ("DELETE", "/v1/admin/invitations/{id}", Admin, &[]),
    (
        "PATCH",
        "/v1/admin/users/{id}",
        Admin,
        &[("name", Text), ("roles", Texts), ("app_metadata", Object), ("external_id", Text)],
    ),
    ("DELETE", "/v1/admin/users/{id}", Admin, &[]),
    ("POST", "/v1/admin/users/{id}/unlock", Admin, &[]),
    ("POST", "/v1/admin/users/{id}/revoke_sessions", Admin, &[]),
    ("POST", "/v1/admin/users/{id}/send_reset", Admin, &[]),
    ("POST", "/v1/admin/users/{id}/revoke_password", Admin, &[]),
    ("POST", "/v1/admin/keys/rotate", Admin, &[("kind", Text)]),
    ("POST", "/v1/admin/keys/{kid}/retire", Admin, &[]),
    ("GET", "/v1/admin/api_keys", Admin, &[]),
    ("POST", "/v1/admin/api_keys", Admin, &[("name", Text), ("scopes", Texts), ("expires_at", Text)]),
    ("DELETE", "/v1/admin/api_keys/{id}", Admin, &[]),
    (
        "GET",
        "/v1/admin/audit",
        Admin,
        &[("since", Text), ("type", Text), ("account", Text), ("limit", Fixed("1"))],
    ),
    ("GET", "/.well-known/jwks.json", Stranger, &[]),
    ("GET", "/openapi.json", Stranger, &[]),
    ("GET", "/problems/{code}", Stranger, &[]),
    ("GET", "/healthz", Stranger, &[]),
    ("GET", "/readyz", Stranger, &[]),
    ("GET", "/metrics", Admin, &[]),
];

/// Returns the fields of `route`.
///
/// Panics: if it has none here.
pub fn fields_of(route: &Route) -> &'static Fields {
    let (method, path) = route;
    let fields = FIELDS.iter().find(|(of, at, ..)| of == method && at == path);
    fields.unwrap_or_else(|| panic!("{method} {path} is new: name its fields in tests/cost/inputs.rs"))
}

/// The number of bytes that a body may have, less some for the other fields.
const LONG: usize = 15_000;

/// Returns the dear values of a field.
pub fn values(kind: Kind) -> Vec<String> {
    let repeat = |text: &str, chars: usize| text.chars().cycle().take(chars).collect::<String>();
    match kind {
        Password => vec![
            // Every character that can stand for a letter: the estimator tries all combinations of them.
            format!("4@8({{[<369!1|0$5+7%2{}", "𝔸😀".repeat(40)),
            repeat("4@8({[<369!1|0$5+7%2", 100),
            repeat("4@8({[<369!1|0$5+7%2", 24),
            repeat("({[<1!|7", 24),
            repeat("1|7!({69$54@", 24),
            // Walks over the keys that turn at each step.
            repeat("qw", 48),
            repeat("25", 32),
            repeat("252125232528", 24),
            // Common words, some backwards, numbers, dates, repetitions.
            repeat("themanonlovemetoyouanditisbeinaforshehewaswithasbutareiterate", 24),
            repeat("drowssap1sunshine2monkey", 24),
            repeat("730194826517", 24),
            repeat("1/1/91.11.1991-2/2/92", 24),
            repeat("abbabaabbaababbabaababbaabbabaab", 24),
            repeat("aabbccddeeffgghhiijjkkll", 24),
            repeat("İ", 24),
            // Marks that must be sorted and joined.
            repeat("a\u{301}\u{316}\u{327}\u{302}\u{323}\u{31b}", 500),
            repeat("\u{1d15e}\u{344}", 340),
            repeat("\u{a0}", 512),
            repeat("𝔸", 256),
            repeat("password", 1024),
            repeat("a", LONG),
        ],
        Email => vec![
            format!("{}@example.org", "a".repeat(14_000)),
            format!("{}@example.org", "\u{fdfa}".repeat(78)),
            format!("{}@example.org", repeat("a\u{301}\u{316}\u{327}", 110)),
            format!("a@{}.org", "ü".repeat(110)),
            format!("a@{}org", "ü.".repeat(80)),
            format!("a@xn--{}.org", "9".repeat(200)),
            format!("a@{}.org", repeat("\u{fdfa}", 80)),
            format!("a@{}org", "x.".repeat(120)),
            "@".repeat(LONG),
        ],
        Token => vec![
            format!("pcm_{}", "A".repeat(96)),
            format!("pcm_{}", "A".repeat(LONG)),
            format!("pcr_{}", "_".repeat(96)),
            forged_access_token(10_000),
            ".".repeat(LONG),
        ],
        Text => vec![
            "a".repeat(100),
            "a".repeat(LONG),
            "\u{fdfa}".repeat(LONG / 3),
            "İ".repeat(LONG / 2),
            " ".repeat(LONG),
            "9".repeat(LONG),
            "\u{0}".repeat(LONG / 6),
        ],
        Texts => vec!["a".repeat(64), "a".repeat(LONG), "a,".repeat(LONG / 8)],
        Object => {
            let names = |count: usize, name: &str| {
                let members: Vec<String> = (0..count).map(|n| format!("\"{name}{n}\":{n}")).collect();
                format!("{{{}}}", members.join(","))
            };
            vec![
                format!("{{\"a\":\"{}\"}}", "x".repeat(4_088)),
                format!("{{\"a\":\"{}\"}}", "\\u0000".repeat(680)),
                // As many names as fit, and more.
                names(440, ""),
                names(1_000, "n"),
                format!("{{\"a\":[{}]}}", vec!["{}"; 1_300].join(",")),
                format!("{{\"a\":{}1{}}}", "[".repeat(100), "]".repeat(100)),
                format!("{{\"a\":[{}]}}", vec!["1.7976931348623157e308"; 170].join(",")),
            ]
        }
        Fixed(text) => vec![text.to_owned()],
    }
}

/// Returns an access token that nobody has signed, with about `bytes` bytes of claims.
fn forged_access_token(bytes: usize) -> String {
    let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": "a".repeat(64)});
    let claims = json!({"sub": "a".repeat(bytes * 3 / 4), "exp": 4_000_000_000_u64});
    let part = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
    format!("{}.{}.{}", part(&header), part(&claims), "A".repeat(86))
}

/// Returns an ordinary value of a field. `n` makes it another one for each request.
fn ordinary(kind: Kind, n: u64) -> String {
    match kind {
        Password => format!("wolkig-Lampe-{n}-Kanu-Frost"),
        Email => format!("somebody{n}@example.org"),
        Token => format!("pcm_{}", "B".repeat(96)),
        Text => String::from("text"),
        Texts => String::from("a"),
        Object => format!("{{\"n\":{n}}}"),
        Fixed(text) => text.to_owned(),
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Input {
    pub method: &'static str,
    pub path: String,
    pub sender: Sender,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<Vec<u8>>,
    /// What makes it dear, for people.
    pub what: String,
}

impl Input {
    /// Returns the request to an endpoint with ordinary values, of which `chosen` replaces some.
    pub fn of(fields: &Fields, n: u64, chosen: &[(&str, String)]) -> Self {
        let (method, path, sender, fields) = *fields;
        let mut all = Map::new();
        let mut query = Vec::new();
        for (name, kind) in fields {
            let value = chosen.iter().find(|(chosen, _)| chosen == name).map(|(_, value)| value.clone());
            let is_chosen = value.is_some();
            let value = value.unwrap_or_else(|| ordinary(*kind, n));
            if *kind == Texts {
                all.insert((*name).to_owned(), json!(value.split(',').collect::<Vec<_>>()));
            } else if *kind == Object {
                // Strange texts of the search are no objects, and are sent as texts.
                let object = serde_json::from_str(&value).unwrap_or_else(|_| json!(value));
                all.insert((*name).to_owned(), object);
            } else {
                all.insert((*name).to_owned(), json!(value));
            }
            // A query that is refused for one of its ordinary values would not be read to its end.
            if is_chosen || matches!(kind, Fixed(_)) {
                query.push(format!("{name}={}", percent_encoded(&value, 12_000)));
            }
        }
        let has_body = method != "GET" && !fields.is_empty();
        let path = filled(path);
        let path =
            if method == "GET" && !query.is_empty() { format!("{path}?{}", query.join("&")) } else { path };
        let what =
            chosen.iter().map(|(name, value)| format!("{name} = {}", short(value))).collect::<Vec<_>>();
        Self {
            method,
            path,
            sender,
            headers: Vec::new(),
            body: has_body.then(|| Value::Object(all).to_string().into_bytes()),
            what: what.join(", "),
        }
    }
}

/// Puts values into the pattern of a path.
fn filled(path: &str) -> String {
    let id = "0".repeat(32);
    path.replace("{id}", &id).replace("{kid}", "none").replace("{code}", "weak-password")
}

/// Returns the start of `text`, for people.
pub fn short(text: &str) -> String {
    let start: String = text.chars().take(28).collect();
    let more = if start.len() < text.len() { format!("… ({} bytes)", text.len()) } else { String::new() };
    format!("{start:?}{more}")
}

/// Returns `text` as a query can hold it, in at most `bytes_max` bytes.
fn percent_encoded(text: &str, bytes_max: usize) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    let mut encoded = String::new();
    for byte in text.bytes() {
        if encoded.len() + 3 > bytes_max {
            break;
        }
        encoded.push_str(&encode(byte));
    }
    encoded
}

/// Bodies that are tried at every endpoint that reads one.
pub fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let numbered: Vec<String> = (0..1200).map(|n| format!("\"f{n}\":{n}")).collect();
    vec![
        ("nested arrays", "[".repeat(16_384).into_bytes()),
        ("nested objects", "{\"a\":".repeat(3_276).into_bytes()),
        ("1,200 unknown fields", format!("{{{}}}", numbered.join(",")).into_bytes()),
        ("a field name of 16 KB", format!("{{\"{}\":1}}", "a".repeat(16_370)).into_bytes()),
        ("a long number", format!("{{\"email\":{}}}", "9".repeat(16_370)).into_bytes()),
        ("escapes", format!("{{\"email\":\"{}\"}}", "\\u0041".repeat(2_700)).into_bytes()),
        ("no text", vec![0xff; 16_384]),
        ("one byte too many", vec![b' '; 16_385]),
    ]
}

/// Headers that are tried at every endpoint.
pub fn headers() -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let forwarded: Vec<String> = (0..700).map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
    let cookies: Vec<String> = (0..900).map(|n| format!("cookie{n}=x")).collect();
    vec![
        ("a long bearer", vec![("authorization", format!("Bearer {}", "a".repeat(14_000)))]),
        ("a forged access token", vec![("authorization", format!("Bearer {}", forged_access_token(8_000)))]),
        ("many cookies", vec![("cookie", cookies.join("; "))]),
        (
            "a long session cookie",
            vec![("cookie", format!("portcullis_session=pcs_{}; portcullis_device={0}", "a".repeat(7_000)))],
        ),
        ("a long list of proxies", vec![("x-forwarded-for", forwarded.join(", "))]),
        ("a long user agent", vec![("user-agent", "Mozilla/5.0 (".repeat(1_000))]),
        ("a long origin", vec![("origin", format!("http://{}", "a.".repeat(6_000)))]),
        ("a long device token", vec![("x-device-token", "a".repeat(14_000))]),
    ]
}
