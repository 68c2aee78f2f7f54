//! Sends the mails that wait in the outbox, as many at once as [its slots](crate::registry::outbox::slots) allow.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use zeroize::Zeroizing;

use super::task::TICK;
use crate::config::Config;
use crate::engine::{Engine, Fault};
use crate::flow::post::delivery::{Ready, locale_of, look};
use crate::flow::refusal::{FlowError, parse_name};
use crate::mail::outgoing::{DeliveryError, Outgoing, Source};
use crate::mail::template::{self, Draft, Letter};
use crate::mail::transport::Transport;
use crate::registry::account::actor::Find;
use crate::registry::outbox::DeliveryOutcome;
use crate::registry::outbox::actor::{Due, Settle};
use crate::registry::outbox::record::MailV2;
use crate::registry::outbox::slots::AT_ONCE;
use crate::value::account_name::masked;
use crate::value::id::hex;

/// The delay before trying again to record the result of a delivery when the journal has no room.
const SETTLE_RETRY_DELAY: Duration = Duration::from_secs(2);

/// Sends due mails until `ending` is set.
pub(super) async fn run(engine: Arc<Engine>, transport: Transport, ending: Arc<AtomicBool>) {
    let mut deliveries = JoinSet::new();
    let mut sending: HashMap<Id, ([u8; 16], Box<str>)> = HashMap::new();
    while !ending.load(Ordering::Relaxed) {
        let due = if sending.len() < AT_ONCE {
            let due = Due { sending: sending.values().cloned().collect() };
            engine.outbox.ask(due).await.unwrap_or_default()
        } else {
            Vec::new()
        };
        let is_idle = due.is_empty();
        for mail in due {
            let key = (mail.id, Box::from(mail.domain()));
            let delivery = deliver(Arc::clone(&engine), transport.clone(), mail, Arc::clone(&ending));
            sending.insert(deliveries.spawn(delivery).id(), key);
        }
        if is_idle {
            // A mail that is posted meanwhile is looked for after a tick.
            if let Ok(Some(ended)) = tokio::time::timeout(TICK, deliveries.join_next_with_id()).await {
                forget(&mut sending, ended);
            } else if deliveries.is_empty() {
                tokio::time::sleep(TICK).await;
            }
        }
        while let Some(ended) = deliveries.try_join_next_with_id() {
            forget(&mut sending, ended);
        }
    }
    // Those that have begun end soon: each watches `ending` too.
    while deliveries.join_next().await.is_some() {}
}

fn forget(sending: &mut HashMap<Id, ([u8; 16], Box<str>)>, ended: Result<(Id, ()), tokio::task::JoinError>) {
    let id = match ended {
        Ok((id, ())) => id,
        // The mail is still in the outbox, and is sent again.
        Err(error) => {
            tracing::error!(%error, "a delivery ended in a panic; this is a fault of the server");
            error.id()
        }
    };
    sending.remove(&id);
}

/// Delivers one mail and records how that ended.
async fn deliver(engine: Arc<Engine>, transport: Transport, mail: MailV2, ending: Arc<AtomicBool>) {
    let (outcome, took, why) = match look(&engine, &mail).await {
        Ok(Ready::Leaves(token)) => {
            let letter = write_letter(&engine, &mail, token.as_ref().map(|token| token.as_str()));
            let begun = engine.clock.steady();
            let (outcome, has_begun, why) = send(&engine, &transport, &mail, (letter, token), &ending).await;
            let took = engine.clock.steady().saturating_duration_since(begun);
            (outcome, has_begun.then(|| (Box::from(mail.domain()), took)), why)
        }
        Ok(Ready::Dead) => {
            engine.services.dropped_mails.fetch_add(1, Ordering::Relaxed);
            tracing::info!(kind = ?mail.kind, tries = mail.tries, "dropped a mail: its link died while it waited");
            (DeliveryOutcome::Dead, None, None)
        }
        // The engine is ending, or the journal has no room: the mail stays as it is.
        Err(FlowError::Fault(_) | FlowError::Refused(_)) => {
            tokio::time::sleep(TICK).await;
            return;
        }
    };
    settle(&engine, Settle { id: mail.id, outcome, took, of: (mail.to, mail.kind), why }, &ending).await;
}

/// Sends one mail, and says whether the mail server had begun with it, and why it was not taken. A mail to nobody exists only so that its request
/// takes the usual time; it counts as sent.
async fn send(
    engine: &Engine,
    transport: &Transport,
    mail: &MailV2,
    (letter, token): (Letter, Option<Zeroizing<String>>),
    ending: &AtomicBool,
) -> (DeliveryOutcome, bool, Option<Box<str>>) {
    let config = &engine.services.config;
    let delivered = if mail.is_to_nobody() {
        Ok(())
    } else {
        if config.mail.console {
            print_to_console(mail, &letter);
        }
        // Texts of our own are in one language, and this costs a question.
        let locale = match transport {
            Transport::Own(_) => locale_of(engine, mail, token.as_ref()).await.unwrap_or_default(),
            _ => None,
        };
        let about = mail.about.as_deref().map(template::hint);
        let source = Source { kind: mail.kind, token, about, locale };
        transport.deliver_unless(address(config, mail, letter, source), ending).await
    };
    match delivered {
        Ok(()) => (DeliveryOutcome::Sent, true, None),
        Err(error) => {
            let DeliveryError { permanent, has_begun, .. } = error;
            let account = account_of(engine, mail).await;
            tracing::warn!(
                %error,
                kind = mail.kind.name(),
                to = masked(&mail.to),
                account.id = account,
                mail.id = hex(&mail.id),
                tries = mail.tries,
                for_good = permanent,
                "cannot send a mail"
            );
            let outcome = if permanent { DeliveryOutcome::Refused } else { DeliveryOutcome::Failed };
            (outcome, has_begun, Some(error.what.into()))
        }
    }
}

/// Returns the id of the account that has the address of a mail; empty if there is none.
async fn account_of(engine: &Engine, mail: &MailV2) -> String {
    let Ok(name) = parse_name(&mail.to) else { return String::new() };
    let find = Find { name: name.key(&engine.services.keys.directory) };
    let account = engine.accounts.ask(find).await.ok().flatten();
    account.map_or_else(String::new, |account| account.account_id().to_string())
}

/// Writes the text of a mail, with the token of its link.
fn write_letter(engine: &Engine, mail: &MailV2, token: Option<&str>) -> Letter {
    let config = &engine.services.config;
    template::write(Draft {
        kind: mail.kind,
        service: &config.service_name,
        origin: config.http.public_origin.as_str(),
        to: &mail.to,
        about: mail.about.as_deref(),
        token,
    })
}

/// Adds sender, recipient and a message id that is the same in every try.
fn address(config: &Config, mail: &MailV2, letter: Letter, source: Source) -> Outgoing {
    let from = &config.mail.from;
    Outgoing {
        message_id: format!("<{:032x}@{}>", u128::from_be_bytes(mail.id), from.domain),
        from: from.address(),
        from_name: from.name.clone(),
        to: mail.to.to_string(),
        letter,
        source: Some(source),
    }
}

/// Logs subject and link, for development without a mail server.
fn print_to_console(mail: &MailV2, letter: &Letter) {
    let link = letter.link.as_deref().unwrap_or("no link");
    tracing::info!(target: "portcullis::console", "mail to {}: {} ({link})", mail.to, letter.subject);
}

/// Records the result of a delivery in the journal. It waits for room, because a mail that was sent must not be sent
/// again.
async fn settle(engine: &Engine, settle: Settle, ending: &AtomicBool) {
    let tried = settle.outcome;
    while let Err(fault) = engine.outbox.ask(settle.clone()).await {
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
