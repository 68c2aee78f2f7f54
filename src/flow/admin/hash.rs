//! The hash of a password that another system has made.

use super::Admin;
use super::difference::{alter, difference};
use super::list::get;
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::flow::refusal::{FlowError, Refusal};
use crate::password::QueueKey;
use crate::password::foreign::StoredHash;
use crate::registry::account::{AccountV4, Change, ExtraChange};
use crate::value::id::AccountId;

/// Gives an account that has no password the hash that another system has made of it. The owner logs in with the password
/// of there, which is hashed anew by that.
///
/// Errors: the account has a password. That of its owner is not replaced by what an import knows. Or the hash would make every
/// log-in take too long.
pub async fn set_hash(
    engine: &Engine,
    admin: &Admin,
    id: AccountId,
    hash: StoredHash,
) -> Result<AccountV4, FlowError> {
    let may_change = engine.may_change_rights().await?;
    let before = get(engine, admin, id).await?;
    if before.phc.is_some() {
        let message = String::from("the account has a password");
        return Err(Refusal::Field { pointer: "/password_hash", code: "has_password", message }.into());
    }
    let text = match hash {
        StoredHash::Text(text) => text,
        StoredHash::Fast(digest) => engine.services.pool.wrap(QueueKey::OWN, digest).await?.into(),
    };
    // Whoever sets a password meanwhile raises the epoch.
    let imported_ms = Some(engine.clock.now().as_millis());
    let extra = ExtraChange { imported_ms, ..ExtraChange::default() };
    let change = Change {
        phc: Some(text),
        foreign_beside: Some(engine.services.config.password.cost),
        if_epoch: Some(before.auth_epoch),
        extra,
        ..Change::default()
    };
    let altered = alter(engine, id, change).await?;
    admin.record_what(engine, may_change, Event::AdminChanged, &id, &difference(&altered)).await?;
    Ok(altered.after)
}
