//! `portcullis webhook`: how the programs stand that are called with events.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::audit::event::Event;
use crate::engine::Engine;
use crate::engine::webhook_status::WebhookStatus;
use crate::flow::admin::Admin;
use crate::flow::refusal::{FlowError, Refusal};

/// Lists the webhooks that are called.
pub(super) fn list(engine: &Engine) -> Value {
    let items: Vec<Value> = engine.services.webhooks().iter().map(|webhook| shown(webhook)).collect();
    json!({"items": items})
}

fn shown(webhook: &WebhookStatus) -> Value {
    let state = webhook.state();
    json!({
        "host": webhook.host,
        "status": match (&state.disabled, state.failing_since) {
            (Some(_), _) => "disabled",
            (None, Some(_)) => "failing",
            (None, None) => "active",
        },
        "why": state.disabled.or(state.last_error),
        "waiting_since": state.waiting_since.map(crate::system::clock::Timestamp::rfc3339),
        "taken": state.taken,
        "failed": state.failed,
    })
}

/// Has the webhooks at `host` called again, or all that are disabled or failing.
pub(super) async fn resume(
    engine: &Engine,
    operator: &Admin,
    host: Option<&str>,
) -> Result<Value, FlowError> {
    let is_meant = |webhook: &&Arc<WebhookStatus>| host.is_none_or(|host| webhook.host == host);
    let meant: Vec<&Arc<WebhookStatus>> = engine.services.webhooks().iter().filter(is_meant).collect();
    if meant.is_empty() {
        let message =
            String::from("no webhook is called there by a running server; see `portcullis webhook list`");
        return Err(Refusal::Field { pointer: "/host", code: "not_found", message }.into());
    }
    let mut resumed = Vec::new();
    for webhook in meant {
        let state = webhook.state();
        if state.disabled.is_some() || state.failing_since.is_some() {
            let may_change = engine.may_change_rights().await?;
            webhook.resume();
            operator.record(engine, may_change, Event::WebhookResumed, &webhook.host).await?;
            resumed.push(webhook.host.clone());
        }
    }
    Ok(json!({"resumed": resumed}))
}
