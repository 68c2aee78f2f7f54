//! `portcullis audit acknowledge`: writes down that an operator knows of each change of the log of security events.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::audit::event::Event;
use crate::audit::read::Wanted;
use crate::audit::verify::{CUT, KNOWN_IN_A_LINE, known};
use crate::engine::{Engine, Fault, MayChange};
use crate::flow::admin::{self, Admin};
use crate::flow::refusal::FlowError;

/// Writes down that an operator knows of what starts have found changed in the log of security events. Writes nothing if
/// there is nothing new.
pub(super) async fn acknowledge(engine: &Arc<Engine>, operator: &Admin) -> Result<Value, FlowError> {
    let newest = async |event: &str| -> Result<Option<u64>, FlowError> {
        let wanted = Wanted { event: Some(event.to_owned()), limit: 1, ..Wanted::default() };
        Ok(admin::audit(engine, operator, wanted).await?.pop().map(|line| line.seq))
    };
    let is_cut = newest(CUT).await? > newest(Event::AuditAcknowledged.name()).await?;
    let reader = Arc::clone(engine);
    let read = tokio::task::spawn_blocking(move || reader.services.audit.log.damages()).await;
    let damages = read.map_err(|_| Fault::Ending)?.map_err(Fault::Backup)?;
    if damages.is_empty() && !is_cut {
        return Ok(json!({"event": null}));
    }
    let event = Event::AuditAcknowledged;
    let mut some = damages.chunks(KNOWN_IN_A_LINE);
    let first = some.next().unwrap_or_default();
    for known_ones in std::iter::once(first).chain(some) {
        let more = known(known_ones);
        operator.record_what(engine, MayChange::LINE_ALONE, event, &"audit log", &more).await?;
    }
    let found: Vec<String> = damages.iter().map(|damage| damage.place.to_string()).collect();
    Ok(json!({"event": event.name(), "found": found}))
}
