//! Administration of the server's keys.

use crate::audit::event::{Event, Note};
use crate::engine::key_care::Tended;
use crate::engine::{Engine, Fault};
use crate::flow::admin::Admin;
use crate::flow::refusal::{FlowError, Refusal};
use crate::journal::append::handle::NoRoom;
use crate::system::clock::Timestamp;
use crate::token::{KeyKind, RotateError};

/// Makes a new key of the kind `kind`, a signing key if none is named. Returns its id, and the time from which it is
/// used.
pub async fn rotate(
    engine: &Engine,
    admin: &Admin,
    kind: Option<&str>,
) -> Result<(String, Timestamp), FlowError> {
    engine.may_change_rights().await?;
    let field = |code, message: &str| Refusal::Field { pointer: "/kind", code, message: message.to_owned() };
    let kind = kind.map_or(Some(KeyKind::Signing), KeyKind::by_name);
    let kind = kind.ok_or_else(|| {
        let names: Vec<&str> = KeyKind::ALL.iter().map(|kind| kind.name()).collect();
        field("unknown_kind", &format!("expected one of {}", names.join(", ")))
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
    admin.record(engine, Event::KeyRotated, &kid).await?;
    Ok((kid, from))
}

/// Retires a signing key at once, for one that may have leaked. Its tokens are no longer valid.
pub async fn retire(engine: &Engine, admin: &Admin, kid: &str) -> Result<(), FlowError> {
    engine.may_change_rights().await?;
    let retired = engine.services.retire_signing_key(kid).map_err(|error| {
        tracing::error!(%error, "cannot retire a signing key");
        Fault::NoRoom(NoRoom::StorageFull)
    })?;
    if !retired {
        return Err(Refusal::NotFound.into());
    }
    admin.record(engine, Event::KeyRetired, &kid).await?;
    Ok(())
}

/// Changes keys that are old, and removes those of which nothing lives. The server calls it every second.
///
/// Errors: a file that cannot be written or removed.
pub fn tend(engine: &Engine) -> Result<Tended, RotateError> {
    let tended = engine.services.tend_keys()?;
    if let Some((kid, from)) = &tended.made {
        tracing::info!(%kid, signs_from = %from.rfc3339(), "made a new signing key, since the newest is old");
        engine.record(Note::new(Event::KeyRotated).about(kid).with_reason("by age"));
    }
    for kid in &tended.dropped {
        tracing::info!(%kid, "removed a key: nothing lives that it made");
    }
    Ok(tended)
}
