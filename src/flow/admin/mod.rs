//! Administration of accounts and security events.

pub(in crate::flow) mod accounts;
mod address;
mod details;
mod difference;
pub mod events;
mod export;
mod facade;
mod fields;
mod hash;
pub mod import;
pub mod invitations;
mod list;
mod standing;

pub use accounts::{
    Changes, New, change, create, delete, invite, revoke_password, revoke_session, revoke_sessions,
    send_reset, unlock,
};
pub use details::{Details, details};
pub use export::{Export, exported_line};
pub use facade::{Account, Accounts, NewAccount};
pub use fields::Fields;
pub use hash::set_hash;
pub use list::{
    EXTERNAL, Found, Query, StatusWanted, account_json, cut_to_page, find, find_external, get, list,
};

use self::standing::Standing;
use super::authenticate::Identity;
use super::client::Client;
use super::refusal::{FlowError, Refusal};
use crate::audit::Line;
use crate::audit::event::{Event, Note};
use crate::audit::read::{self, Wanted};
use crate::engine::{Engine, Fault, MayChange};
use crate::flow::post::Addressee;
use crate::registry::account::ADMIN;
use crate::registry::account::actor::Admins;
use crate::registry::api_key::ApiKeyV1;
use crate::registry::outbox::Kind;
use crate::registry::reset::{Cause, Purpose};
use crate::registry::sign_up::invitation::Inviter;
use crate::value::id::{AccountId, hex};

/// The name under which the operator's acts are recorded.
const OPERATOR: &str = "operator";
/// The name under which the acts of an embedding program are recorded.
const PROGRAM: &str = "program";
/// Maximum number of administrators that are told of one thing.
const ADMINS_TOLD_MAX: usize = 100;

/// An administrator, by the name that the audit log records.
#[derive(Clone)]
pub struct Admin {
    name: String,
    /// Its address, if it is a person.
    address: Option<Box<str>>,
    /// The right by which it does so.
    standing: Standing,
    /// The client that it uses; `None` for the operator of this process.
    client: Option<Client>,
    /// Whether the last administrator is not spared.
    by_force: bool,
}

impl Admin {
    /// Returns the administrator with this identity, if its account has the role and its credential is for
    /// administrators.
    pub fn of(identity: &Identity, client: &Client) -> Result<Self, Refusal> {
        identity.check_role(&[ADMIN])?;
        identity.is_for_admin()?;
        let account = &identity.account;
        let (name, address) = (account.account_id().to_string(), Some(account.email.clone()));
        let standing = Standing::Person(account.account_id(), identity.held.clone());
        Ok(Self { name, address, standing, client: Some(client.clone()), by_force: false })
    }

    /// Returns the administrator with this identity for an act that changes something: it must have proved who it is a
    /// moment ago.
    pub fn who_may_write(engine: &Engine, identity: &Identity, client: &Client) -> Result<Self, Refusal> {
        let admin = Self::of(identity, client)?;
        identity.is_fresh(engine.clock.now())?;
        Ok(admin)
    }

    /// Returns the operator of this process: the command line on the admin socket, or on the directory of a stopped
    /// server.
    pub fn operator() -> Self {
        let standing = Standing::Operator;
        Self { name: String::from(OPERATOR), address: None, standing, client: None, by_force: false }
    }

    /// Returns the program that embeds the engine.
    pub(crate) fn program() -> Self {
        Self { name: String::from(PROGRAM), ..Self::operator() }
    }

    /// Returns the operator who is the user `uid` of this machine.
    pub fn operator_with(uid: u32) -> Self {
        Self { name: format!("{OPERATOR}(uid {uid})"), ..Self::operator() }
    }

    /// Lets the act take the last administrator who can log in. Only the operator can make another one then.
    #[must_use]
    pub fn by_force(self) -> Self {
        Self { by_force: true, ..self }
    }

    /// Says whether the last administrator is spared.
    const fn spares_last_admin(&self) -> bool {
        !self.by_force
    }

    /// Returns the service of an API key that may change what an administrator may.
    pub fn service(key: &ApiKeyV1, client: &Client) -> Self {
        let name = format!("API key {}", hex(&key.id));
        let standing = Standing::Service(key.id);
        Self { name, address: None, standing, client: Some(client.clone()), by_force: false }
    }

    /// Returns who it is, for an invitation that it sends.
    pub(super) const fn inviter(&self) -> Inviter {
        match &self.standing {
            Standing::Operator => Inviter::Operator,
            Standing::Person(id, _) => Inviter::Account(id.to_bytes()),
            Standing::Service(id) => Inviter::ApiKey(*id),
        }
    }

    /// Returns the name that the audit log records.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the address of a person.
    pub(super) fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// Records an act of this administrator.
    ///
    /// Errors: the change stands, but its line is not on disk.
    pub(crate) async fn record(
        &self,
        engine: &Engine,
        may_change: MayChange,
        event: Event,
        subject: &dyn std::fmt::Display,
    ) -> Result<(), Fault> {
        self.record_what(engine, may_change, event, subject, "").await
    }

    /// Records an act of this administrator, and in words without secrets what it changed.
    ///
    /// Errors: as [`Admin::record`].
    pub(crate) async fn record_what(
        &self,
        engine: &Engine,
        may_change: MayChange,
        event: Event,
        subject: &dyn std::fmt::Display,
        what: &str,
    ) -> Result<(), Fault> {
        let note = self.client.as_ref().map_or_else(|| Note::new(event), |client| client.note(event));
        let note = note.about(subject).by_operator(&self.name, what);
        engine.record_change_of_rights(may_change, note).await
    }
}

/// Mails every active administrator but `but` that somebody or something can from now on do all that they may. `about` is
/// the address that the mail hints at.
pub(super) async fn tell_administrators(
    engine: &Engine,
    kind: Kind,
    about: Option<&str>,
    but: Option<AccountId>,
) -> Result<(), FlowError> {
    for account in engine.accounts.ask(Admins { limit: ADMINS_TOLD_MAX }).await? {
        if Some(account.account_id()) == but {
            continue;
        }
        let to = Addressee::owner(&account);
        let to = match about {
            Some(address) => to.about(address),
            None => to,
        };
        // Operators mail an administrator nothing else for these purposes, and neither uses up the quota of the other.
        let purpose = if kind == Kind::AdminMade { Purpose::Invitation } else { Purpose::Verify };
        engine.warn(Cause::Operator, to, purpose, kind).await?;
    }
    Ok(())
}

/// Returns security events from the audit log.
pub async fn audit(engine: &Engine, _: &Admin, wanted: Wanted) -> Result<Vec<Line>, FlowError> {
    // Lines that cannot be written yet are not found.
    let _ = engine.services.audit.log.written().await;
    let dir = engine.services.config.audit.dir.clone();
    let read = tokio::task::spawn_blocking(move || read::find(&dir, &wanted)).await;
    match read {
        Ok(Ok(lines)) => Ok(lines),
        Ok(Err(error)) => {
            tracing::error!(%error, "cannot read the log of security events");
            Err(Fault::Ending.into())
        }
        Err(_) => Err(Fault::Ending.into()),
    }
}
