//! The accounts, for a program that embeds the engine: what an administrator does, without HTTP.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::fields::Fields;
use super::{
    Admin, Changes, Found, New, Query, change, create, delete, find, find_external, list, revoke_sessions,
    send_reset,
};
use crate::engine::Engine;
use crate::flow::refusal::{Error, FlowError};
use crate::registry::account::{AccountV4, Status};
use crate::value::id::AccountId;
use crate::value::secret_text::SecretText;

/// The largest page of a list.
const PAGE_MAX: usize = 200;

/// The accounts of an engine: [`Engine::accounts`].
///
/// Each act passes the checks of the same act of an administrator, and the log of security events names the program.
#[derive(Clone, Copy)]
pub struct Accounts<'a> {
    engine: &'a Engine,
}

impl Engine {
    /// Returns the accounts.
    pub const fn accounts(&self) -> Accounts<'_> {
        Accounts { engine: self }
    }
}

/// An account, as it was when it was read.
#[derive(Clone)]
pub struct Account(AccountV4);

impl Account {
    /// Returns its id.
    pub fn id(&self) -> AccountId {
        self.0.account_id()
    }

    /// Returns its address.
    pub fn email(&self) -> &str {
        &self.0.email
    }

    /// Says whether the owner has proved that mail to the address reaches them.
    pub const fn is_email_verified(&self) -> bool {
        self.0.email_verified
    }

    /// Returns the name that the owner wants to be called by.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Returns its roles, sorted.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.0.roles.iter().map(|role| &**role)
    }

    /// Says whether it may log in.
    pub fn is_active(&self) -> bool {
        self.0.status == Status::Active
    }

    /// Says whether it has a password. Otherwise its owner sets one by mail, or the program opens its sessions.
    pub const fn has_password(&self) -> bool {
        self.0.phc.is_some()
    }

    /// Returns the id that another program knows it by.
    pub fn external_id(&self) -> Option<&str> {
        self.0.external_id()
    }

    /// Returns the language of its owner, a tag such as `en-GB`.
    pub fn locale(&self) -> Option<&str> {
        self.0.locale()
    }

    /// Returns the JSON object that its owner may change, as compact text.
    pub fn user_metadata(&self) -> Option<&str> {
        self.0.user_metadata()
    }

    /// Returns the JSON object that administrators alone may change, as compact text.
    pub fn app_metadata(&self) -> Option<&str> {
        self.0.app_metadata()
    }

    /// Returns when it was created.
    pub fn created_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.created_ms)
    }
}

impl fmt::Debug for Account {
    /// Shows the id alone: no address, no hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// An account that is to be created.
pub struct NewAccount {
    email: String,
    password: Option<SecretText>,
    roles: Vec<String>,
    verified: bool,
    fields: Fields,
}

impl NewAccount {
    /// Begins an account with this address, without a password and without roles.
    pub fn new(email: impl Into<String>) -> Self {
        Self {
            email: email.into(),
            password: None,
            roles: Vec::new(),
            verified: false,
            fields: Fields::new(),
        }
    }

    /// Gives it a password, which must pass the policy.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into().into());
        self
    }

    /// Gives it a role.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.roles.push(role.into());
        self
    }

    /// Counts its address as proved: the program has proved it, or another provider has.
    #[must_use]
    pub const fn verified(mut self) -> Self {
        self.verified = true;
        self
    }

    /// Gives it what an account carries beside its credentials.
    #[must_use]
    pub fn fields(mut self, fields: Fields) -> Self {
        self.fields = fields;
        self
    }
}

impl fmt::Debug for NewAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewAccount").field("roles", &self.roles).finish_non_exhaustive()
    }
}

impl Accounts<'_> {
    /// Creates an account. No mail is sent: [`Accounts::send_reset`] mails its owner a link to set a password.
    ///
    /// Errors: a refusal if the address or the external id has an account, or is none; a password that the policy refuses; a
    /// role whose name is none; a field that an account cannot carry.
    pub async fn create(&self, new: NewAccount) -> Result<Account, Error> {
        self.run(async move |engine, admin| {
            let NewAccount { email, password, roles, verified, fields } = new;
            let (password, carried) = (password.as_deref(), fields.carried());
            let new = New { email: &email, password, password_hash: None, roles, verified, carried };
            create(engine, admin, new).await.map(Account)
        })
        .await
    }

    /// Returns the account with this address or id; `None` if there is none.
    ///
    /// Errors: a text that is neither an address nor an id.
    pub async fn find(&self, address_or_id: &str) -> Result<Option<Account>, Error> {
        let wanted = address_or_id.to_owned();
        self.run(async move |engine, admin| {
            let found = find(engine, admin, &wanted).await?;
            Ok(found.into_iter().find_map(|found| match found {
                Found::Account(account) => Some(Account(account)),
                Found::SignUp(_) => None,
            }))
        })
        .await
    }

    /// Returns the account that another program knows by this id; `None` if there is none.
    pub async fn find_external(&self, external_id: &str) -> Result<Option<Account>, Error> {
        let wanted = external_id.to_owned();
        self.run(async move |engine, admin| Ok(find_external(engine, admin, &wanted).await?.map(Account)))
            .await
    }

    /// Returns the account with this id; `None` if there is none.
    pub async fn get(&self, id: AccountId) -> Result<Option<Account>, Error> {
        self.find(&id.to_string()).await
    }

    /// Returns a page of the accounts in the order of their ids: at most `limit` of them, and at most 200, after `after`.
    pub async fn list(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Account>, Error> {
        self.run(async move |engine, admin| {
            let query = Query { after, limit: limit.min(PAGE_MAX), ..Query::default() };
            let found = list(engine, admin, query).await?;
            Ok(found
                .into_iter()
                .filter_map(|found| match found {
                    Found::Account(account) => Some(Account(account)),
                    Found::SignUp(_) => None,
                })
                .collect())
        })
        .await
    }

    /// Gives an account these roles and no others. Access tokens that have a role which it loses end.
    ///
    /// Errors: there is no such account; a role whose name is none; no administrator would be left.
    pub async fn set_roles(
        &self,
        id: AccountId,
        roles: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Account, Error> {
        let roles = Some(roles.into_iter().map(Into::into).collect());
        self.run(async move |engine, admin| {
            change(engine, admin, id, Changes { roles, ..Changes::default() }).await.map(Account)
        })
        .await
    }

    /// Lets an account log in, or not. Either ends all its sessions.
    ///
    /// Errors: there is no such account; no administrator would be left.
    pub async fn set_active(&self, id: AccountId, is_active: bool) -> Result<Account, Error> {
        let status = Some(if is_active { Status::Active } else { Status::Disabled });
        self.run(async move |engine, admin| {
            change(engine, admin, id, Changes { status, ..Changes::default() }).await.map(Account)
        })
        .await
    }

    /// Sets what an account carries beside its credentials. It ends no session; access tokens say it from the next one on.
    ///
    /// Errors: there is no such account; another one has the external id; a field that an account cannot carry.
    pub async fn set_fields(&self, id: AccountId, fields: Fields) -> Result<Account, Error> {
        self.run(async move |engine, admin| {
            let changes = Changes { carried: fields.carried(), ..Changes::default() };
            change(engine, admin, id, changes).await.map(Account)
        })
        .await
    }

    /// Mails the owner of an account a link to set a password. The present one lives until the link is used. The mail is a
    /// [`MailKind::Reset`](crate::MailKind::Reset), or a [`MailKind::Invitation`](crate::MailKind::Invitation) if the account has no
    /// password yet.
    ///
    /// Errors: there is no such account; it was sent too many links within the hour.
    pub async fn send_reset(&self, id: AccountId) -> Result<(), Error> {
        self.run(async move |engine, admin| send_reset(engine, admin, id).await.map(|_| ())).await
    }

    /// Ends all sessions of an account.
    ///
    /// Errors: there is no such account.
    pub async fn end_sessions(&self, id: AccountId) -> Result<(), Error> {
        self.run(async move |engine, admin| revoke_sessions(engine, admin, id).await).await
    }

    /// Deletes an account with all that belongs to it, and tells its owner by mail.
    ///
    /// Errors: there is no such account; no administrator would be left.
    pub async fn delete(&self, id: AccountId) -> Result<(), Error> {
        self.run(async move |engine, admin| delete(engine, admin, id).await).await
    }

    /// Runs `work` on the actors' thread, whatever runtime asks.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce(&Engine, &Admin) -> Result<T, FlowError> + Send + 'static,
    ) -> Result<T, Error> {
        let done = async {
            let engine = self.engine.itself()?;
            let held = engine.clone();
            engine.on_owner_thread(async move || work(&held, &Admin::program()).await).await?
        };
        done.await.map_err(|error: FlowError| Error::new(self.engine, error))
    }
}

impl fmt::Debug for Accounts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accounts(..)")
    }
}
