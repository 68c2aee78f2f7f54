//! What an operator does with keys: those of the server, and API keys.

use serde_json::{Value, json};

use crate::engine::Engine;
use crate::engine::key_care::ListedKey;
use crate::flow::admin::Admin;
use crate::flow::keys::{api_keys, rotation};
use crate::flow::refusal::{FlowError, Refusal};
use crate::system::clock::Timestamp;
use crate::value::id::hex;

/// Keys of one name whose ids are told at most.
const NAMED_KEYS_MAX: usize = 10;

pub(super) fn list_keys(engine: &Engine, all: bool) -> Value {
    let signer = engine.services.signer.read();
    let now = engine.clock.now();
    let signing = signer.listed(now).map(|(key, from, signs)| {
        let mut item = json!(key);
        if let Some(fields) = item.as_object_mut() {
            fields.insert(String::from("signs"), json!(signs));
            // One that had to take over early, since another was retired, signs before its time.
            let is_early = signs && from > now;
            if from > Timestamp::ZERO && !is_early {
                fields.insert(String::from("signs_from"), json!(from.rfc3339()));
            }
        }
        item
    });
    let mut items: Vec<Value> = signing.collect();
    if all {
        items.extend(engine.services.listed_keys().iter().map(ring_key_json));
    }
    json!({"items": items})
}

fn ring_key_json(key: &ListedKey) -> Value {
    json!({
        "kid": key.kid,
        "kind": key.kind.name(),
        "newest": key.until.is_none(),
        "used_from": (key.from > Timestamp::ZERO).then(|| key.from.rfc3339()),
        "verifies_until": key.until.map(Timestamp::rfc3339),
    })
}

pub(super) async fn rotate_key(
    engine: &Engine,
    operator: &Admin,
    kind: Option<&str>,
) -> Result<Value, FlowError> {
    let (kid, from) = rotation::rotate(engine, operator, kind).await?;
    Ok(json!({"kid": kid, "signs_from": from.rfc3339()}))
}

pub(super) async fn retire_key(engine: &Engine, operator: &Admin, kid: &str) -> Result<Value, FlowError> {
    rotation::retire(engine, operator, kid).await.map_err(|error| {
        or_missing(error, "/kid", || {
            let other = engine.services.listed_keys().into_iter().find(|key| key.kid == kid);
            match other.map(|key| key.kind) {
                Some(kind) if kind.fixed().is_none() => format!(
                    "{kid} is a key of the kind {0}: only signing keys retire; `portcullis key rotate {0}` changes it",
                    kind.name()
                ),
                Some(kind) => {
                    format!("{kid} is the key of the kind {}: only signing keys retire", kind.name())
                }
                None => format!("{kid:?} is no signing key: `portcullis key list` shows them"),
            }
        })
    })?;
    Ok(json!({"kid": kid}))
}

pub(super) async fn make_api_key(
    engine: &Engine,
    operator: &Admin,
    name: &str,
    scopes: &[String],
    end: Option<&str>,
) -> Result<Value, FlowError> {
    let wrong = || Refusal::Field {
        pointer: "/expires_at",
        code: "invalid_time",
        message: String::from("expected a time such as 2027-01-15T08:00:00Z"),
    };
    let end = end.map(|text| Timestamp::parse_rfc3339(text).ok_or_else(wrong)).transpose()?;
    let made = api_keys::make(engine, operator, name, scopes, end).await?;
    Ok(made.described())
}

pub(super) async fn list_api_keys(engine: &Engine, operator: &Admin) -> Result<Value, FlowError> {
    let keys = api_keys::list(engine, operator).await?;
    Ok(json!({"items": keys.iter().map(api_keys::described).collect::<Vec<_>>()}))
}

pub(super) async fn delete_api_key(engine: &Engine, operator: &Admin, id: &str) -> Result<Value, FlowError> {
    if let Err(error) = api_keys::delete(engine, operator, id).await {
        let keys = api_keys::list(engine, operator).await?;
        let named = keys.iter().filter(|key| &*key.name == id).map(|key| hex(&key.id));
        let named: Vec<String> = named.take(NAMED_KEYS_MAX).collect();
        return Err(or_missing(error, "/id", || match named.as_slice() {
            [] => format!("{id:?} is no id of an API key: `portcullis api-key list` shows them"),
            ids => format!("{id:?} is the name of an API key: give its id, {}", ids.join(" or ")),
        }));
    }
    Ok(json!({"id": id}))
}

/// Says what was looked for where nothing was found.
pub(super) fn or_missing(
    error: FlowError,
    pointer: &'static str,
    message: impl FnOnce() -> String,
) -> FlowError {
    match error {
        FlowError::Refused(Refusal::NotFound) => {
            Refusal::Field { pointer, code: "not_found", message: message() }.into()
        }
        other => other,
    }
}
