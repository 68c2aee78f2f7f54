//! What somebody who is logged in does with their own account.

use super::admission::Outcome;
use super::authenticate::{Held, Identity};
use super::check::{Known, check_password};
use super::client::Client;
use super::log_out::end_others_and_mailed;
use super::refusal::{FlowError, Refusal, parse_name};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::registry::account::AccountV1;
use crate::registry::account::actor::Delete;
use crate::registry::refresh::{self, FamilyV1};
use crate::registry::session::{self, SessionV1};
use crate::registry::throttle::class::Class;
use crate::value::id::SessionId;

/// What is open for an account.
pub struct OpenSessions {
    /// Log-ins with tokens.
    pub families: Vec<FamilyV1>,
    /// Log-ins with cookies.
    pub sessions: Vec<SessionV1>,
}

/// Lists what is open and not dead by its epoch.
pub async fn sessions(engine: &Engine, identity: &Identity) -> Result<OpenSessions, FlowError> {
    open_sessions(engine, &identity.account).await
}

pub(crate) async fn open_sessions(engine: &Engine, account: &AccountV1) -> Result<OpenSessions, FlowError> {
    let (id, epoch) = (account.account_id(), account.auth_epoch);
    let mut families = engine.refresh.ask(refresh::actor::OfAccount { account: id }).await?;
    families.retain(|family| family.auth_epoch == epoch);
    let mut sessions = engine.sessions.ask(session::actor::OfAccount { account: id }).await?;
    sessions.retain(|session| session.auth_epoch == epoch);
    Ok(OpenSessions { families, sessions })
}

/// Lets the session that changed the password go on under the account's new epoch.
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

/// Deletes one's own account, with its password.
pub async fn delete(engine: &Engine, client: &Client, identity: &Identity, password: &str) -> Outcome<()> {
    engine
        .admitted(Class::Check, client, async |_| {
            let name = parse_name(&identity.account.email)?;
            let account =
                check_password(engine, client, name, password, Known::Session(identity.sid())).await?;
            let id = account.account_id();
            if id != identity.account.account_id() {
                return Err(Refusal::Unauthenticated.into());
            }
            engine.accounts.ask(Delete { id }).await?.map_err(|_| Refusal::NotFound)?;
            end_others_and_mailed(engine, id, None).await?;
            engine.record_durably(client.note(Event::AccountDeleted).for_account(Some(&account))).await;
            Ok(())
        })
        .await
}
