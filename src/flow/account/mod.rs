//! One's own account: the list of what is open, what it carries, and its deletion.

pub mod carried;

use self::carried::{Carried, Stored};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::flow::admission::Outcome;
use crate::flow::authenticate::{Held, Identity};
use crate::flow::check::confirm_password;
use crate::flow::client::Client;
use crate::flow::log_out::end_others_and_mailed;
use crate::flow::post::Addressee;
use crate::flow::refusal::{FlowError, Refusal};
use crate::registry::account::actor::{Alter, Delete};
use crate::registry::account::{AccountV4, Change};
use crate::registry::outbox::Kind;
use crate::registry::reset::{Cause, Purpose};
use crate::registry::throttle::class::Class;
use crate::registry::{refresh, session};
use crate::value::id::{FamilyId, SessionId};
use crate::value::json_object::NewObject;

/// A page of the token families and sessions that are open for an account.
pub struct OpenSessions {
    /// All that are open, the last used first; or a page of them, families before sessions.
    pub items: Vec<Held>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<Cursor>,
}

/// The last entry of a page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cursor {
    /// A family. Further families follow, then the sessions.
    Family(FamilyId),
    /// A session. Further sessions follow.
    Session(SessionId),
}

impl Cursor {
    /// Reads what [`Cursor`] prints.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, id) = text.split_once('-')?;
        match kind {
            "token" => id.parse().ok().map(Self::Family),
            "cookie" => id.parse().ok().map(Self::Session),
            _ => None,
        }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Family(id) => write!(f, "token-{id}"),
            Self::Session(id) => write!(f, "cookie-{id}"),
        }
    }
}

/// Returns a page of what is open for `account` under its current epoch: at most `limit` entries after `after`. If all fit
/// on it, the last used come first. Pages cannot have that order: what is used between two of them would be on neither.
pub async fn open_sessions(
    engine: &Engine,
    account: &AccountV4,
    after: Option<Cursor>,
    limit: usize,
) -> Result<OpenSessions, FlowError> {
    let (id, auth_epoch, global_epoch) = (account.account_id(), account.auth_epoch, engine.global_epoch);
    // One more than the page: it says whether there is another page.
    let wanted = limit + 1;
    let mut items = Vec::new();
    if !matches!(after, Some(Cursor::Session(_))) {
        let after = match after {
            Some(Cursor::Family(family)) => Some(family.to_bytes()),
            _ => None,
        };
        let page = refresh::actor::PageOf { account: id, auth_epoch, global_epoch, after, limit: wanted };
        items.extend(engine.refresh.ask(page).await?.into_iter().map(Held::Family));
    }
    if items.len() < wanted {
        let after = match after {
            Some(Cursor::Session(session)) => Some(session.to_bytes()),
            _ => None,
        };
        let page = session::actor::PageOf {
            account: id,
            auth_epoch,
            global_epoch,
            after,
            limit: wanted - items.len(),
        };
        items.extend(engine.sessions.ask(page).await?.into_iter().map(Held::Session));
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| has_more).and_then(|last| match last {
        Held::Family(family) => Some(Cursor::Family(family.id)),
        Held::Session(session) => SessionId::from_bytes(session.id).map(Cursor::Session),
    });
    if after.is_none() && next.is_none() {
        items.sort_by_key(|held| std::cmp::Reverse(held.used_ms()));
    }
    Ok(OpenSessions { items, next })
}

/// What the owner of an account may set. A field that is `None` stays as it is, an empty one is taken away.
#[derive(Clone, Debug, Default)]
pub struct Settings<'a> {
    /// The name by which the owner wants to be called.
    pub name: Option<&'a str>,
    /// The language of the owner.
    pub locale: Option<&'a str>,
    /// The JSON object of the owner. It replaces the one from before as a whole.
    pub user_metadata: Option<NewObject>,
    /// Whether the owner is mailed about a log-in from a new device.
    pub new_device_mail: Option<bool>,
}

/// Changes what the owner of the account of `identity` may set. To switch off the mail about new devices needs a fresh
/// proof: else whoever holds a stolen session could silence the mail about what follows. The owner is told when it is
/// switched off.
pub async fn set(
    engine: &Engine,
    client: &Client,
    identity: &Identity,
    settings: Settings<'_>,
) -> Outcome<AccountV4> {
    let Settings { name, locale, user_metadata, new_device_mail } = settings;
    let id = identity.account.account_id();
    let admission = engine.admit_change(client, id).await;
    let set = admission.then(async |_| {
        if new_device_mail == Some(false) {
            identity.is_fresh(engine.clock.now())?;
        }
        let Stored { name, extra } =
            Carried { name, locale, user_metadata, ..Carried::default() }.stored()?;
        let mutes_new_device = new_device_mail.map(|wanted| !wanted);
        let change = Change { name, mutes_new_device, extra, ..Change::default() };
        let changed = engine.accounts.ask(Alter { id, change }).await?;
        let account = changed.map_err(|_| Refusal::Unauthenticated)?;
        if account.mutes_new_device != identity.account.mutes_new_device {
            let mails = if account.mutes_new_device { "off" } else { "on" };
            let note = client.note(Event::DeviceNoticesSet).for_account(Some(&account));
            engine.record_durably(note.with_reason(&format!("mails about new devices {mails}"))).await;
            if account.mutes_new_device {
                // A stolen session is fresh for some minutes after its log-in.
                let to = Addressee::owner(&account);
                engine.warn(Cause::Owner, to, Purpose::Verify, Kind::NoticesOff).await?;
            }
        }
        Ok(account)
    });
    set.await
}

/// Deletes the account of `identity` once its password is confirmed, and tells its owner by mail.
pub async fn delete(engine: &Engine, client: &Client, identity: &Identity, password: &str) -> Outcome<()> {
    engine
        .admitted(Class::Check, client, async |_| {
            identity.is_fresh(engine.clock.now())?;
            let account = confirm_password(engine, client, identity, password).await?;
            refuse_while_undoable(engine, &account)?;
            engine.check_room_for_act()?;
            let delete = Delete { id: account.account_id(), spares_last_admin: true };
            // If it is gone, another request deleted it a moment ago, and this credential with it.
            let deleted = engine.accounts.ask(delete).await?;
            deleted.map_err(|refusal| match Refusal::from(refusal) {
                Refusal::NotFound => Refusal::Unauthenticated,
                refusal => refusal,
            })?;
            end_others_and_mailed(engine, account.account_id(), None).await?;
            engine.record_durably(client.note(Event::AccountDeleted).for_account(Some(&account))).await;
            engine.post(Addressee::owner(&account), Kind::AccountDeleted).await
        })
        .await
}

/// Refuses the deletion of an account whose change of address can be undone: who changed it may be a thief, and with the
/// account the link of its owner would die.
fn refuse_while_undoable(engine: &Engine, account: &AccountV4) -> Result<(), Refusal> {
    let until = account.former.as_ref().map(|former| former.end());
    match until.filter(|until| engine.clock.now() < *until) {
        Some(until) => Err(Refusal::UndoPending { until }),
        None => Ok(()),
    }
}
