//! What the operator does from the command line: over the admin socket of a running server, or on a stopped directory.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audit::read::Wanted;
use crate::engine::Engine;
use crate::flow::admin::{self, Admin};
use crate::flow::authenticate::{Held, Identity};
use crate::flow::refusal::{FlowError, Refusal, parse_name};
use crate::registry::account::actor::{Find, List};
use crate::registry::account::{AccountV1, Status};
use crate::system::clock::Timestamp;
use crate::value::id::AccountId;

/// An operator's wish. `user` is an address or an id.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the subcommand of its name")]
pub enum Operation {
    UserAdd {
        email: String,
        password: Option<String>,
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
    KeyList,
    KeyRotate,
    KeyRetire {
        kid: String,
    },
    Backup {
        to: std::path::PathBuf,
    },
    AuditTail {
        limit: usize,
        event: Option<String>,
        account: Option<String>,
    },
    /// What only a running server can know is wrong with its settings.
    Findings,
}

/// Does it, and says what there is to show.
pub async fn operate(engine: &Arc<Engine>, operation: Operation) -> Result<Value, FlowError> {
    let admin = Admin::operator();
    Ok(match operation {
        Operation::UserAdd { email, password, roles } => {
            let new = admin::New { email: &email, password: password.as_deref(), roles, verified: true };
            let account = admin::create(engine, &admin, new).await?;
            if password.is_none() {
                admin::send_reset(engine, &admin, account.account_id()).await?;
            }
            shown(&account)
        }
        Operation::UserList { q } => {
            let list = List { after: None, limit: 1000, q: q.map(|q| q.to_lowercase()), status: None };
            let found = admin::list(engine, &admin, list).await?;
            json!({"items": found.iter().map(shown).collect::<Vec<_>>()})
        }
        Operation::UserShow { user } => shown(&find(engine, &user).await?),
        Operation::UserSetRole { user, roles } => {
            let id = find(engine, &user).await?.account_id();
            shown(&admin::change(engine, &admin, id, Some(roles), None, None).await?)
        }
        Operation::UserLock { user } => {
            let id = find(engine, &user).await?.account_id();
            shown(&admin::change(engine, &admin, id, None, Some(Status::Disabled), None).await?)
        }
        Operation::UserUnlock { user } => {
            let id = find(engine, &user).await?.account_id();
            admin::unlock(engine, &admin, id).await?;
            shown(&admin::change(engine, &admin, id, None, Some(Status::Active), None).await?)
        }
        Operation::UserResetPassword { user } => {
            let account = find(engine, &user).await?;
            admin::send_reset(engine, &admin, account.account_id()).await?;
            shown(&account)
        }
        Operation::UserDelete { user } => {
            let account = find(engine, &user).await?;
            admin::delete(engine, &admin, account.account_id()).await?;
            shown(&account)
        }
        Operation::SessionList { user } => {
            let account = find(engine, &user).await?;
            let open = crate::flow::account::open_sessions(engine, &account).await?;
            let families = open.families.into_iter().map(Held::Family);
            let sessions = open.sessions.into_iter().map(Held::Session);
            json!({"items": families.chain(sessions).map(|held| session(&account, held)).collect::<Vec<_>>()})
        }
        Operation::SessionRevoke { user } => {
            let account = find(engine, &user).await?;
            admin::revoke_sessions(engine, &admin, account.account_id()).await?;
            shown(&account)
        }
        Operation::KeyRetire { kid } => {
            admin::retire_key(engine, &admin, &kid).await?;
            json!({"kid": kid})
        }
        Operation::Backup { to } => {
            let copied = Arc::clone(engine);
            let found = tokio::task::spawn_blocking(move || copied.back_up(&to)).await;
            match found.map_err(|_| crate::engine::Fault::Ending)? {
                Ok(found) => {
                    json!({"sequence": found.seq, "records": found.records, "entries": found.entries})
                }
                Err(error) => return Err(crate::engine::Fault::Backup(error).into()),
            }
        }
        Operation::KeyRotate => {
            let (kid, from) = admin::rotate_key(engine, &admin).await?;
            json!({"kid": kid, "signs_from": from.rfc3339()})
        }
        Operation::AuditTail { limit, event, account } => {
            let wanted = Wanted { event, account, limit, ..Wanted::default() };
            json!({"items": admin::audit(engine, &admin, wanted).await?})
        }
        Operation::Findings => {
            let found = engine.services.findings();
            json!({"items": found.iter().map(|finding| json!({
                "key": finding.key, "why": finding.why, "fix": finding.fix,
            })).collect::<Vec<_>>()})
        }
        Operation::KeyList => {
            let signer = engine.services.signer.read();
            let items = signer.listed(engine.clock.now()).map(|(key, from, signs)| {
                let mut item = json!(key);
                if let Some(fields) = item.as_object_mut() {
                    fields.insert(String::from("signs"), json!(signs));
                    if from > Timestamp::ZERO {
                        fields.insert(String::from("signs_from"), json!(from.rfc3339()));
                    }
                }
                item
            });
            json!({"items": items.collect::<Vec<_>>()})
        }
    })
}

async fn find(engine: &Engine, user: &str) -> Result<AccountV1, FlowError> {
    if let Ok(id) = user.parse::<AccountId>() {
        return admin::get(engine, &Admin::operator(), id).await;
    }
    let key = parse_name(user)?.key(&engine.services.keys.directory);
    Ok(engine.accounts.ask(Find { name: key }).await?.ok_or(Refusal::NotFound)?)
}

fn shown(account: &AccountV1) -> Value {
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

fn session(account: &AccountV1, held: Held) -> Value {
    let identity = Identity { account: account.clone(), held, times: None };
    let (kind, created, network, user_agent) = match &identity.held {
        Held::Family(family) => ("token", family.opened_ms, family.network(), family.user_agent()),
        Held::Session(session) => ("cookie", session.opened_ms, &*session.network, &*session.user_agent),
    };
    json!({
        "id": crate::value::id::hex(&identity.sid()),
        "kind": kind,
        "created_at": Timestamp(created).rfc3339(),
        "network": network,
        "user_agent": user_agent,
    })
}
