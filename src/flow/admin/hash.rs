//! The hash of a password that another system has made.

use serde_json::Value;

use super::Admin;
use super::difference::{alter, difference};
use super::list::get;
use crate::audit::event::Event;
use crate::engine::{Engine, Fault};
use crate::flow::refusal::{FlowError, Refusal};
use crate::password::QueueKey;
use crate::password::foreign::{self, ForeignFault, LogInCost, StoredHash};
use crate::registry::account::actor::Import as ImportBatch;
use crate::registry::account::import::{Batch, Imported, Taken, ToImport};
use crate::registry::account::{self, AccountV4, Change, ExtraChange, SignUp};
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
        return Err(refused("has_password", "the account has a password").into());
    }
    let text = stored_text(engine, hash).await?;
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

/// Reads a hash as a line of an import or a request holds it. Nothing is hashed yet.
pub(super) fn read_hash(engine: &Engine, hash: &Value) -> Result<StoredHash, Refusal> {
    let hash = foreign::read(hash).map_err(|fault| wrong_hash(&fault))?;
    if let StoredHash::Text(text) = &hash {
        refuse_other_pepper(engine, text)?;
    }
    Ok(hash)
}

/// Returns what is stored of a hash: a fast one is hashed once more.
pub(super) async fn stored_text(engine: &Engine, hash: StoredHash) -> Result<Box<str>, FlowError> {
    match hash {
        StoredHash::Text(text) => Ok(text),
        StoredHash::Fast(digest) => Ok(engine.services.pool.wrap(QueueKey::OWN, digest).await?.into()),
    }
}

/// Creates the account of `sign_up`, whose password another system has hashed, unless the hash would make every log-in take
/// too long.
pub(super) async fn create_with_hash(engine: &Engine, sign_up: SignUp) -> Result<AccountV4, FlowError> {
    // As at an import: its owner proves the address first, or chooses a password of their own.
    let is_vouched = sign_up.verified;
    let account = AccountV4 { is_vouched, ..sign_up.into_account(engine.clock.now()) };
    let mut batch = Batch::new(engine.services.config.password.cost, LogInCost::default());
    batch.push(ToImport { account: account.clone(), has_given_id: false }).map_err(|_| Fault::Ending)?;
    match engine.accounts.ask(ImportBatch { batch }).await?.pop() {
        Some(Imported::Created) => Ok(account),
        Some(Imported::Taken { what: Taken::ExternalId, .. }) => Err(Refusal::ExternalIdTaken.into()),
        Some(Imported::TooDear(too_dear)) => Err(Refusal::from(account::Refusal::TooDear(too_dear)).into()),
        Some(Imported::Taken { .. }) | None => Err(Refusal::EmailTaken.into()),
    }
}

/// Refuses a hash with a pepper that this server does not have: no password would ever match.
fn refuse_other_pepper(engine: &Engine, text: &str) -> Result<(), Refusal> {
    let pepper = foreign::Stored::parse(text).ok().and_then(|stored| stored.pepper());
    match pepper {
        Some(id) if !engine.services.peppers.has(&id) => {
            let why = "the hash was made with a pepper (its keyid) that password.pepper_file does not have";
            Err(refused("unknown_pepper", why))
        }
        _ => Ok(()),
    }
}

/// Says why a hash cannot be read.
pub(super) fn wrong_hash(fault: &ForeignFault) -> Refusal {
    let code = match fault {
        ForeignFault::Unknown(_) => "unknown_scheme",
        ForeignFault::Refused { .. } => "refused_scheme",
        ForeignFault::Form { .. } => "invalid_hash",
        ForeignFault::OutOfBounds { .. } => "out_of_bounds",
    };
    refused(code, fault.to_string())
}

/// Refuses the hash of a password.
pub(super) fn refused(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::Field { pointer: "/password_hash", code, message: message.into() }
}
