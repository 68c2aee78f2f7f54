//! Sends the mails that wait in the outbox.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::task::TICK;
use crate::config::Config;
use crate::engine::{Engine, Fault};
use crate::mail::outgoing::{DeliveryError, Outgoing};
use crate::mail::template::{self, Letter};
use crate::mail::transport::Transport;
use crate::registry::outbox::actor::{Due, Settle};
use crate::registry::outbox::record::MailV1;
use crate::registry::outbox::{DeliveryOutcome, open_token};

/// The delay before trying again to record the result of a delivery when the journal has no room.
const SETTLE_RETRY_DELAY: Duration = Duration::from_secs(2);
/// Mails that are read from the outbox at once.
const BATCH: usize = 32;

/// Sends due mails until `ending` is set.
pub(super) async fn run(engine: &Engine, transport: &Transport, ending: &AtomicBool) {
    while !ending.load(Ordering::Relaxed) {
        let due = engine.outbox.ask(Due { limit: BATCH }).await.unwrap_or_default();
        let is_idle = due.is_empty();
        for mail in due {
            if ending.load(Ordering::Relaxed) {
                return;
            }
            let tried = send(engine, transport, &mail, ending).await;
            settle(engine, mail.id, tried, ending).await;
        }
        if is_idle {
            tokio::time::sleep(TICK).await;
        }
    }
}

/// Delivers one mail. A mail to nobody exists only so that its request takes the usual time; it counts as sent.
async fn send(engine: &Engine, transport: &Transport, mail: &MailV1, ending: &AtomicBool) -> DeliveryOutcome {
    let config = &engine.services.config;
    let letter = write_letter(engine, mail);
    let delivered = if mail.is_to_nobody() {
        Ok(())
    } else {
        if config.mail.console {
            print_to_console(mail, &letter);
        }
        transport.deliver_unless(address(config, mail, letter), ending).await
    };
    match delivered {
        Ok(()) => DeliveryOutcome::Sent,
        Err(error) => {
            let DeliveryError { permanent, .. } = error;
            tracing::warn!(%error, tries = mail.tries, "cannot send a mail");
            if permanent { DeliveryOutcome::Refused } else { DeliveryOutcome::Failed }
        }
    }
}

/// Writes the text of a mail, with the token that the outbox keeps sealed.
fn write_letter(engine: &Engine, mail: &MailV1) -> Letter {
    let config = &engine.services.config;
    let sealed = mail.token.as_ref();
    let outbox_keys = &engine.services.keys.outbox;
    let token = sealed.and_then(|sealed| outbox_keys.find_map(|key| open_token(key, mail.id, sealed)));
    template::write(
        mail.kind,
        &config.service_name,
        config.http.public_origin.as_str(),
        &mail.to,
        token.as_ref().map(|token| token.as_str()),
    )
}

/// Adds sender, recipient and a message id that is the same in every try.
fn address(config: &Config, mail: &MailV1, letter: Letter) -> Outgoing {
    let domain = config.mail.from.rsplit('@').next().unwrap_or_default();
    Outgoing {
        message_id: format!("<{:032x}@{domain}>", u128::from_be_bytes(mail.id)),
        from: config.mail.from.clone(),
        to: mail.to.to_string(),
        letter,
    }
}

/// Logs subject and link, for development without a mail server.
fn print_to_console(mail: &MailV1, letter: &Letter) {
    let link = letter.link.as_deref().unwrap_or("no link");
    tracing::info!(target: "portcullis::console", "mail to {}: {} ({link})", mail.to, letter.subject);
}

/// Records the result of a delivery in the journal. It waits for room, because a mail that was sent must not be sent
/// again.
async fn settle(engine: &Engine, id: [u8; 16], tried: DeliveryOutcome, ending: &AtomicBool) {
    while let Err(fault) = engine.outbox.ask(Settle { id, outcome: tried }).await {
        if matches!(fault, Fault::Ending) || ending.load(Ordering::Relaxed) {
            return;
        }
        tokio::time::sleep(SETTLE_RETRY_DELAY).await;
        // A failed mail is tried again in any case, so other mails need not wait for it.
        if tried == DeliveryOutcome::Failed {
            return;
        }
    }
}
