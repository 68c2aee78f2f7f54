//! The event of a locked name that was tried.

use std::time::Duration;

use crate::audit::event::{Event, Note};
use crate::engine::{Engine, Fault};
use crate::registry::account::actor::Find;
use crate::value::account_name::NameKey;

/// The longest time that the event waits, in milliseconds.
const WAIT_MS_MAX: u8 = 32;

/// Records in `note` that the locked name `name` was tried, with its account if there is one.
///
/// Security: naming an account takes some hundred nanoseconds more than naming none. On a path this short, that would
/// reveal whether there is an account: so neither the answer waits for it, nor any request that whoever tried the name
/// sends next, but one at a time that nobody knows.
pub(super) fn record(engine: &Engine, note: Note, name: NameKey) -> Result<(), Fault> {
    let found = engine.accounts.ask_later(Find { name });
    let [wait] = engine.services.random.bytes()?;
    let engine = engine.itself()?;
    engine.services.audit.tally(Event::LoginLocked);
    let note = note.at_journal(engine.journal.durable());
    actix::spawn(async move {
        if !engine.services.is_stopping() {
            tokio::time::sleep(Duration::from_millis(u64::from(1 + wait % WAIT_MS_MAX))).await;
        }
        let account = found.await.ok().flatten();
        engine.services.audit.record_tallied(note.for_account(account.as_ref()));
    });
    Ok(())
}
