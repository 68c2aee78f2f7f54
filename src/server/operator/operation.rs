//! The operations of the command line, run by a server that was asked over its socket, or on the data directory of a
//! stopped server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::keys::or_missing;
use super::{acknowledge, backup, invitation, keys, webhooks};
use crate::audit::read::Wanted;
use crate::engine::Engine;
use crate::flow::account::carried::Carried;
use crate::flow::account::open_sessions;
use crate::flow::admin::invitations::{self, NewInvitation, described};
use crate::flow::admin::{
    self, Admin, Changes, EXTERNAL, Found, Query, StatusWanted, account_json, cut_to_page,
};
use crate::flow::authenticate::{Held, Identity};
use crate::flow::refusal::{FlowError, Refusal};
use crate::http::api::operations::readiness;
use crate::registry::account::actor::{CountForeign, ReadLogInCost};
use crate::registry::account::{AccountV4, Status};
use crate::registry::outbox::Fate;
use crate::registry::outbox::actor::{AnswerOf, FateOf};
use crate::system::clock::Timestamp;
use crate::value::id::{AccountId, hex};
use crate::value::json_object::NewObject;
use crate::value::secret_text::SecretText;

/// An operation with its arguments. `user` is an address, an id, or `external:` and an external id.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the subcommand of that name")]
pub enum Operation {
    UserAdd {
        email: String,
        password: Option<SecretText>,
        roles: Vec<String>,
        #[serde(flatten)]
        carries: Carries,
    },
    UserList {
        q: Option<String>,
        /// Whether to list sign-ups that wait for the proof of their address, instead of accounts.
        #[serde(default)]
        pending: bool,
        /// The id of the last one of the page before.
        #[serde(default)]
        after: Option<String>,
        #[serde(default)]
        limit: Option<usize>,
    },
    UserShow {
        user: String,
    },
    UserSetRole {
        user: String,
        roles: Vec<String>,
        #[serde(default)]
        force: bool,
    },
    UserSetEmail {
        user: String,
        email: String,
        /// Whether the new address counts as proved.
        #[serde(default)]
        verified: bool,
        /// The former address, from which the change that the owner has made can then no longer be undone.
        #[serde(default)]
        end_undo: Option<String>,
        #[serde(default)]
        force: bool,
    },
    UserSet {
        user: String,
        #[serde(flatten)]
        carries: Carries,
    },
    UserInvite {
        user: String,
        /// Roles, a name and a language for somebody who has no account yet.
        #[serde(default)]
        roles: Vec<String>,
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        locale: Option<String>,
    },
    InvitationList {
        /// The id of the last one of the page before.
        #[serde(default)]
        after: Option<String>,
    },
    InvitationWithdraw {
        /// The id of the invitation, or its address.
        invitation: String,
    },
    #[serde(alias = "user_lock")]
    UserDisable {
        user: String,
        #[serde(default)]
        force: bool,
    },
    UserEnable {
        user: String,
    },
    UserUnlock {
        user: String,
    },
    UserResetPassword {
        user: String,
        /// Whether to remove the password and end everything at once.
        #[serde(default)]
        revoke_password: bool,
        #[serde(default)]
        force: bool,
    },
    UserDelete {
        user: String,
        #[serde(default)]
        force: bool,
    },
    SessionList {
        user: String,
    },
    SessionRevoke {
        user: String,
    },
    KeyList {
        /// Whether to list the keys of all kinds, not the signing keys alone.
        #[serde(default)]
        all: bool,
    },
    KeyRotate {
        #[serde(default)]
        kind: Option<String>,
    },
    KeyRetire {
        kid: String,
    },
    ApiKeyCreate {
        name: String,
        scopes: Vec<String>,
        /// When it expires, in the format of RFC 3339.
        #[serde(default)]
        expires_at: Option<String>,
    },
    ApiKeyList,
    ApiKeyDelete {
        id: String,
    },
    Backup {
        to: PathBuf,
        /// Whether the command copies the keys as well, as they are.
        #[serde(default)]
        with_keys: bool,
    },
    AuditTail {
        limit: usize,
        event: Option<String>,
        account: Option<String>,
    },
    AuditAcknowledge,
    WebhookList,
    WebhookResume {
        /// Host and port; all of them if there is none.
        #[serde(default)]
        host: Option<String>,
    },
    /// Creates the accounts of the lines that follow on the socket.
    UserImport {
        #[serde(default)]
        dry_run: bool,
        /// Whether addresses count as proved where a line does not say.
        #[serde(default)]
        verified: bool,
    },
    /// Answers with a line for each account.
    UserExport {
        #[serde(default)]
        hashes: bool,
    },
    /// Lists faults of the settings that only a running server can find.
    Findings,
}

/// What an account is to carry. A field that is `None` stays as it is, an empty one is taken away.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Carries {
    /// The name by which the owner wants to be called.
    #[serde(default)]
    pub name: Option<String>,
    /// The language of the owner.
    #[serde(default)]
    pub locale: Option<String>,
    /// The JSON object that the owner may change, as text.
    #[serde(default)]
    pub user_metadata: Option<String>,
    /// The JSON object that administrators alone may change, as text.
    #[serde(default)]
    pub app_metadata: Option<String>,
    /// The id that another program knows the account by.
    #[serde(default)]
    pub external_id: Option<String>,
}

impl Carries {
    fn carried(&self) -> Carried<'_> {
        Carried {
            name: self.name.as_deref(),
            locale: self.locale.as_deref(),
            user_metadata: self.user_metadata.as_deref().map(NewObject::of_text),
            app_metadata: self.app_metadata.as_deref().map(NewObject::of_text),
            external_id: self.external_id.as_deref(),
        }
    }
}

/// How long an operator waits to learn whether a mail has left.
const MAIL_WAIT: Duration = Duration::from_secs(3);
/// How often the outbox is asked meanwhile.
const MAIL_LOOKS: u32 = 30;

/// The most accounts that [`Operation::UserList`] returns, and sessions that [`Operation::SessionList`] does.
const LIST_MAX: usize = 1000;

/// Runs an operation of the user `uid` of this machine and returns the JSON of its result.
pub async fn operate(engine: &Arc<Engine>, uid: u32, operation: Operation) -> Result<Value, FlowError> {
    let operator = &Admin::operator_with(uid);
    match operation {
        Operation::UserAdd { email, password, roles, carries } => {
            let (password, carried) = (password.as_deref(), carries.carried());
            let new =
                admin::New { email: &email, password, password_hash: None, roles, verified: true, carried };
            add_user(engine, operator, new).await
        }
        Operation::UserList { q, pending, after, limit } => {
            list_users(engine, operator, q.as_deref(), pending, after.as_deref(), limit).await
        }
        Operation::UserShow { user } => show_user(engine, operator, &user).await,
        Operation::UserSetRole { user, roles, force } => {
            let changes = Changes { roles: Some(roles), ..Changes::default() };
            change(engine, operator, &user, changes, force).await
        }
        Operation::UserSetEmail { user, email, verified, end_undo, force } => {
            // Without the flag a new address is not proved, and the old one stays as it is.
            let email_verified = verified.then_some(true);
            let end_undo = end_undo.as_deref();
            let changes = Changes { email: Some(&email), email_verified, end_undo, ..Changes::default() };
            change(engine, operator, &user, changes, force).await
        }
        Operation::UserSet { user, carries } => {
            let changes = Changes { carried: carries.carried(), ..Changes::default() };
            change(engine, operator, &user, changes, false).await
        }
        Operation::UserInvite { user, roles, name, locale } => {
            let (name, locale) = (name.as_deref(), locale.as_deref());
            let new = NewInvitation { email: &user, name, roles, locale };
            invite(engine, operator, new).await
        }
        Operation::InvitationList { after } => {
            let after = after.map(|id| id.parse().map_err(|_| wrong_cursor())).transpose()?;
            invitation::list(engine, operator, after, LIST_MAX).await
        }
        Operation::InvitationWithdraw { invitation } => {
            invitation::withdraw(engine, operator, &invitation).await
        }
        Operation::UserDisable { user, force } => {
            let changes = Changes { status: Some(Status::Disabled), ..Changes::default() };
            change(engine, operator, &user, changes, force).await
        }
        Operation::UserEnable { user } => {
            let changes = Changes { status: Some(Status::Active), ..Changes::default() };
            change(engine, operator, &user, changes, false).await
        }
        Operation::UserUnlock { user } => unlock(engine, operator, &user).await,
        Operation::UserResetPassword { user, revoke_password, force } => {
            reset_password(engine, &forced(operator, force), &user, revoke_password).await
        }
        Operation::UserDelete { user, force } => delete(engine, operator, &user, force).await,
        Operation::SessionList { user } => list_sessions(engine, operator, &user).await,
        Operation::SessionRevoke { user } => revoke_sessions(engine, operator, &user).await,
        Operation::KeyList { all } => Ok(keys::list_keys(engine, all)),
        Operation::KeyRotate { kind } => keys::rotate_key(engine, operator, kind.as_deref()).await,
        Operation::KeyRetire { kid } => keys::retire_key(engine, operator, &kid).await,
        Operation::ApiKeyCreate { name, scopes, expires_at } => {
            keys::make_api_key(engine, operator, &name, &scopes, expires_at.as_deref()).await
        }
        Operation::ApiKeyList => keys::list_api_keys(engine, operator).await,
        Operation::ApiKeyDelete { id } => keys::delete_api_key(engine, operator, &id).await,
        Operation::Backup { to, with_keys } => backup::back_up(engine, operator, to, with_keys).await,
        Operation::AuditTail { limit, event, account } => {
            audit_tail(engine, operator, limit, event, account).await
        }
        Operation::AuditAcknowledge => acknowledge::acknowledge(engine, operator).await,
        Operation::WebhookList => Ok(webhooks::list(engine)),
        Operation::WebhookResume { host } => webhooks::resume(engine, operator, host.as_deref()).await,
        Operation::UserImport { .. } | Operation::UserExport { .. } => {
            let message = String::from("lines of accounts are sent over a socket");
            Err(Refusal::Field { pointer: "/operation", code: "needs_stream", message }.into())
        }
        Operation::Findings => Ok(findings(engine).await),
    }
}

async fn add_user(engine: &Engine, operator: &Admin, new: admin::New<'_>) -> Result<Value, FlowError> {
    let account = admin::create(engine, operator, new).await?;
    if account.phc.is_some() {
        return Ok(account_json(&account));
    }
    let mail = admin::invite(engine, operator, &account).await?;
    Ok(with_mail(engine, account_json(&account), mail).await)
}

async fn list_users(
    engine: &Engine,
    operator: &Admin,
    q: Option<&str>,
    pending: bool,
    after: Option<&str>,
    limit: Option<usize>,
) -> Result<Value, FlowError> {
    let after = after.map(|id| id.parse::<AccountId>().map_err(|_| wrong_cursor())).transpose()?;
    let limit = limit.unwrap_or(LIST_MAX).clamp(1, LIST_MAX);
    let status = pending.then_some(StatusWanted::Pending);
    // One more than the page: it says whether there is another page.
    let query = Query { after, limit: limit + 1, q, status, verified: None };
    let mut found = admin::list(engine, operator, query).await?;
    let next = cut_to_page(&mut found, limit, Found::id);
    let items: Vec<Value> = found.iter().map(Found::json).collect();
    let mut answer = json!({"items": items, "next_cursor": next});
    if !pending && after.is_none() {
        let query = Query { limit: LIST_MAX, q, status: Some(StatusWanted::Pending), ..Query::default() };
        add(&mut answer, "pending", json!(admin::list(engine, operator, query).await?.len()));
        let foreign = engine.accounts.ask_of_memory(CountForeign).await?;
        add(&mut answer, "foreign_hashes", json!(foreign));
    }
    Ok(answer)
}

fn wrong_cursor() -> Refusal {
    let message = String::from("no id of an account: give the one that the last page named");
    Refusal::Field { pointer: "/after", code: "invalid_cursor", message }
}

/// Shows how an account stands, or the sign-ups of an address that has none.
async fn show_user(engine: &Engine, operator: &Admin, user: &str) -> Result<Value, FlowError> {
    let mut sign_ups = Vec::new();
    for found in find_all(engine, operator, user).await? {
        match found {
            Found::Account(account) => {
                return Ok(admin::details(engine, operator, account).await?.json());
            }
            pending @ Found::SignUp(_) => sign_ups.push(pending.json()),
        }
    }
    if sign_ups.is_empty() { Err(no_account(user).into()) } else { Ok(json!({"items": sign_ups})) }
}

/// Changes an account, and says how many of its sessions ended with it.
async fn change(
    engine: &Engine,
    operator: &Admin,
    user: &str,
    changes: Changes<'_>,
    force: bool,
) -> Result<Value, FlowError> {
    let before = find(engine, operator, user).await?;
    let open = count_sessions(engine, &before).await?;
    let account = admin::change(engine, &forced(operator, force), before.account_id(), changes).await?;
    let mut answer = account_json(&account);
    let ended = if account.auth_epoch == before.auth_epoch { 0 } else { open };
    add(&mut answer, "sessions_ended", json!(ended));
    add(&mut answer, "before", account_json(&before));
    Ok(answer)
}

/// Returns the operator, who spares the last administrator unless `force` is set.
fn forced(operator: &Admin, force: bool) -> Admin {
    if force { operator.clone().by_force() } else { operator.clone() }
}

async fn count_sessions(engine: &Engine, account: &AccountV4) -> Result<usize, FlowError> {
    Ok(open_sessions(engine, account, None, LIST_MAX).await?.items.len())
}

/// Adds a field to an answer.
fn add(answer: &mut Value, name: &str, value: Value) {
    if let Some(fields) = answer.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

/// Invites an address to have an account. If it has one without a password, that account's invitation is mailed once more.
async fn invite(engine: &Engine, operator: &Admin, new: NewInvitation<'_>) -> Result<Value, FlowError> {
    let found = find_all(engine, operator, new.email).await?.into_iter().next();
    // Whoever has only signed up has no account yet.
    if !matches!(found, Some(Found::Account(_))) && new.email.contains('@') {
        let (invitation, mail) = invitations::send(engine, operator, new).await?;
        return Ok(with_mail(engine, described(&invitation), mail).await);
    }
    let account = find(engine, operator, new.email).await?;
    if !new.roles.is_empty() || new.name.is_some() || new.locale.is_some() {
        let message = format!("{} has an account: use portcullis user set-role or user set", account.email);
        return Err(Refusal::Field { pointer: "/user", code: "email_taken", message }.into());
    }
    if account.phc.is_some() {
        let message = format!("{} has a password already: use portcullis user reset-password", account.email);
        return Err(Refusal::Field { pointer: "/user", code: "has_password", message }.into());
    }
    let mail = admin::invite(engine, operator, &account).await?;
    Ok(with_mail(engine, account_json(&account), mail).await)
}

/// Lifts a lockout. A disabled account stays disabled.
async fn unlock(engine: &Engine, operator: &Admin, user: &str) -> Result<Value, FlowError> {
    let account = find(engine, operator, user).await?;
    let lock = admin::details(engine, operator, account.clone()).await?.lock;
    admin::unlock(engine, operator, account.account_id()).await?;
    let mut answer = account_json(&account);
    add(&mut answer, "was_locked_until", json!(lock.locked_until.map(Timestamp::rfc3339)));
    add(&mut answer, "failures_cleared", json!(lock.failures));
    Ok(answer)
}

async fn reset_password(
    engine: &Engine,
    operator: &Admin,
    user: &str,
    revokes: bool,
) -> Result<Value, FlowError> {
    let account = find(engine, operator, user).await?;
    let id = account.account_id();
    let mut answer = account_json(&account);
    let mail = if revokes {
        add(&mut answer, "sessions_ended", json!(count_sessions(engine, &account).await?));
        admin::revoke_password(engine, operator, id).await?
    } else {
        admin::send_reset(engine, operator, id).await?
    };
    add(&mut answer, "password_still_works", json!(!revokes && account.phc.is_some()));
    Ok(with_mail(engine, answer, mail).await)
}

/// Adds what has become of a mail to an answer, as far as that is known within [`MAIL_WAIT`].
async fn with_mail(engine: &Engine, mut answer: Value, mail: [u8; 16]) -> Value {
    let mut fate = Fate::Waits { tries: 0 };
    for _ in 0..MAIL_LOOKS {
        fate = engine.outbox.ask(FateOf { id: mail }).await.unwrap_or(fate);
        if fate != (Fate::Waits { tries: 0 }) {
            break;
        }
        tokio::time::sleep(MAIL_WAIT / MAIL_LOOKS).await;
    }
    let why = engine.outbox.ask(AnswerOf { id: mail }).await.ok().flatten();
    let why = why.as_deref().unwrap_or("see the log");
    let text = match fate {
        Fate::Sent => String::from("sent"),
        Fate::Refused => format!("refused by the mail server for good: {why}"),
        Fate::Dropped => String::from("dropped: its link is dead"),
        Fate::Waits { tries: 0 } => String::from("waits to be sent"),
        Fate::Waits { .. } => format!("waits, and is tried again: {why}"),
    };
    add(&mut answer, "mail", json!(text));
    add(&mut answer, "mail_refused", json!(fate == Fate::Refused));
    answer
}

async fn delete(engine: &Engine, operator: &Admin, user: &str, force: bool) -> Result<Value, FlowError> {
    let account = find(engine, operator, user).await?;
    let ended = count_sessions(engine, &account).await?;
    admin::delete(engine, &forced(operator, force), account.account_id()).await?;
    let mut answer = account_json(&account);
    add(&mut answer, "sessions_ended", json!(ended));
    Ok(answer)
}

async fn list_sessions(engine: &Engine, operator: &Admin, user: &str) -> Result<Value, FlowError> {
    let account = find(engine, operator, user).await?;
    // More than an account may have open.
    let open = open_sessions(engine, &account, None, LIST_MAX).await?;
    let user = json!({"id": account.account_id().to_string(), "email": account.email});
    let items: Vec<_> = open.items.into_iter().map(|held| session_json(&account, held)).collect();
    Ok(json!({"items": items, "user": user}))
}

async fn revoke_sessions(engine: &Engine, operator: &Admin, user: &str) -> Result<Value, FlowError> {
    let Some(account) = find_if_any(engine, operator, user).await? else {
        return revoke_session(engine, operator, user).await;
    };
    let ended = count_sessions(engine, &account).await?;
    admin::revoke_sessions(engine, operator, account.account_id()).await?;
    let mut answer = account_json(&account);
    add(&mut answer, "sessions_ended", json!(ended));
    Ok(answer)
}

/// Ends the session with the id `session`, which `session list` shows.
async fn revoke_session(engine: &Engine, operator: &Admin, session: &str) -> Result<Value, FlowError> {
    let ended = admin::revoke_session(engine, operator, session).await;
    let account = ended.map_err(|error| {
        or_missing(error, "/user", || {
            format!(
                "{session:?} is no account and no open session: give an address, or an id of 32 hexadecimal digits as \
                 `portcullis user list` and `portcullis session list` show them"
            )
        })
    })?;
    let mut answer = account_json(&account);
    add(&mut answer, "sessions_ended", json!(1));
    add(&mut answer, "session", json!(session));
    Ok(answer)
}

async fn audit_tail(
    engine: &Engine,
    operator: &Admin,
    limit: usize,
    event: Option<String>,
    account: Option<String>,
) -> Result<Value, FlowError> {
    let wanted = Wanted { event, account, limit, ..Wanted::default() };
    Ok(json!({"items": admin::audit(engine, operator, wanted).await?}))
}

async fn findings(engine: &Engine) -> Value {
    let items = engine
        .services
        .findings()
        .into_iter()
        .map(|finding| json!({"key": finding.key, "why": finding.why, "fix": finding.fix}));
    let items: Vec<Value> = items.collect();
    let (_, ready) = readiness(engine).await;
    let foreign = engine.accounts.ask_of_memory(CountForeign).await.unwrap_or(0);
    let log_in = engine.accounts.ask_of_memory(ReadLogInCost).await.unwrap_or_default();
    let log_in_kib = log_in.kib(engine.services.config.password.cost);
    json!({"items": items, "ready": ready, "foreign_hashes": foreign, "log_in_kib": log_in_kib})
}

/// Says that there is no account `user`, and what would name one.
fn no_account(user: &str) -> Refusal {
    let message = format!(
        "{user:?} is no account: give its address, or its id of 32 hexadecimal digits, which `portcullis user list` shows, or \
         {EXTERNAL} and its external id"
    );
    Refusal::Field { pointer: "/user", code: "not_found", message }
}

/// Returns what `user` names. What is neither an address nor an id of some kind names nothing.
async fn find_all(engine: &Engine, operator: &Admin, user: &str) -> Result<Vec<Found>, FlowError> {
    match admin::find(engine, operator, user).await {
        Err(FlowError::Refused(Refusal::Field { .. })) if !user.contains('@') => Ok(Vec::new()),
        found => found,
    }
}

/// Returns the account that `user` names.
async fn find(engine: &Engine, operator: &Admin, user: &str) -> Result<AccountV4, FlowError> {
    Ok(find_if_any(engine, operator, user).await?.ok_or_else(|| no_account(user))?)
}

/// Returns the account that `user` names, if there is one.
async fn find_if_any(engine: &Engine, operator: &Admin, user: &str) -> Result<Option<AccountV4>, FlowError> {
    match find_all(engine, operator, user).await?.into_iter().next() {
        Some(Found::Account(account)) => Ok(Some(account)),
        Some(Found::SignUp(sign_up)) => {
            let message = format!(
                "{} has signed up and has not confirmed the address: there is no account yet",
                sign_up.email
            );
            Err(Refusal::Field { pointer: "/user", code: "pending", message }.into())
        }
        None => Ok(None),
    }
}

fn session_json(account: &AccountV4, held: Held) -> Value {
    let identity = Identity { account: account.clone(), held, times: None };
    let (kind, created, network, user_agent) = match &identity.held {
        Held::Family(family) => ("token", family.opened_ms, family.network(), family.user_agent()),
        Held::Session(session) => ("cookie", session.opened_ms, &*session.network, &*session.user_agent),
    };
    json!({
        "id": hex(&identity.sid()),
        "kind": kind,
        "created_at": Timestamp(created).rfc3339(),
        "network": network,
        "user_agent": user_agent,
    })
}
