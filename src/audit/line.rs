//! One line of the audit log.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::system::clock::Timestamp;
use crate::value::id::{hex, keyed_digest};

/// One event as it is written. The key that seals it stands behind it, as `mac`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Line {
    /// Counts the events of a directory, from 1.
    pub seq: u64,
    /// As RFC 3339.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// Its stable name.
    pub event: String,
    /// The id of an account or session, or a word; never a name that was typed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// The address of a known account, masked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub email: String,
    /// The client's network.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// What a known device is counted under.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device: String,
    /// The request, as its answer named it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// Why, in a stable word or two.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The last sequence of the journal that was durable when it was noted.
    #[serde(default)]
    pub journal: u64,
    /// Events that were lost before this one, because the disk was behind.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// SHA-256 of the line before, in hexadecimal; of nothing for the first line of a directory.
    pub prev: String,
}

mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::system::clock::Timestamp;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&at.rfc3339())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom("not a time by RFC 3339"))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The text of a line, sealed, without its end.
pub(super) fn seal(key: &[u8; 32], line: &Line) -> String {
    // A struct of texts and numbers has no way to fail.
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.pop();
    let mac = mac(key, &text);
    text.push_str(MAC);
    text.push_str(&mac);
    text.push_str("\"}");
    text
}

/// Whether the seal of a line's text is its own.
pub(super) fn is_sealed(key: &[u8; 32], text: &str) -> bool {
    let parts = text.rfind(MAC).and_then(|at| Some((text.get(..at)?, text.get(at + MAC.len()..)?)));
    parts.is_some_and(|(said, shown)| shown.strip_suffix("\"}") == Some(mac(key, said).as_str()))
}

fn mac(key: &[u8; 32], said: &str) -> String {
    hex(&keyed_digest(key, &[b"audit line", said.as_bytes()])[..16])
}

pub(super) fn digest(line: &[u8]) -> String {
    hex(&Sha256::digest(line))
}

const MAC: &str = ",\"mac\":\"";
