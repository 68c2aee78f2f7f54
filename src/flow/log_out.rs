//! Log-out: this session, all others, or all. Idempotent.
//!
//! **The attack:** a client sends what is not accepted any more, is told that it is logged out, and forgets a session that
//! lives on: by its refresh token, in another browser, or in all those that it wanted to end.
//!
//! **The rule:** success is said of what has ended alone. An access token that has expired says nothing of its session, so it
//! is refused: the client refreshes it and asks again. One that is in time, whose session has ended, is logged out already.

use super::authenticate::{Credential, Held, Identity, live_account};
use super::client::Client;
use super::refresh::tell_owner;
use super::refusal::{FlowError, Refusal};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::registry::account::Change;
use crate::registry::account::actor::Alter;
use crate::registry::refresh::{self, Cause, LoggedOut, Presented};
use crate::registry::reset::actor::EndAll;
use crate::registry::session;
use crate::token::opaque::TokenKind;
use crate::value::id::{AccountId, FamilyId, SessionId, hex};

/// The sessions that a log-out ends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// This session.
    #[default]
    Local,
    /// All sessions but this one.
    Others,
    /// All sessions.
    Global,
}

/// Ends the sessions of the account of `identity` that are in `scope`.
///
/// Ending the others alone needs a fresh proof: who holds a stolen session must not be able to throw out its owner and
/// stay. Ending all of them needs none, since the asker's own ends as well and an owner who suspects a theft is in a hurry.
/// Without a fresh proof the known devices stay known, though: else the holder of a stolen session could make a stranger of
/// the owner, and strangers could then lock the owner out.
pub async fn log_out(
    engine: &Engine,
    client: &Client,
    identity: &Identity,
    scope: Scope,
) -> Result<(), FlowError> {
    let id = identity.account.account_id();
    if scope == Scope::Others {
        identity.is_fresh(engine.clock.now())?;
    }
    let why = match scope {
        Scope::Local => "log-out",
        Scope::Others => "log-out of the others",
        Scope::Global => "log-out everywhere",
    };
    match scope {
        Scope::Local => end(engine, client, identity).await?,
        Scope::Others => end_others(engine, id, Some(identity.sid()), Some(client)).await?,
        Scope::Global => {
            // One write of one actor: it ends every credential of the old epoch at once.
            let keep_devices = identity.is_fresh(engine.clock.now()).is_err();
            let change = Change { raise_epoch: true, keep_devices, ..Change::default() };
            let raised = Alter { id, change };
            let _ = engine.accounts.ask(raised).await?;
            end_others(engine, id, None, Some(client)).await?;
        }
    }
    let note = client.note(Event::SessionRevoked).for_account(Some(&identity.account)).with_reason(why);
    engine.record_durably(note).await;
    Ok(())
}

/// Ends the sessions in `scope` for a client that sends the refresh token `token` beside its access token.
///
/// Errors: [`Refusal::AmbiguousCredentials`] if the two are of different sessions.
pub async fn log_out_both(
    engine: &Engine,
    client: &Client,
    identity: &Identity,
    token: &str,
    scope: Scope,
) -> Result<(), FlowError> {
    let read = engine.services.edge.read(TokenKind::Refresh, token);
    if read.map_err(|_| Refusal::InvalidRefreshToken)?.id != identity.sid() {
        return Err(Refusal::AmbiguousCredentials.into());
    }
    match scope {
        Scope::Local => log_out_token(engine, client, token).await,
        Scope::Others | Scope::Global => log_out(engine, client, identity, scope).await,
    }
}

/// Says whether the session of a credential that is not accepted is known to have ended.
///
/// Of an access token that is not of this server, or not in time, that is not known. A cookie that no browser was given has
/// no session. The session of a cookie that another browser was given may be alive there.
pub async fn has_ended(engine: &Engine, credential: Credential<'_>) -> Result<bool, FlowError> {
    let (account, auth_epoch, global_epoch) = match credential {
        Credential::Bearer(token) => {
            let Some(id) = family_of(engine, token) else { return Ok(false) };
            let Some(family) = engine.refresh.ask(refresh::actor::Alive { id }).await? else {
                return Ok(true);
            };
            (family.account, family.auth_epoch, family.global_epoch)
        }
        Credential::Cookie(token) => {
            let read = engine.services.edge.read(TokenKind::Session, token);
            let Some(id) = read.ok().and_then(|read| SessionId::from_bytes(read.id)) else { return Ok(true) };
            let session = engine.sessions.ask(session::actor::Alive { id }).await?;
            let Some(session) = session else { return Ok(true) };
            let Some(account) = AccountId::from_bytes(session.account) else { return Ok(true) };
            (account, session.auth_epoch, session.global_epoch)
        }
    };
    match live_account(engine, account, auth_epoch, global_epoch).await {
        Ok(_) => Ok(false),
        Err(FlowError::Refused(_)) => Ok(true),
        Err(fault) => Err(fault),
    }
}

/// Returns the family of an access token that this server has signed and that is in time.
fn family_of(engine: &Engine, token: &str) -> Option<FamilyId> {
    // The mark first: garbage must not cost the check of a signature once more.
    engine.services.token_marks.expiry(token)?;
    let (now, ahead) = (engine.clock.system_now(), engine.clock.ahead());
    engine.services.signer.read().verify(token, now, ahead).ok()?.sid.parse().ok()
}

/// Ends the family of a refresh token, also of a spent one: within its grace that is a log-out, after it a reuse, of which
/// the owner is told. One of a family that ended before ends nothing, and the caller does not learn that.
///
/// Errors: [`Refusal::InvalidRefreshToken`] for a text that is none. The session that it was meant for goes on.
pub async fn log_out_token(engine: &Engine, client: &Client, token: &str) -> Result<(), FlowError> {
    let read = engine.services.edge.read(TokenKind::Refresh, token);
    let read = read.map_err(|_| Refusal::InvalidRefreshToken)?;
    let id = FamilyId::from_bytes(read.id).ok_or(Refusal::InvalidRefreshToken)?;
    let (generation, digest) = (read.generation, read.secret.digest());
    let presented = Presented { id, generation, digest, by: client.spender() };
    let note = |event| client.note(event).about(&id).with_reason("log-out");
    match engine.refresh.ask(refresh::actor::LogOut(presented)).await? {
        LoggedOut::Nothing => {}
        LoggedOut::Ended => engine.record_durably(note(Event::SessionRevoked)).await,
        LoggedOut::Reused => {
            engine.record_durably(note(Event::RefreshReused)).await;
            tell_owner(engine, id).await?;
        }
    }
    Ok(())
}

/// Ends the session or family of `identity`.
async fn end(engine: &Engine, client: &Client, identity: &Identity) -> Result<(), FlowError> {
    match &identity.held {
        Held::Family(family) => {
            engine
                .refresh
                .ask(refresh::actor::End { id: family.id, cause: Cause::LogOut, by: Some(client.spender()) })
                .await?;
        }
        Held::Session(session) => {
            if let Some(id) = SessionId::from_bytes(session.id) {
                engine.sessions.ask(session::actor::End { id }).await?;
            }
        }
    }
    Ok(())
}

/// Ends all sessions and families of an account, except the one with the id `except`: by a log-out of `by`, if it is one.
pub(super) async fn end_others(
    engine: &Engine,
    account: AccountId,
    except: Option<[u8; 16]>,
    by: Option<&Client>,
) -> Result<(), FlowError> {
    let by = by.map(Client::spender);
    // In one journal entry or a few, so that resource servers learn of all of them within a moment.
    let mut after = None;
    loop {
        let end = refresh::actor::EndOthers { account, except, cause: Cause::LogOut, by, after };
        after = engine.refresh.ask(end).await?;
        if after.is_none() {
            break;
        }
    }
    loop {
        after = engine.sessions.ask(session::actor::EndOthers { account, except, after }).await?;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Ends all sessions and families of an account except one, and all tokens that were mailed to it.
pub(super) async fn end_others_and_mailed(
    engine: &Engine,
    account: AccountId,
    except: Option<[u8; 16]>,
) -> Result<(), FlowError> {
    end_others(engine, account, except, None).await?;
    Ok(engine.mailed.ask(EndAll { account }).await?)
}

/// Ends one session or family of the account of `identity`, by its id as text. Any but its own needs a fresh proof.
pub async fn end_one(
    engine: &Engine,
    client: &Client,
    identity: &Identity,
    id: &str,
) -> Result<(), FlowError> {
    let account = identity.account.account_id();
    if id != hex(&identity.sid()) {
        identity.is_fresh(engine.clock.now())?;
    }
    let note = || {
        client
            .note(Event::SessionRevoked)
            .for_account(Some(&identity.account))
            .with_reason("end of one session")
    };
    let family: FamilyId = id.parse().map_err(|_| Refusal::NotFound)?;
    if let Some(open) = engine.refresh.ask(refresh::actor::Alive { id: family }).await?
        && open.account == account
    {
        engine
            .refresh
            .ask(refresh::actor::End { id: family, cause: Cause::Revoked, by: Some(client.spender()) })
            .await?;
        engine.record_durably(note()).await;
        return Ok(());
    }
    let session: SessionId = id.parse().map_err(|_| Refusal::NotFound)?;
    if let Some(open) = engine.sessions.ask(session::actor::Alive { id: session }).await?
        && open.account == account.to_bytes()
    {
        engine.sessions.ask(session::actor::End { id: session }).await?;
        engine.record_durably(note()).await;
        return Ok(());
    }
    Err(Refusal::NotFound.into())
}
