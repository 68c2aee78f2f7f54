//! Administration of API keys.

use std::time::Duration;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::audit::event::Event;
use crate::engine::Engine;
use crate::flow::admin::{Admin, tell_administrators};
use crate::flow::refusal::{FlowError, Refusal};
use crate::registry::api_key::actor::{DeleteApiKey, ListApiKeys, MakeApiKey};
use crate::registry::api_key::{ApiKeyV1, LIFE_MAX, Scope};
use crate::registry::outbox::Kind;
use crate::system::clock::Timestamp;
use crate::token::opaque::{OpaqueToken, Secret, TokenKind};
use crate::value::id::{ApiKeyId, hex};
use crate::value::printed::is_seen;

/// Life of a key for which no end is asked.
const LIFE: Duration = Duration::from_hours(24 * 365);
/// Maximum length of the name of a key, in characters.
const NAME_CHARS_MAX: usize = 100;
/// How much of a name that is no scope is repeated, in characters.
const SCOPE_CHARS_SHOWN: usize = 40;

/// An API key that was made, with the text that is shown once.
pub struct Made {
    /// Its record.
    pub key: ApiKeyV1,
    /// The credential.
    pub text: Zeroizing<String>,
}

impl Made {
    /// Describes the key as administrators see it, with its text.
    pub fn described(&self) -> Value {
        let mut described = described(&self.key);
        if let Some(fields) = described.as_object_mut() {
            fields.insert(String::from("key"), json!(self.text.as_str()));
        }
        described
    }
}

/// Describes a key as administrators see it, over HTTP and on the command line alike.
pub fn described(key: &ApiKeyV1) -> Value {
    json!({
        "id": hex(&key.id),
        "name": key.name,
        "scopes": key.scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>(),
        "created_at": Timestamp(key.made_ms).rfc3339(),
        "created_by": key.made_by,
        "expires_at": key.end().rfc3339(),
        "last_used_at": (key.used_ms > 0).then(|| Timestamp(key.used_ms).rfc3339()),
    })
}

/// Makes an API key.
pub async fn make(
    engine: &Engine,
    admin: &Admin,
    name: &str,
    scopes: &[String],
    end: Option<Timestamp>,
) -> Result<Made, FlowError> {
    let may_change = engine.may_change_rights().await?;
    let name = name.trim();
    if !is_seen(name) || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        let message = format!("expected 1 to {NAME_CHARS_MAX} characters, of which one is seen");
        return Err(Refusal::Field { pointer: "/name", code: "invalid_name", message }.into());
    }
    let now = engine.clock.now();
    let end = end.unwrap_or(now + LIFE);
    if end <= now || end > now + LIFE_MAX {
        let message =
            format!("expected a time from now on, at most {} days ahead", LIFE_MAX.as_secs() / 86_400);
        return Err(Refusal::Field { pointer: "/expires_at", code: "invalid_end", message }.into());
    }
    let scopes = parse_scopes(scopes)?;
    let secret = Secret::mint(&engine.services.random)?;
    let id = ApiKeyId::mint(engine.services.random.bytes()?);
    let make = MakeApiKey {
        id,
        digest: secret.digest(),
        name: name.into(),
        scopes,
        global_epoch: engine.global_epoch,
        end,
        made_by: admin.name().into(),
    };
    let is_for_admin = make.scopes.iter().any(|scope| matches!(scope, Scope::AdminRead | Scope::AdminWrite));
    let key = engine.api_keys.ask(make).await?.map_err(|_| Refusal::TooManyApiKeys)?;
    if is_for_admin {
        // A key outlives the role of its maker, so none is made silently. If this fails the key is never shown to anybody.
        tell_administrators(engine, Kind::AdminKeyMade, admin.address(), None).await?;
    }
    admin.record(engine, may_change, Event::ApiKeyMade, &id).await?;
    let token = OpaqueToken { kind: TokenKind::ApiKey, id: id.to_bytes(), generation: 0, secret };
    Ok(Made { key, text: engine.services.edge.write(&token) })
}

/// Returns the API keys that are alive.
pub async fn list(engine: &Engine, _: &Admin) -> Result<Vec<ApiKeyV1>, FlowError> {
    Ok(engine.api_keys.ask(ListApiKeys { global_epoch: engine.global_epoch }).await?)
}

/// Deletes an API key. It is dead at once.
pub async fn delete(engine: &Engine, admin: &Admin, id: &str) -> Result<(), FlowError> {
    let may_change = engine.may_change_rights().await?;
    let id: ApiKeyId = id.parse().map_err(|_| Refusal::NotFound)?;
    if !engine.api_keys.ask(DeleteApiKey { id, global_epoch: engine.global_epoch }).await? {
        return Err(Refusal::NotFound.into());
    }
    admin.record(engine, may_change, Event::ApiKeyDeleted, &id).await?;
    Ok(())
}

/// Reads names of scopes, and returns them sorted and without duplicates.
fn parse_scopes(names: &[String]) -> Result<Vec<Scope>, Refusal> {
    let refused = |begins: &str| {
        let known: Vec<&str> = Scope::ALL.iter().map(|scope| scope.name()).collect();
        let message = format!("{begins}expected at least one of {}", known.join(", "));
        Refusal::Field { pointer: "/scopes", code: "invalid_scope", message }
    };
    let mut scopes = Vec::new();
    for name in names {
        // A name as long as a request allows is not repeated in the answer.
        let shown: String = name.chars().take(SCOPE_CHARS_SHOWN).collect();
        scopes.push(Scope::by_name(name).ok_or_else(|| refused(&format!("{shown:?} is no scope; ")))?);
    }
    if scopes.is_empty() {
        return Err(refused(""));
    }
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}
