//! The list of accounts, and of sign-ups that wait for the proof of their address.

use serde_json::{Value, json};

use super::Admin;
use crate::engine::Engine;
use crate::flow::refusal::{FlowError, Refusal, parse_name};
use crate::registry::account::actor::{ById, Find, FindExternal, List};
use crate::registry::account::{AccountV4, Status};
use crate::registry::sign_up::SignUpV2;
use crate::registry::sign_up::actor::{ListWaiting, WaitingById, WaitingOf};
use crate::system::clock::Timestamp;
use crate::value::id::AccountId;
use crate::value::search::Search;

/// The state that listed accounts must have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatusWanted {
    /// Accounts of this status.
    Account(Status),
    /// Sign-ups that wait for the proof of their address. They are no accounts yet.
    Pending,
}

/// Which accounts are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'a> {
    /// The last one of the page before; `None` for the first page.
    pub after: Option<AccountId>,
    /// How many at most.
    pub limit: usize,
    /// Text that the address or name must contain, in any case and form.
    pub q: Option<&'a str>,
    /// The state that they must have.
    pub status: Option<StatusWanted>,
    /// Whether their address must be proved, or must not. Sign-ups are found with false.
    pub verified: Option<bool>,
}

/// Cuts what was found to a page of `limit`, where one more was asked for, and returns the id to go on after if there is more.
pub fn cut_to_page<T>(found: &mut Vec<T>, limit: usize, id: impl Fn(&T) -> AccountId) -> Option<String> {
    let has_more = found.len() > limit;
    found.truncate(limit);
    found.last().filter(|_| has_more).map(|last| id(last).to_string())
}

/// Begins what names an account by its external id, in place of an address or an id. No address has a colon.
pub const EXTERNAL: &str = "external:";

/// One that was found.
#[derive(Clone, Debug)]
pub enum Found {
    /// An account.
    Account(AccountV4),
    /// A sign-up that waits for the proof of its address: no account yet. Its id is the one that the account would have.
    SignUp(SignUpV2),
}

impl Found {
    /// Returns the id of the account, or the one that the account would have.
    pub const fn id(&self) -> AccountId {
        match self {
            Self::Account(account) => account.id,
            Self::SignUp(sign_up) => sign_up.id,
        }
    }

    /// Describes it for an administrator.
    pub fn json(&self) -> Value {
        match self {
            Self::Account(account) => account_json(account),
            Self::SignUp(sign_up) => sign_up_json(sign_up),
        }
    }
}

/// Describes a sign-up that waits for an administrator.
fn sign_up_json(sign_up: &SignUpV2) -> Value {
    let mut shown = json!({
        "id": sign_up.id.to_string(),
        "email": sign_up.email,
        "email_verified": false,
        "name": sign_up.name,
        "roles": [],
        "status": "pending",
        "created_at": Timestamp(sign_up.begun_ms).rfc3339(),
        "expires_at": Timestamp(sign_up.end_ms).rfc3339(),
    });
    if let (Some(fields), Some(locale)) = (shown.as_object_mut(), &sign_up.locale) {
        fields.insert(String::from("locale"), Value::from(&**locale));
    }
    shown
}

/// Describes an account for an administrator. What it does not carry is left out.
pub fn account_json(account: &AccountV4) -> Value {
    let mut shown = json!({
        "id": account.account_id().to_string(),
        "email": account.email,
        "email_verified": account.email_verified,
        "name": account.name,
        "roles": account.roles,
        "status": if account.status == Status::Active { "active" } else { "disabled" },
        "created_at": Timestamp(account.created_ms).rfc3339(),
        "address_change_undoable_until": account.former.as_ref().map(|former| former.end().rfc3339()),
    });
    let object = |text: Option<&str>| text.and_then(|text| serde_json::from_str(text).ok());
    let carried = [
        ("external_id", account.external_id().map(Value::from)),
        ("locale", account.locale().map(Value::from)),
        ("user_metadata", object(account.user_metadata())),
        ("app_metadata", object(account.app_metadata())),
    ];
    if let Some(fields) = shown.as_object_mut() {
        let carried = carried.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        fields.extend(carried);
    }
    shown
}

/// Returns a page in the order of ids. Sign-ups are in it if they are asked for, by their state or as addresses that are
/// not proved.
pub async fn list(engine: &Engine, _: &Admin, query: Query<'_>) -> Result<Vec<Found>, FlowError> {
    let Query { after, limit, status, verified, .. } = query;
    let q = query.q.map(Search::new);
    let mut found = Vec::new();
    let accounts_of = match status {
        Some(StatusWanted::Pending) => None,
        Some(StatusWanted::Account(status)) => Some(Some(status)),
        None => Some(None),
    };
    if let Some(status) = accounts_of {
        let accounts = List { after, limit, q: q.clone(), status, verified };
        found.extend(engine.accounts.ask(accounts).await?.into_iter().map(Found::Account));
    }
    let wants_pending = match status {
        Some(StatusWanted::Pending) => verified != Some(true),
        Some(StatusWanted::Account(_)) => false,
        None => verified == Some(false),
    };
    if wants_pending {
        let waiting = ListWaiting { after, limit, q, global_epoch: engine.global_epoch };
        found.extend(engine.sign_ups.ask(waiting).await?.into_iter().map(Found::SignUp));
        found.sort_unstable_by_key(Found::id);
        found.truncate(limit);
    }
    Ok(found)
}

/// Returns an account.
pub async fn get(engine: &Engine, _: &Admin, id: AccountId) -> Result<AccountV4, FlowError> {
    Ok(engine.accounts.ask(ById { id }).await?.ok_or(Refusal::NotFound)?)
}

/// Returns the account that another program knows by `external_id`.
pub async fn find_external(
    engine: &Engine,
    _: &Admin,
    external_id: &str,
) -> Result<Option<AccountV4>, FlowError> {
    Ok(engine.accounts.ask(FindExternal { external_id: external_id.into() }).await?)
}

/// Returns what an id, an address or [`EXTERNAL`] with an external id names: an account, or else sign-ups that wait for the proof of that address.
pub async fn find(engine: &Engine, admin: &Admin, user: &str) -> Result<Vec<Found>, FlowError> {
    if let Some(external_id) = user.strip_prefix(EXTERNAL) {
        return Ok(Vec::from_iter(find_external(engine, admin, external_id).await?.map(Found::Account)));
    }
    let global_epoch = engine.global_epoch;
    let (account, waiting) = if let Ok(id) = user.parse::<AccountId>() {
        let account = engine.accounts.ask(ById { id }).await?;
        let waiting = engine.sign_ups.ask(WaitingById { id, global_epoch }).await?;
        (account, Vec::from_iter(waiting))
    } else {
        let name = parse_name(user)?.key(&engine.services.keys.directory);
        let account = engine.accounts.ask(Find { name }).await?;
        (account, engine.sign_ups.ask(WaitingOf { name, global_epoch }).await?)
    };
    Ok(match account {
        Some(account) => vec![Found::Account(account)],
        None => waiting.into_iter().map(Found::SignUp).collect(),
    })
}
