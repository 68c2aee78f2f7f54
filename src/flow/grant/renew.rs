//! A new credential for a client that has proved its identity again: after a new password, and before an act that a stolen
//! session must not be able to do.

use super::{Grant, Issued, Opened, Proved, Wanted};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::engine::hooks::{ClaimsReason, CredentialKind};
use crate::flow::admission::Outcome;
use crate::flow::authenticate::{Held, Identity};
use crate::flow::check::confirm_password;
use crate::flow::client::Client;
use crate::flow::refusal::{FlowError, Refusal};
use crate::registry::account::AccountV4;
use crate::registry::account::actor::ById;
use crate::registry::record::BY_PASSWORD;
use crate::registry::refresh::FamilyV3;
use crate::registry::refresh::actor::Issue;
use crate::registry::session::SessionV2;
use crate::registry::session::actor::Replace;
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

/// Asks for the password of `identity` again. The credential that it returns is fresh from then on for [`FRESH_FOR`].
///
/// No copy of what the client had before becomes fresh with it: a cookie is replaced, and of a family only the new access
/// token is fresh. One from a refresh is not: a thief may hold the refresh token, too.
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
                Held::Family(family) => prove(engine, client, &account, family).await?,
                Held::Session(old) => {
                    let grant = replace_session(engine, client, &account, old).await?;
                    let account = current(engine, &account, account.auth_epoch, engine.global_epoch).await?;
                    Reauthenticated::Session(Box::new(Opened { account, grant, device: None }))
                }
            };
            let proved = client.note(Event::Reauthenticated).for_account(Some(&account));
            engine.record(proved);
            Ok(renewed)
        })
        .await
}

/// Opens a session in place of `old`, which ends. Of several requests with one cookie one alone gets a session.
async fn replace_session(
    engine: &Engine,
    client: &Client,
    account: &AccountV4,
    old: &SessionV2,
) -> Result<Grant, FlowError> {
    let id = SessionId::from_bytes(old.id).ok_or(Refusal::SessionExpired)?;
    engine.added_claims(account, client, ClaimsReason::Reauthentication, CredentialKind::Cookie).await?;
    let (open, secret) = engine.new_session(account, old.remember, Some(old.root), Proved::Now, client)?;
    let session = engine.sessions.ask(Replace { old: id, open }).await?.ok_or(Refusal::SessionExpired)?;
    engine.grant(account, Issued::Session(session, secret))
}

/// Signs an access token that says when the proof was, which is now.
async fn prove(
    engine: &Engine,
    client: &Client,
    account: &AccountV4,
    family: &FamilyV3,
) -> Result<Reauthenticated, FlowError> {
    let (reason, kind) = (ClaimsReason::Reauthentication, CredentialKind::Tokens);
    let added = engine.added_claims(account, client, reason, kind).await?;
    let issue = Issue { id: family.id, auth_epoch: account.auth_epoch };
    let family = engine.refresh.ask(issue).await?.ok_or(Refusal::SessionExpired)?;
    let account = current(engine, account, family.auth_epoch, family.global_epoch).await?;
    let issued = Timestamp(family.issued_ms);
    let (token, end) = engine.access_token(&account, &family, issued, &added, BY_PASSWORD)?;
    Ok(Reauthenticated::Access { token, end, family: family.id })
}

/// Returns the account as it is now, if it still passes the gate: it may have been closed while the password was hashed.
async fn current(
    engine: &Engine,
    account: &AccountV4,
    auth_epoch: u64,
    global_epoch: u64,
) -> Result<AccountV4, FlowError> {
    let account = engine.accounts.ask(ById { id: account.account_id() }).await?;
    let account = account.ok_or(Refusal::SessionExpired)?;
    engine.gate(&account, auth_epoch, global_epoch).map_err(|_| Refusal::SessionExpired)?;
    Ok(account)
}

impl Engine {
    /// Opens what replaces the session or family of `identity` under the epoch of `account`: of the same kind, for the
    /// same audience, and as fresh as `proved` says. What it replaces still has to be ended.
    pub(in crate::flow) async fn replace_credential(
        &self,
        identity: &Identity,
        account: &AccountV4,
        proved: Proved,
        client: &Client,
    ) -> Result<Issued, FlowError> {
        let wanted = match &identity.held {
            Held::Family(family) => Wanted::Family { audience: family.audience, replaces: true },
            Held::Session(session) => {
                Wanted::Session { remember: session.remember, root: Some(session.root) }
            }
        };
        let issued = self.issue(account, wanted, proved, client, ClaimsReason::Replacement).await?;
        Ok(self.journal.open(issued).await?)
    }
}
