//! One line of the audit log: its fields, the hash that chains it and the HMAC that seals it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::system::clock::Timestamp;
use crate::value::id::{hex, keyed_digest};

/// One event as it is written. `seal` adds the HMAC as a last field, `mac`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[schema(as = AuditEvent, description = "A security event. Members that would be empty or 0 are left out.")]
pub struct Line {
    /// Number of the line in its directory, from 1.
    pub seq: u64,
    /// When the event happened, written as RFC 3339.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// The stable name of the event.
    pub event: String,
    /// The id of an account or session, or a fixed word; never a name that was typed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// The address of a known account, masked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub email: String,
    /// The id of the session that the event began. Lines of earlier versions have none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub session: String,
    /// The client's network.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// The digest of the known device that the client presented.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device: String,
    /// The id of the request, as in its answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// The reason, in a stable word or two.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The last sequence of the journal that was durable when the event was noted.
    #[serde(default)]
    pub journal: u64,
    /// Events lost before this one because the queue was full or the disk refused writes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// Events of this kind that have no line of their own, and that this line stands for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub folded: u64,
    /// Lines that are missing before this one, as the start found that wrote it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing: u64,
    /// SHA-256 of the line before, in hexadecimal. The first line of a directory has the SHA-256 of the empty string.
    pub prev: String,
}

impl Line {
    /// Says whether the event is about the account or session with the id `id`: its subject, the session that it began, or
    /// the one that an operator ended.
    pub fn is_about(&self, id: &str) -> bool {
        let ended = || self.reason.rsplit_once(": session ").is_some_and(|(_, session)| session == id);
        self.subject == id || (!id.is_empty() && self.session == id) || ended()
    }

    /// Returns which administrator, API key or operator caused the event, if one did.
    pub fn by(&self) -> Option<&str> {
        let by = self.reason.strip_prefix("by ")?;
        Some(by.split_once(": ").map_or(by, |(who, _)| who))
    }

    /// Says whether `who` caused the event: an id of an account or an API key, or `operator`, whatever its uid.
    pub fn is_by(&self, who: &str) -> bool {
        self.by().is_some_and(|by| {
            by == who
                || by.strip_prefix("API key ") == Some(who)
                || by.strip_prefix(who).is_some_and(|uid| who == "operator" && uid.starts_with('('))
        })
    }

    /// Writes the event to the log of the process as well.
    pub(super) fn announce(&self) {
        tracing::info!(
            target: "portcullis::event",
            event = self.event,
            subject = self.subject,
            email = self.email,
            network = self.network,
            request.id = self.request_id,
            reason = self.reason,
            folded = self.folded,
            "security event"
        );
    }
}

mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::system::clock::Timestamp;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "required by serde")]
    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&at.rfc3339())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom("not a time by RFC 3339"))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "required by serde")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Returns the text of `line`, or of another object with fields, with its seal, without the final newline.
pub(super) fn seal(key: &[u8; 32], line: &impl Serialize) -> String {
    // Serialising a struct of strings and numbers cannot fail.
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.pop();
    let mac = mac(key, &text);
    text.push_str(MAC);
    text.push_str(&mac);
    text.push_str("\"}");
    text
}

/// Says whether the seal of `text` was made with `key` over the rest of it.
pub(super) fn is_sealed(key: &[u8; 32], text: &str) -> bool {
    let parts = text.rfind(MAC).and_then(|at| Some((text.get(..at)?, text.get(at + MAC.len()..)?)));
    parts.is_some_and(|(content, seal)| seal.strip_suffix("\"}") == Some(mac(key, content).as_str()))
}

/// Returns the first 16 bytes of the HMAC of a line, in hexadecimal.
fn mac(key: &[u8; 32], content: &str) -> String {
    hex(&keyed_digest(key, &[b"audit line", content.as_bytes()])[..16])
}

/// Returns the hash by which the next line names this one.
pub(super) fn digest(line: &[u8]) -> String {
    hex(&Sha256::digest(line))
}

/// The JSON between the fields of a line and its seal.
const MAC: &str = ",\"mac\":\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_did_it_and_a_longer_name_is_somebody_else() {
        for (reason, who, is_by) in [
            ("by operator", "operator", true),
            ("by operator(uid 0)", "operator", true),
            ("by operator(uid 0): roles +admin", "operator(uid 0)", true),
            ("by operator(uid 0): roles +admin", "operator(uid 1)", false),
            ("by 00ab: roles +admin", "00ab", true),
            ("by 00ab: roles +admin", "00a", false),
            ("by API key 00cd", "00cd", true),
            ("by API key 00cd", "API key 00cd", true),
            ("by age", "operator", false),
            ("operator", "operator", false),
            ("", "", false),
        ] {
            let line = Line { reason: reason.into(), ..Line::default() };
            assert_eq!(line.is_by(who), is_by, "{reason:?} {who:?}");
        }
    }
}
