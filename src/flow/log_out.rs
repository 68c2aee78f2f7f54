//! Log-out: here, elsewhere, everywhere. Idempotent.

use super::authenticate::{Held, Identity};
use super::refusal::{FlowError, Refusal};
use crate::audit::event::{Event, Note};
use crate::engine::Engine;
use crate::registry::account::Change;
use crate::registry::account::actor::Alter;
use crate::registry::refresh::{self, Cause};
use crate::registry::reset::actor::EndAll;
use crate::registry::session;
use crate::token::opaque::{SecretDigest, TokenKind};
use crate::value::id::{AccountId, FamilyId, SessionId};

/// How far it reaches.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// This session.
    #[default]
    Local,
    /// All but this.
    Others,
    /// All.
    Global,
}

/// Ends what the credential reaches.
pub async fn log_out(engine: &Engine, identity: &Identity, scope: Scope) -> Result<(), FlowError> {
    let id = identity.account.account_id();
    let why = match scope {
        Scope::Local => "log-out",
        Scope::Others => "log-out of the others",
        Scope::Global => "log-out everywhere",
    };
    match scope {
        Scope::Local => end(engine, identity).await?,
        Scope::Others => end_others(engine, id, Some(identity.sid())).await?,
        Scope::Global => {
            // One write of one owner: everything that carries the old epoch is dead with it.
            let raised = Alter { id, change: Change { raise_epoch: true, ..Change::default() } };
            let _ = engine.accounts.ask(raised).await?;
            end_others(engine, id, None).await?;
        }
    }
    let note = Note::new(Event::SessionRevoked).for_account(Some(&identity.account)).with_reason(why);
    engine.record_durably(note).await;
    Ok(())
}

/// Ends the family of a refresh token, spent ones in grace included; an unknown token ends nothing and says nothing.
pub async fn log_out_token(engine: &Engine, token: &str) -> Result<(), FlowError> {
    let Ok(read) = engine.services.edge.read(TokenKind::Refresh, token) else { return Ok(()) };
    let Some(id) = FamilyId::from_bytes(read.id) else { return Ok(()) };
    let family = engine.refresh.ask(refresh::actor::Get { id }).await?;
    let digest = read.secret.digest();
    let own = family.is_some_and(|family| {
        let live = family.generation == read.generation && SecretDigest(family.digest) == digest;
        live || family.spent.is_some_and(|spent| SecretDigest(spent.digest) == digest)
    });
    if own {
        engine.refresh.ask(refresh::actor::End { id, cause: Cause::LogOut }).await?;
        engine.record_durably(Note::new(Event::SessionRevoked).about(&id).with_reason("log-out")).await;
    }
    Ok(())
}

async fn end(engine: &Engine, identity: &Identity) -> Result<(), FlowError> {
    match &identity.held {
        Held::Family(family) => {
            engine.refresh.ask(refresh::actor::End { id: family.id, cause: Cause::LogOut }).await?;
        }
        Held::Session(session) => {
            if let Some(id) = SessionId::from_bytes(session.id) {
                engine.sessions.ask(session::actor::End { id }).await?;
            }
        }
    }
    Ok(())
}

/// Ends all sessions and families of an account but one.
pub(super) async fn end_others(
    engine: &Engine,
    account: AccountId,
    but: Option<[u8; 16]>,
) -> Result<(), FlowError> {
    // All in one entry or a few, so that resource servers hear of the last a moment after the first.
    while engine.refresh.ask(refresh::actor::EndOthers { account, except: but, cause: Cause::LogOut }).await?
    {
    }
    while engine.sessions.ask(session::actor::EndOthers { account, except: but }).await? {}
    Ok(())
}

/// As [`end_others`], and everything that was mailed to the account.
pub(super) async fn end_others_and_mailed(
    engine: &Engine,
    account: AccountId,
    but: Option<[u8; 16]>,
) -> Result<(), FlowError> {
    end_others(engine, account, but).await?;
    Ok(engine.mailed.ask(EndAll { account }).await?)
}

/// Ends one session of one's own, by the id that the list shows.
pub async fn end_one(engine: &Engine, identity: &Identity, id: &str) -> Result<(), FlowError> {
    let account = identity.account.account_id();
    let family: FamilyId = id.parse().map_err(|_| Refusal::NotFound)?;
    if let Some(found) = engine.refresh.ask(refresh::actor::Alive { id: family }).await?
        && found.account == account
    {
        engine.refresh.ask(refresh::actor::End { id: family, cause: Cause::Revoked }).await?;
        return Ok(());
    }
    let session: SessionId = id.parse().map_err(|_| Refusal::NotFound)?;
    if let Some(found) = engine.sessions.ask(session::actor::Alive { id: session }).await?
        && found.account == account.to_bytes()
    {
        engine.sessions.ask(session::actor::End { id: session }).await?;
        return Ok(());
    }
    Err(Refusal::NotFound.into())
}
