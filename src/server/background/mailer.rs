//! Sends the mails that wait in the outbox.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::TICK;
use crate::engine::{Engine, Fault};
use crate::mail::outgoing::Outgoing;
use crate::mail::template;
use crate::mail::transport::Transport;
use crate::registry::outbox::actor::{Due, Settle};
use crate::registry::outbox::{DeliveryOutcome, open_token};

/// The delay before trying again to record how a delivery ended, when the journal has no room.
const SETTLE_AGAIN: Duration = Duration::from_secs(2);
/// Mails that are read from the outbox at once.
const BATCH: usize = 32;

/// Sends due mails until `ending` is set.
pub(super) async fn run(engine: &Engine, transport: &Transport, ending: &AtomicBool) {
    while !ending.load(Ordering::Relaxed) {
        let due = engine.outbox.ask(Due { limit: BATCH }).await.unwrap_or_default();
        let idle = due.is_empty();
        for mail in due {
            if ending.load(Ordering::Relaxed) {
                return;
            }
            let token = mail
                .token
                .as_ref()
                .and_then(|sealed| open_token(&engine.services.keys.outbox, mail.id, sealed));
            let config = &engine.services.config;
            let origin = config.public_origin.as_str();
            let letter = template::write(
                mail.kind,
                &config.service_name,
                origin,
                &mail.to,
                token.as_ref().map(|t| t.as_str()),
            );
            let domain = config.mail_from.rsplit('@').next().unwrap_or_default();
            let to_nobody = mail.is_to_nobody();
            if config.mail_console && !to_nobody {
                let link = letter.link.as_deref().unwrap_or("no link");
                tracing::info!(target: "portcullis::console", "mail to {}: {} ({link})", mail.to, letter.subject);
            }
            let outgoing = Outgoing {
                message_id: format!("<{:032x}@{domain}>", u128::from_be_bytes(mail.id)),
                from: config.mail_from.clone(),
                to: mail.to.to_string(),
                letter,
            };
            let delivered = if to_nobody { Ok(()) } else { transport.deliver_unless(outgoing, ending).await };
            let tried = match delivered {
                Ok(()) => DeliveryOutcome::Sent,
                Err(error) => {
                    tracing::warn!(%error, tries = mail.tries, "a mail could not be sent");
                    if error.permanent { DeliveryOutcome::Refused } else { DeliveryOutcome::Failed }
                }
            };
            settle(engine, mail.id, tried, ending).await;
        }
        if idle {
            tokio::time::sleep(TICK).await;
        }
    }
}

/// Waits until it is written down how a try ended: what was sent must not be sent again.
async fn settle(engine: &Engine, id: [u8; 16], tried: DeliveryOutcome, ending: &AtomicBool) {
    while let Err(fault) = engine.outbox.ask(Settle { id, outcome: tried }).await {
        if matches!(fault, Fault::Ending) || ending.load(Ordering::Relaxed) {
            return;
        }
        tokio::time::sleep(SETTLE_AGAIN).await;
        // It is tried again in any case; others need not wait for it.
        if tried == DeliveryOutcome::Failed {
            return;
        }
    }
}
