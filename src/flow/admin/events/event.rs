//! An event as other programs see it.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use utoipa::ToSchema;

use super::cursor::EventCursor;
use crate::registry::event::{EndReason, EventV1, What};
use crate::system::clock::Timestamp;
use crate::value::id::{AccountId, hex};

/// Something that happened to an account or a session.
#[derive(Clone, Serialize, ToSchema)]
pub struct Event {
    /// Its number: growing, but not dense.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_u64)]
    seq: u64,
    /// When it happened.
    #[schema(format = DateTime, value_type = String)]
    at: String,
    /// What happened.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "account.verified")]
    kind: &'static str,
    /// The id of the account.
    account: String,
    /// More about it, by the type.
    data: EventData,
    #[serde(skip)]
    at_ms: u64,
    #[serde(skip)]
    id: [u8; 16],
    #[serde(skip)]
    cursor: EventCursor,
}

/// More about an event. A member is there with the types that have it; more may be added later.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct EventData {
    /// Of `account.created` and `account.email_changed`: the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Email, nullable = false)]
    pub(super) email: Option<String>,
    /// Of `account.created`, if it has one, and of `account.name_changed`: the name; null if it was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    #[expect(clippy::option_option, reason = "a name that was removed is null, and others have none")]
    pub(super) name: Option<Option<String>>,
    /// Of `account.created` and `account.roles_changed`: all roles.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) roles: Option<Vec<String>>,
    /// Of `account.metadata_changed`: what has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, nullable = false)]
    pub(super) changed: Option<Vec<&'static str>>,
    /// Of `session.opened`, `session.ended` and `refresh.reused`: the id of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) session: Option<String>,
    /// Of `session.opened` and `session.ended`: `cookie` or `tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    pub(super) kind: Option<&'static str>,
    /// Of `session.ended`, if it is known: `log_out`, `revoked`, `reuse`, `gave_way` or `replaced`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    pub(super) reason: Option<&'static str>,
    /// Of `lockout.started`: when the lock ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    pub(super) until: Option<String>,
}

impl Event {
    pub(super) fn new(cursor: EventCursor, event: &EventV1) -> Self {
        let (kind, data) = (event.what.type_name(), told(&event.what));
        Self {
            seq: cursor.seq,
            at: Timestamp(event.at_ms).rfc3339(),
            kind,
            account: hex(&event.about),
            data,
            at_ms: event.at_ms,
            id: event.about,
            cursor,
        }
    }

    /// Returns its number: growing, but not dense.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Returns when it happened.
    pub fn at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.at_ms)
    }

    /// Returns its type, such as `account.created`.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// Returns the id of the account, as text.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Returns the id of the account.
    pub fn account_id(&self) -> Option<AccountId> {
        AccountId::from_bytes(self.id)
    }

    /// Returns the address that `account.created` and `account.email_changed` have.
    pub fn email(&self) -> Option<&str> {
        self.data.email.as_deref()
    }

    /// Returns the name that `account.created` and `account.name_changed` may have.
    pub fn name(&self) -> Option<&str> {
        self.data.name.as_ref()?.as_deref()
    }

    /// Returns the roles that `account.created` and `account.roles_changed` have.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.data.roles.iter().flatten().map(String::as_str)
    }

    /// Returns the id of the session that the event is about.
    pub fn session(&self) -> Option<&str> {
        self.data.session.as_deref()
    }

    /// Returns the reason that `session.ended` may have.
    pub const fn reason(&self) -> Option<&'static str> {
        self.data.reason
    }

    /// Returns the place after this event, from which a later reading goes on.
    pub const fn cursor(&self) -> EventCursor {
        self.cursor
    }

    /// Returns the event as the API shows it.
    pub fn to_json(&self) -> String {
        // No map in it has keys that are no texts.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl fmt::Debug for Event {
    /// Shows no address and no name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq, kind, account, .. } = self;
        f.debug_struct("Event")
            .field("seq", seq)
            .field("kind", kind)
            .field("account", account)
            .finish_non_exhaustive()
    }
}

/// Returns what an event has beside its type.
fn told(what: &What) -> EventData {
    let none = EventData::default;
    let text = |text: &str| text.to_owned();
    let all = |roles: &[Box<str>]| roles.iter().map(|role| text(role)).collect();
    match what {
        What::Verified | What::Disabled | What::Enabled | What::Deleted | What::PasswordChanged => none(),
        What::Created { email, name, roles } => {
            let name = name.as_deref().map(|name| Some(text(name)));
            EventData { email: Some(text(email)), name, roles: Some(all(roles)), ..none() }
        }
        What::EmailChanged { email } => EventData { email: Some(text(email)), ..none() },
        What::NameChanged { name } => EventData { name: Some(name.as_deref().map(text)), ..none() },
        What::RolesChanged { roles } => EventData { roles: Some(all(roles)), ..none() },
        What::MetadataChanged(metadata) => EventData { changed: Some(metadata.names().collect()), ..none() },
        What::SessionOpened { session, credential } => {
            EventData { session: Some(hex(session)), kind: Some(credential.name()), ..none() }
        }
        What::SessionEnded { session, credential, reason } => {
            let (session, kind) = (Some(hex(session)), Some(credential.name()));
            EventData { session, kind, reason: reason.map(EndReason::name), ..none() }
        }
        What::LockoutStarted { until_ms } | What::LockoutOfNobody { until_ms } => {
            EventData { until: Some(Timestamp(*until_ms).rfc3339()), ..none() }
        }
        What::RefreshReused { session } => EventData { session: Some(hex(session)), ..none() },
    }
}
