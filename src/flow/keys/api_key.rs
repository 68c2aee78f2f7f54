//! Authentication of a service by its API key, checked against the current state of the registry.

use std::sync::Arc;

use crate::audit::event::Event;
use crate::engine::Engine;
use crate::flow::client::Client;
use crate::flow::refusal::{FlowError, Refusal};
use crate::registry::api_key::actor::{ListApiKeys, UseApiKey};
use crate::registry::api_key::state::written_until;
use crate::registry::api_key::{ApiKeyV1, Scope};
use crate::token::opaque::TokenKind;
use crate::value::id::ApiKeyId;

/// The prefix of the text of an API key.
pub const PREFIX: &str = "pck_";

/// Returns the API key of the text `token`: checks its tag, then that it is alive and the secret is its own.
/// `sent_by` is the client that sends it; its network is charged for one that is not valid.
pub async fn authenticate(
    engine: &Engine,
    token: &str,
    sent_by: Option<&Client>,
) -> Result<Arc<ApiKeyV1>, FlowError> {
    let rejected = || match sent_by {
        Some(client) => {
            let what = "not an API key of this server that is alive";
            let note = client.note(Event::TokenRejected).about(&"API key").with_reason(what);
            engine.reject(client, note, Refusal::InvalidApiKey)
        }
        None => Refusal::InvalidApiKey,
    };
    // Garbage asks no actor.
    let read = engine.services.edge.read(TokenKind::ApiKey, token).map_err(|_| rejected())?;
    let id = ApiKeyId::from_bytes(read.id).ok_or_else(rejected)?;
    let digest = read.secret.digest();
    let now = engine.clock.now();
    let counts = |key: &ApiKeyV1| engine.write_counts.stamp(&key.id, 0);
    if let Some(key) = engine.api_key_cache.find(digest, now, counts) {
        return Ok(key);
    }
    let stamp = engine.write_counts.stamp(&id.to_bytes(), 0);
    let used = UseApiKey { id, digest, global_epoch: engine.global_epoch };
    let key = Arc::new(engine.api_keys.ask(used).await?.ok_or_else(rejected)?);
    let until = key.end().min(written_until(&key));
    engine.api_key_cache.keep(digest, Arc::clone(&key), stamp, until, now);
    Ok(key)
}

/// Refuses an API key where a person must sign in: one that is alive lacks the scope, since no scope reaches there.
pub async fn refuse(engine: &Engine, token: &str, sent_by: Option<&Client>) -> FlowError {
    match authenticate(engine, token, sent_by).await {
        Ok(_) => Refusal::InsufficientScope.into(),
        Err(error) => error,
    }
}

/// Says whether the API key `id` is there now, and opens `scope`.
pub(in crate::flow) async fn is_key_for(
    engine: &Engine,
    id: [u8; 16],
    scope: Scope,
) -> Result<bool, FlowError> {
    let keys = engine.api_keys.ask(ListApiKeys { global_epoch: engine.global_epoch }).await?;
    Ok(keys.iter().any(|key| key.id == id && key.may(scope)))
}
