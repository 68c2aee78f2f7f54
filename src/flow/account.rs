//! One's own account: the list of what is open, and its deletion.

use super::admission::Outcome;
use super::authenticate::{Held, Identity};
use super::check::confirm_password;
use super::client::Client;
use super::log_out::end_others_and_mailed;
use super::refusal::{FlowError, Refusal};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::registry::account::AccountV2;
use crate::registry::account::actor::Delete;
use crate::registry::refresh::{self, FamilyV1};
use crate::registry::session::{self, SessionV1};
use crate::registry::throttle::class::Class;
use crate::value::id::SessionId;

/// The token families and sessions that are open for an account.
pub struct OpenSessions {
    /// Families of refresh tokens.
    pub families: Vec<FamilyV1>,
    /// Sessions of browsers.
    pub sessions: Vec<SessionV1>,
}

/// Returns what is open for the account of `identity`.
pub async fn sessions(engine: &Engine, identity: &Identity) -> Result<OpenSessions, FlowError> {
    open_sessions(engine, &identity.account).await
}

/// Returns what is open for `account` under its current epoch.
pub(crate) async fn open_sessions(engine: &Engine, account: &AccountV2) -> Result<OpenSessions, FlowError> {
    let id = account.account_id();
    let epoch = account.auth_epoch;
    let mut families = engine.refresh.ask(refresh::actor::OfAccount { account: id }).await?;
    families.retain(|family| family.auth_epoch == epoch);
    let mut sessions = engine.sessions.ask(session::actor::OfAccount { account: id }).await?;
    sessions.retain(|session| session.auth_epoch == epoch);
    Ok(OpenSessions { families, sessions })
}

/// Moves the session or family of `identity` to the account's new epoch, so that the client that changed the password
/// stays logged in.
pub(super) async fn carry_over(engine: &Engine, identity: &Identity, epoch: u64) -> Result<(), FlowError> {
    match &identity.held {
        Held::Family(family) => {
            let carry_over =
                refresh::actor::CarryOver { family: family.id, from: family.auth_epoch, to: epoch };
            engine.refresh.ask(carry_over).await?;
        }
        Held::Session(session) => {
            if let Some(id) = SessionId::from_bytes(session.id) {
                engine
                    .sessions
                    .ask(session::actor::CarryOver { session: id, from: session.auth_epoch, to: epoch })
                    .await?;
            }
        }
    }
    Ok(())
}

/// Deletes the account of `identity` once its password is confirmed.
pub async fn delete(engine: &Engine, client: &Client, identity: &Identity, password: &str) -> Outcome<()> {
    engine
        .admitted(Class::Check, client, async |_| {
            let account = confirm_password(engine, client, identity, password).await?;
            let id = account.account_id();
            // If it is gone, another request deleted it a moment ago, and this credential with it.
            engine.accounts.ask(Delete { id }).await?.map_err(|_| Refusal::Unauthenticated)?;
            end_others_and_mailed(engine, id, None).await?;
            engine.record_durably(client.note(Event::AccountDeleted).for_account(Some(&account))).await;
            Ok(())
        })
        .await
}
