//! The operations of the command line, run by a server that was asked over its socket, or on the data directory of a
//! stopped server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audit::event::Event;
use crate::audit::read::Wanted;
use crate::audit::verify::CUT;
use crate::engine::key_care::ListedKey;
use crate::engine::{Engine, Fault, MayChange};
use crate::flow::account::open_sessions;
use crate::flow::admin::{self, Admin};
use crate::flow::authenticate::{Held, Identity};
use crate::flow::keys::{api_keys, rotation};
use crate::flow::refusal::{FlowError, Refusal, parse_name};
use crate::registry::account::actor::{Find, List};
use crate::registry::account::{AccountV3, Status};
use crate::registry::outbox::Fate;
use crate::registry::outbox::actor::FateOf;
use crate::system::clock::Timestamp;
use crate::value::id::{AccountId, hex};
use crate::value::secret_text::SecretText;

/// An operation with its arguments. `user` is an address or an id.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the subcommand of that name")]
pub enum Operation {
    UserAdd {
        email: String,
        password: Option<SecretText>,
        roles: Vec<String>,
    },
    UserList {
        q: Option<String>,
    },
    UserShow {
        user: String,
    },
    UserSetRole {
        user: String,
        roles: Vec<String>,
    },
    UserLock {
        user: String,
    },
    UserUnlock {
        user: String,
    },
    UserResetPassword {
        user: String,
    },
    UserDelete {
        user: String,
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
    },
    AuditTail {
        limit: usize,
        event: Option<String>,
        account: Option<String>,
    },
    AuditAcknowledge,
    /// Lists faults of the settings that only a running server can find.
    Findings,
}

/// How long an operator waits to learn whether a mail has left.
const MAIL_WAIT: Duration = Duration::from_secs(3);
/// How often the outbox is asked meanwhile.
const MAIL_LOOKS: u32 = 30;

/// The most accounts that [`Operation::UserList`] returns, and sessions that [`Operation::SessionList`] does.
const LIST_MAX: usize = 1000;

/// Runs an operation and returns the JSON of its result.
pub async fn operate(engine: &Arc<Engine>, operation: Operation) -> Result<Value, FlowError> {
    match operation {
        Operation::UserAdd { email, password, roles } => {
            add_user(engine, &email, password.as_deref(), roles).await
        }
        Operation::UserList { q } => list_users(engine, q).await,
        Operation::UserShow { user } => Ok(account_json(&find(engine, &user).await?)),
        Operation::UserSetRole { user, roles } => change(engine, &user, Some(roles), None).await,
        Operation::UserLock { user } => change(engine, &user, None, Some(Status::Disabled)).await,
        Operation::UserUnlock { user } => unlock(engine, &user).await,
        Operation::UserResetPassword { user } => reset_password(engine, &user).await,
        Operation::UserDelete { user } => delete(engine, &user).await,
        Operation::SessionList { user } => list_sessions(engine, &user).await,
        Operation::SessionRevoke { user } => revoke_sessions(engine, &user).await,
        Operation::KeyList { all } => Ok(list_keys(engine, all)),
        Operation::KeyRotate { kind } => rotate_key(engine, kind.as_deref()).await,
        Operation::KeyRetire { kid } => retire_key(engine, &kid).await,
        Operation::ApiKeyCreate { name, scopes, expires_at } => {
            make_api_key(engine, &name, &scopes, expires_at.as_deref()).await
        }
        Operation::ApiKeyList => list_api_keys(engine).await,
        Operation::ApiKeyDelete { id } => delete_api_key(engine, &id).await,
        Operation::Backup { to } => back_up(engine, to).await,
        Operation::AuditTail { limit, event, account } => audit_tail(engine, limit, event, account).await,
        Operation::AuditAcknowledge => acknowledge_cut(engine).await,
        Operation::Findings => Ok(findings(engine)),
    }
}

async fn add_user(
    engine: &Engine,
    email: &str,
    password: Option<&str>,
    roles: Vec<String>,
) -> Result<Value, FlowError> {
    let operator = Admin::operator();
    let new = admin::New { email, password, roles, verified: true };
    let account = admin::create(engine, &operator, new).await?;
    if account.phc.is_some() {
        return Ok(account_json(&account));
    }
    let mail = admin::invite(engine, &operator, &account).await?;
    Ok(with_mail(engine, account_json(&account), mail).await)
}

async fn list_users(engine: &Engine, q: Option<String>) -> Result<Value, FlowError> {
    let list =
        List { after: None, limit: LIST_MAX, q: q.map(|q| q.to_lowercase()), status: None, verified: None };
    let accounts = admin::list(engine, &Admin::operator(), list).await?;
    Ok(json!({"items": accounts.iter().map(account_json).collect::<Vec<_>>()}))
}

async fn change(
    engine: &Engine,
    user: &str,
    roles: Option<Vec<String>>,
    status: Option<Status>,
) -> Result<Value, FlowError> {
    let id = find(engine, user).await?.account_id();
    let account = admin::change(engine, &Admin::operator(), id, roles, status, None).await?;
    Ok(account_json(&account))
}

/// Lifts a lockout and enables the account.
async fn unlock(engine: &Engine, user: &str) -> Result<Value, FlowError> {
    let operator = Admin::operator();
    let id = find(engine, user).await?.account_id();
    admin::unlock(engine, &operator, id).await?;
    let account = admin::change(engine, &operator, id, None, Some(Status::Active), None).await?;
    Ok(account_json(&account))
}

async fn reset_password(engine: &Engine, user: &str) -> Result<Value, FlowError> {
    let account = find(engine, user).await?;
    let mail = admin::send_reset(engine, &Admin::operator(), account.account_id()).await?;
    Ok(with_mail(engine, account_json(&account), mail).await)
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
    let text = match fate {
        Fate::Sent => "sent",
        Fate::Refused => "refused by the mail server for good; see the log",
        Fate::Waits { tries: 0 } => "waits to be sent",
        Fate::Waits { .. } => "waits: the mail server did not take it; see the log, or run portcullis doctor",
    };
    if let Some(fields) = answer.as_object_mut() {
        fields.insert(String::from("mail"), json!(text));
    }
    answer
}

async fn delete(engine: &Engine, user: &str) -> Result<Value, FlowError> {
    let account = find(engine, user).await?;
    admin::delete(engine, &Admin::operator(), account.account_id()).await?;
    Ok(account_json(&account))
}

async fn list_sessions(engine: &Engine, user: &str) -> Result<Value, FlowError> {
    let account = find(engine, user).await?;
    // More than an account may have open.
    let open = open_sessions(engine, &account, None, LIST_MAX).await?;
    let items: Vec<_> = open.items.into_iter().map(|held| session_json(&account, held)).collect();
    Ok(json!({"items": items}))
}

async fn revoke_sessions(engine: &Engine, user: &str) -> Result<Value, FlowError> {
    let account = find(engine, user).await?;
    admin::revoke_sessions(engine, &Admin::operator(), account.account_id()).await?;
    Ok(account_json(&account))
}

fn list_keys(engine: &Engine, all: bool) -> Value {
    let signer = engine.services.signer.read();
    let signing = signer.listed(engine.clock.now()).map(|(key, from, signs)| {
        let mut item = json!(key);
        if let Some(fields) = item.as_object_mut() {
            fields.insert(String::from("signs"), json!(signs));
            if from > Timestamp::ZERO {
                fields.insert(String::from("signs_from"), json!(from.rfc3339()));
            }
        }
        item
    });
    let mut items: Vec<Value> = signing.collect();
    if all {
        items.extend(engine.services.listed_keys().iter().map(ring_key_json));
    }
    json!({"items": items})
}

fn ring_key_json(key: &ListedKey) -> Value {
    json!({
        "kid": key.kid,
        "kind": key.kind.name(),
        "newest": key.until.is_none(),
        "used_from": (key.from > Timestamp::ZERO).then(|| key.from.rfc3339()),
        "verifies_until": key.until.map(Timestamp::rfc3339),
    })
}

async fn rotate_key(engine: &Engine, kind: Option<&str>) -> Result<Value, FlowError> {
    let (kid, from) = rotation::rotate(engine, &Admin::operator(), kind).await?;
    Ok(json!({"kid": kid, "signs_from": from.rfc3339()}))
}

async fn retire_key(engine: &Engine, kid: &str) -> Result<Value, FlowError> {
    rotation::retire(engine, &Admin::operator(), kid).await?;
    Ok(json!({"kid": kid}))
}

async fn make_api_key(
    engine: &Engine,
    name: &str,
    scopes: &[String],
    end: Option<&str>,
) -> Result<Value, FlowError> {
    let wrong = || Refusal::Field {
        pointer: "/expires_at",
        code: "invalid_time",
        message: String::from("expected a time such as 2027-01-15T08:00:00Z"),
    };
    let end = end.map(|text| Timestamp::parse_rfc3339(text).ok_or_else(wrong)).transpose()?;
    let made = api_keys::make(engine, &Admin::operator(), name, scopes, end).await?;
    Ok(made.described())
}

async fn list_api_keys(engine: &Engine) -> Result<Value, FlowError> {
    let keys = api_keys::list(engine, &Admin::operator()).await?;
    Ok(json!({"items": keys.iter().map(api_keys::described).collect::<Vec<_>>()}))
}

async fn delete_api_key(engine: &Engine, id: &str) -> Result<Value, FlowError> {
    api_keys::delete(engine, &Admin::operator(), id).await?;
    Ok(json!({"id": id}))
}

/// Copies the data directory on a blocking thread.
async fn back_up(engine: &Arc<Engine>, to: PathBuf) -> Result<Value, FlowError> {
    let engine = Arc::clone(engine);
    let finished = tokio::task::spawn_blocking(move || engine.back_up(&to)).await;
    let copied = finished.map_err(|_| Fault::Ending)?.map_err(Fault::Backup)?;
    Ok(json!({"sequence": copied.seq, "records": copied.records, "entries": copied.entries}))
}

async fn audit_tail(
    engine: &Engine,
    limit: usize,
    event: Option<String>,
    account: Option<String>,
) -> Result<Value, FlowError> {
    let wanted = Wanted { event, account, limit, ..Wanted::default() };
    Ok(json!({"items": admin::audit(engine, &Admin::operator(), wanted).await?}))
}

/// Writes down that an operator knows of what starts have found changed in the log of security events. Writes nothing if
/// there is nothing new.
async fn acknowledge_cut(engine: &Engine) -> Result<Value, FlowError> {
    let operator = Admin::operator();
    let newest = async |event: &str| -> Result<Option<u64>, FlowError> {
        let wanted = Wanted { event: Some(event.to_owned()), limit: 1, ..Wanted::default() };
        Ok(admin::audit(engine, &operator, wanted).await?.pop().map(|line| line.seq))
    };
    if newest(CUT).await? <= newest(Event::AuditAcknowledged.name()).await? {
        return Ok(json!({"event": null}));
    }
    operator.record(engine, MayChange::LINE_ALONE, Event::AuditAcknowledged, &"audit log").await?;
    Ok(json!({"event": Event::AuditAcknowledged.name()}))
}

fn findings(engine: &Engine) -> Value {
    let items = engine
        .services
        .findings()
        .into_iter()
        .map(|finding| json!({"key": finding.key, "why": finding.why, "fix": finding.fix}));
    json!({"items": items.collect::<Vec<_>>()})
}

/// Returns the account with the id or the address `user`.
async fn find(engine: &Engine, user: &str) -> Result<AccountV3, FlowError> {
    if let Ok(id) = user.parse::<AccountId>() {
        return admin::get(engine, &Admin::operator(), id).await;
    }
    let key = parse_name(user)?.key(&engine.services.keys.directory);
    Ok(engine.accounts.ask(Find { name: key }).await?.ok_or(Refusal::NotFound)?)
}

fn account_json(account: &AccountV3) -> Value {
    json!({
        "id": account.account_id().to_string(),
        "email": account.email,
        "email_verified": account.email_verified,
        "name": account.name,
        "roles": account.roles,
        "status": if account.status == Status::Active { "active" } else { "disabled" },
        "created_at": Timestamp(account.created_ms).rfc3339(),
    })
}

fn session_json(account: &AccountV3, held: Held) -> Value {
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
