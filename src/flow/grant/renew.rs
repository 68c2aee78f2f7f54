//! A new credential for a client that has proved its identity again: after a new password, and before an act that a stolen
//! session must not be able to do.

use super::{Grant, Issued, Opened, Wanted};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::flow::admission::Outcome;
use crate::flow::authenticate::{Held, Identity};
use crate::flow::check::confirm_password;
use crate::flow::client::Client;
use crate::flow::refusal::{FlowError, Refusal};
use crate::registry::account::AccountV3;
use crate::registry::account::actor::ById;
use crate::registry::refresh::FamilyV2;
use crate::registry::refresh::actor::Prove;
use crate::registry::session;
use crate::registry::throttle::class::Class;
use crate::system::clock::Timestamp;
use crate::value::id::{FamilyId, SessionId};

/// The credential of a client that has proved its identity again.
pub enum Reauthenticated {
    /// A new access token of the same family.
    Access {
        /// The signed access token.
        token: String,
        /// When it expires.
        end: Timestamp,
        /// The family.
        family: FamilyId,
    },
    /// A new session, which replaces the one before.
    Session(Box<Opened>),
}

/// Asks for the password of `identity` again. Its session is fresh from then on for [`FRESH_FOR`].
///
/// A cookie is replaced, since a copy of it must not become fresh with it. A family stays: whoever has its refresh token
/// holds the family anyway.
///
/// [`FRESH_FOR`]: crate::flow::authenticate::FRESH_FOR
pub async fn reauthenticate(
    engine: &Engine,
    client: &Client,
    identity: &Identity,
    password: &str,
) -> Outcome<Reauthenticated> {
    engine
        .admitted(Class::Check, client, async |_| {
            let account = confirm_password(engine, client, identity, password).await?;
            let renewed = match &identity.held {
                Held::Family(family) => prove(engine, &account, family).await?,
                Held::Session(old) => {
                    let (id, grant) = engine.replace_credential(identity, &account, client).await?;
                    let account = current(engine, &account, account.auth_epoch, engine.global_epoch).await?;
                    if let Some(old) = SessionId::from_bytes(old.id).filter(|old| old.to_bytes() != id) {
                        engine.sessions.ask(session::actor::End { id: old }).await?;
                    }
                    Reauthenticated::Session(Box::new(Opened { account, grant, device: None }))
                }
            };
            let proved = client.note(Event::Reauthenticated).for_account(Some(&account));
            engine.record(proved);
            Ok(renewed)
        })
        .await
}

/// Records the new proof in the family, and signs an access token that says so.
async fn prove(
    engine: &Engine,
    account: &AccountV3,
    family: &FamilyV2,
) -> Result<Reauthenticated, FlowError> {
    let prove = Prove { id: family.id, auth_epoch: account.auth_epoch };
    let family = engine.refresh.ask(prove).await?.ok_or(Refusal::SessionExpired)?;
    let account = current(engine, account, family.auth_epoch, family.global_epoch).await?;
    let (token, end) = engine.access_token(&account, &family)?;
    Ok(Reauthenticated::Access { token, end, family: family.id })
}

/// Returns the account as it is now, if it still passes the gate: it may have been closed while the password was hashed.
async fn current(
    engine: &Engine,
    account: &AccountV3,
    auth_epoch: u64,
    global_epoch: u64,
) -> Result<AccountV3, FlowError> {
    let account = engine.accounts.ask(ById { id: account.account_id() }).await?;
    let account = account.ok_or(Refusal::SessionExpired)?;
    engine.gate(&account, auth_epoch, global_epoch).map_err(|_| Refusal::SessionExpired)?;
    Ok(account)
}

impl Engine {
    /// Opens what replaces the session or family of `identity` under the epoch of `account`: of the same kind, for the
    /// same audience. Returns its id and the credential. What it replaces still has to be ended.
    pub(in crate::flow) async fn replace_credential(
        &self,
        identity: &Identity,
        account: &AccountV3,
        client: &Client,
    ) -> Result<([u8; 16], Grant), FlowError> {
        let wanted = match &identity.held {
            Held::Family(family) => Wanted::Family { audience: family.audience, replaces: true },
            Held::Session(session) => {
                Wanted::Session { remember: session.remember, root: Some(session.root) }
            }
        };
        let issued = self.issue(account, wanted, client).await?;
        let issued = self.journal.open(issued).await?;
        let id = match &issued {
            Issued::Family(family, _) => family.id.to_bytes(),
            Issued::Session(session, _) => session.id,
        };
        Ok((id, self.grant(account, issued)?))
    }
}
