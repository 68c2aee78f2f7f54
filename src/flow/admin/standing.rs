//! Checks again whether an administrator may go on with an act that takes long.
//!
//! **The attack:** a stolen key begins an import and sends its lines slowly. The key is deleted, and the import goes on to make
//! administrators.
//!
//! **The rule:** the credential of a request that makes many accounts is checked again before each part of them.

use super::Admin;
use crate::engine::Engine;
use crate::engine::credential_cache::Held;
use crate::flow::authenticate::live_account;
use crate::flow::keys::api_key::is_key_for;
use crate::flow::refusal::{FlowError, Refusal};
use crate::registry::account::is_admin;
use crate::registry::api_key::Scope;
use crate::registry::{refresh, session};
use crate::value::id::{AccountId, SessionId};

/// The right by which somebody administrates.
#[derive(Clone)]
pub(super) enum Standing {
    /// That of the operator of the process.
    Operator,
    /// An account with the role, by a session of it.
    Person(AccountId, Held),
    /// An API key: its id.
    Service([u8; 16]),
}

impl Admin {
    /// Checks that what the administrator began may go on: the account, the role and the session, or the API key, are still
    /// there. An access token may have expired meanwhile.
    pub(super) async fn require_standing(&self, engine: &Engine) -> Result<(), FlowError> {
        match &self.standing {
            Standing::Operator => Ok(()),
            Standing::Person(id, held) => {
                let (auth_epoch, global_epoch) = held.epochs();
                let account = live_account(engine, *id, auth_epoch, global_epoch).await?;
                let is_open = match held {
                    Held::Family(family) => {
                        engine.refresh.ask(refresh::actor::Alive { id: family.id }).await?.is_some()
                    }
                    Held::Session(session) => {
                        let id = SessionId::from_bytes(session.id).ok_or(Refusal::Unauthenticated)?;
                        engine.sessions.ask(session::actor::Alive { id }).await?.is_some()
                    }
                };
                if is_open && is_admin(&account) { Ok(()) } else { Err(Refusal::Unauthenticated.into()) }
            }
            Standing::Service(id) => {
                if is_key_for(engine, *id, Scope::AdminWrite).await? {
                    Ok(())
                } else {
                    Err(Refusal::InvalidApiKey.into())
                }
            }
        }
    }
}
