//! Administration of the server's keys.

use crate::audit::event::{Event, Note};
use crate::engine::key_care::Tended;
use crate::engine::{Engine, Fault};
use crate::flow::admin::Admin;
use crate::flow::refusal::{FlowError, Refusal};
use crate::journal::append::handle::NoRoom;
use crate::registry::file_check::actor::{ForgetKeys, Remember};
use crate::system::clock::Timestamp;
use crate::token::{KeyKind, RotateError};

/// Makes a new key of the kind `kind`, a signing key if none is named. Returns its id, and the time from which it is
/// used.
pub async fn rotate(
    engine: &Engine,
    admin: &Admin,
    kind: Option<&str>,
) -> Result<(String, Timestamp), FlowError> {
    let may_change = engine.may_change_rights().await?;
    let field = |code, message: &str| Refusal::Field { pointer: "/kind", code, message: message.to_owned() };
    let kind = kind.map_or(Some(KeyKind::Signing), KeyKind::by_name);
    let kind = kind.ok_or_else(|| {
        let can_rotate = KeyKind::ALL.iter().filter(|kind| kind.fixed().is_none());
        let names: Vec<&str> = can_rotate.map(|kind| kind.name()).collect();
        field("unknown_kind", &format!("expected a kind of key that can be rotated: {}", names.join(", ")))
    })?;
    if let Some(why) = kind.fixed() {
        return Err(field("cannot_rotate", why).into());
    }
    let (kid, from) = engine.services.rotate_key(kind).map_err(|error| match error {
        RotateError::TooMany => FlowError::from(Refusal::TooManyKeys),
        RotateError::Fixed(why) => field("cannot_rotate", why).into(),
        RotateError::Io(error) => {
            tracing::error!(%error, kind = kind.name(), "cannot make a key");
            Fault::NoRoom(NoRoom::StorageFull).into()
        }
    })?;
    // Only the new key of a ring: another may just be forgotten. Without room in the journal a later look after the keys
    // does it.
    let mut new = remember(engine);
    new.keys.retain(|check| check.name() == kid);
    let _ = engine.file_checks.ask(new).await;
    admin.record(engine, may_change, Event::KeyRotated, &kid).await?;
    Ok((kid, from))
}

/// Retires a signing key at once, for one that may have leaked. Its tokens are no longer valid.
pub async fn retire(engine: &Engine, admin: &Admin, kid: &str) -> Result<(), FlowError> {
    let may_change = engine.may_change_rights().await?;
    let retired = engine.services.retire_signing_key(kid).map_err(|error| {
        tracing::error!(%error, "cannot retire a signing key");
        Fault::NoRoom(NoRoom::StorageFull)
    })?;
    if !retired {
        return Err(Refusal::NotFound.into());
    }
    // So that no copy of its file brings it back. Without room in the journal a later look after the keys does it, and the
    // record of its end stands beside the keys meanwhile.
    let _ = engine.file_checks.ask(Remember { keys: Vec::new(), ..remember(engine) }).await;
    admin.record(engine, may_change, Event::KeyRetired, &kid).await?;
    Ok(())
}

/// Why keys cannot be looked after.
#[derive(Debug, thiserror::Error)]
pub enum TendError {
    /// A file that cannot be written or removed.
    #[error(transparent)]
    Files(#[from] RotateError),
    /// The journal has no room to forget a key.
    #[error(transparent)]
    Journal(#[from] Fault),
}

/// The check values that the journal is known to remember, between two looks after the keys.
#[derive(Debug, Default)]
pub struct Remembered(Remember);

/// Changes keys that are old, removes those of which nothing lives, and has the journal remember the others. One task calls
/// it every second: a key is never remembered and forgotten at the same time.
///
/// Errors: a file that cannot be written or removed, or no room in the journal.
pub async fn tend(engine: &Engine, remembered: &mut Remembered) -> Result<Tended, TendError> {
    let expired = engine.services.expired_keys();
    if !expired.is_empty() {
        // Before the files go: a start is refused without a key that is remembered.
        engine.file_checks.ask(ForgetKeys { keys: expired.clone() }).await?;
    }
    let tended = engine.services.tend_keys(&expired)?;
    let now = remember(engine);
    if remembered.0 != now {
        engine.file_checks.ask(now.clone()).await?;
        remembered.0 = now;
    }
    if let Some((kid, from)) = &tended.made {
        tracing::info!(%kid, signs_from = %from.rfc3339(), "made a new signing key, since the newest is old");
        engine.record(Note::new(Event::KeyRotated).about(kid).with_reason("by age"));
    }
    for kid in &tended.dropped {
        tracing::info!(%kid, "removed a key: nothing lives that it made");
    }
    Ok(tended)
}

/// Returns the keys that the journal must remember.
fn remember(engine: &Engine) -> Remember {
    let services = &engine.services;
    let signing = Some(services.signing_check_values());
    Remember { keys: services.keys.loaded_check_values(), signing, audit_end: None }
}
