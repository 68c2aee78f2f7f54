//! The event of a locked name that was tried.

use crate::audit::event::{Event, Note};
use crate::engine::{Engine, Fault};
use crate::registry::account::actor::Find;
use crate::value::account_name::NameKey;

/// Records in `note` that the locked name `name` was tried, with its account if there is one.
///
/// Security: the answer does not wait for the look-up. On a path this short, its time would reveal whether there is an
/// account.
pub(super) fn record(engine: &Engine, note: Note, name: NameKey) -> Result<(), Fault> {
    let found = engine.accounts.ask_later(Find { name });
    let engine = engine.itself()?;
    engine.services.audit.tally(Event::LoginLocked);
    actix::spawn(async move {
        let account = found.await.ok().flatten();
        let note = note.for_account(account.as_ref()).at_journal(engine.journal.durable());
        engine.services.audit.record_tallied(note);
    });
    Ok(())
}
