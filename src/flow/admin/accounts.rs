//! What an administrator does with one account.

use serde_json::Value;

use super::address::{self, read_former, set_address};
use super::difference::{alter, difference, first_fields, made_admin};
use super::hash::{create_with_hash, read_hash, refused, stored_text};
use super::list::get;
use super::{Admin, tell_administrators};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::flow::account::carried::{Carried, Stored};
use crate::flow::account::open_sessions;
use crate::flow::log_out::{end_others, end_others_and_mailed};
use crate::flow::post::Addressee;
use crate::flow::refusal::{FlowError, Refusal, parse_new_name_for_admin};
use crate::flow::sign_up::new_password;
use crate::password::QueueKey;
use crate::registry::account::actor::{Alter, Delete, FindExternal};
use crate::registry::account::{AccountV4, Change, Origin, SignUp, SignedUp, Status, is_admin};
use crate::registry::lockout::actor::Clear;
use crate::registry::outbox::Kind;
use crate::registry::reset::{Cause, Purpose};
use crate::registry::sign_up::actor::EndSignUps;
use crate::registry::{refresh, session};
use crate::value::account_name::NameKey;
use crate::value::id::{AccountId, FamilyId, SessionId};

/// More sessions than an account may have open.
const OPEN_MAX: usize = 1000;

/// Roles of one account at most.
const ROLES_MAX: usize = 32;

/// A new account, as an administrator creates it.
#[derive(Clone, Debug, Default)]
pub struct New<'a> {
    /// Its e-mail address.
    pub email: &'a str,
    /// Its password; `None` if the owner sets it by mail first.
    pub password: Option<&'a str>,
    /// The hash that another system has made of its password, in place of that: a text, or an object with what the scheme
    /// needs.
    pub password_hash: Option<&'a Value>,
    /// Its roles.
    pub roles: Vec<String>,
    /// Whether its address counts as proved.
    pub verified: bool,
    /// What else it carries.
    pub carried: Carried<'a>,
}

/// Creates an account. One without a password waits for [`invite`]. An address that has an account is refused, also
/// while it is not proved: nothing of that account changes. So is one that is kept for an account whose change can be
/// undone. Sign-ups that wait for the address end, so that no link of theirs touches the account.
pub async fn create(engine: &Engine, admin: &Admin, new: New<'_>) -> Result<AccountV4, FlowError> {
    let may_change = engine.may_change_rights().await?;
    let name = parse_new_name_for_admin(&engine.services.config, new.email)?;
    let roles = roles(new.roles)?;
    let mut carried = new.carried.stored()?;
    carried.extra.imported_ms = new.password_hash.map(|_| engine.clock.now().as_millis());
    let name_key = name.key(&engine.services.keys.directory);
    let mut sign_up = SignUp {
        id: AccountId::mint(name_key.slot(), engine.services.random.bytes()?),
        name_key,
        email: name.as_str().into(),
        name: carried.name.filter(|name| !name.is_empty()),
        phc: None,
        roles,
        verified: new.verified,
        origin: Origin::Administrator,
        extra: carried.extra.made(),
    };
    let account = match (new.password, new.password_hash) {
        (Some(_), Some(_)) => {
            let why = "this is the hash of a password, and there is one as well: give one of the two";
            return Err(refused("has_password", why).into());
        }
        (None, Some(hash)) => {
            sign_up.phc = Some(stored_text(engine, read_hash(engine, hash)?).await?);
            create_with_hash(engine, sign_up).await?
        }
        (Some(password), None) => {
            let phc = new_password(engine, QueueKey::OWN, password, name.as_str(), "/password").await?;
            sign_up.phc = Some(phc);
            create_account(engine, sign_up).await?
        }
        (None, None) => create_account(engine, sign_up).await?,
    };
    engine.sign_ups.ask(EndSignUps { name: name_key }).await?;
    // Strangers may have locked the name while it had no account.
    engine.lockout.ask(Clear { name: name_key }).await?;
    if is_admin(&account) {
        tell_of_admin(engine, &account).await?;
    }
    let (id, fields) = (account.account_id(), first_fields(&account));
    admin.record_what(engine, may_change, Event::AdminCreated, &id, &fields).await?;
    Ok(account)
}

async fn create_account(engine: &Engine, sign_up: SignUp) -> Result<AccountV4, FlowError> {
    match engine.accounts.ask(sign_up).await? {
        SignedUp::Created(account) => Ok(account),
        SignedUp::Taken(_) | SignedUp::Kept => Err(Refusal::EmailTaken.into()),
        SignedUp::ExternalIdTaken => Err(Refusal::ExternalIdTaken.into()),
    }
}

/// What an administrator changes of an account. A field that is `None` changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Changes<'a> {
    /// All its roles.
    pub roles: Option<Vec<String>>,
    /// Whether it may log in.
    pub status: Option<Status>,
    /// Its address.
    pub email: Option<&'a str>,
    /// Whether its address counts as proved.
    pub email_verified: Option<bool>,
    /// Its former address, from which the change that its owner has made can then no longer be undone.
    pub end_undo: Option<&'a str>,
    /// What else it carries.
    pub carried: Carried<'a>,
}

/// Changes an account. A new status or address ends all its sessions. A role that is taken away ends the access tokens that
/// have it; sessions live on.
pub async fn change(
    engine: &Engine,
    admin: &Admin,
    id: AccountId,
    changes: Changes<'_>,
) -> Result<AccountV4, FlowError> {
    let Changes { roles: new_roles, status, email, email_verified, end_undo, carried } = changes;
    // What cannot be read is refused before anything changes.
    let new_roles = new_roles.map(roles).transpose()?;
    let has_rest = new_roles.is_some() || status.is_some() || !carried.is_none();
    let Stored { name, extra } = carried.stored()?;
    let former = match end_undo {
        Some(typed) => Some(read_former(engine, &get(engine, admin, id).await?, typed)?),
        None => None,
    };
    let mut readdressed = None;
    if email.is_some() || email_verified.is_some() || former.is_some() {
        refuse_if_taken(engine, id, extra.external_id.as_deref()).await?;
    }
    if email.is_some() || email_verified.is_some() {
        readdressed = Some(set_address(engine, admin, id, email, email_verified).await?);
    }
    if let Some(former) = former {
        let may_change = match readdressed {
            Some(_) => engine.may_go_on().await?,
            None => engine.may_change_rights().await?,
        };
        readdressed = Some(address::end_undo(engine, admin, may_change, id, &former).await?);
    }
    let may_change = match readdressed {
        Some(account) if !has_rest => return Ok(account),
        Some(_) => engine.may_go_on().await?,
        None => engine.may_change_rights().await?,
    };
    let change = Change {
        roles: new_roles,
        status,
        name,
        extra,
        // All tokens with the role were issued before the next second, and none after it can have it.
        tokens_from_secs: engine.clock.system_now().as_secs() + 1,
        spares_last_admin: admin.spares_last_admin(),
        ..Change::default()
    };
    let altered = alter(engine, id, change).await?;
    if made_admin(&altered) {
        tell_of_admin(engine, &altered.after).await?;
    }
    if status.is_some() {
        // They are dead by their epoch already; ending them tells resource servers.
        end_others(engine, id, None, None).await?;
    }
    admin.record_what(engine, may_change, Event::AdminChanged, &id, &difference(&altered)).await?;
    Ok(altered.after)
}

/// Refuses the external id of another account, before the address is changed with it. Who asks at the same moment is refused
/// by the registry.
async fn refuse_if_taken(
    engine: &Engine,
    own: AccountId,
    external_id: Option<&str>,
) -> Result<(), FlowError> {
    let Some(external_id) = external_id.filter(|external_id| !external_id.is_empty()) else { return Ok(()) };
    match engine.accounts.ask(FindExternal { external_id: external_id.into() }).await? {
        Some(other) if other.id != own => Err(Refusal::ExternalIdTaken.into()),
        _ => Ok(()),
    }
}

/// Tells the other administrators that there is one more.
pub(in crate::flow) async fn tell_of_admin(engine: &Engine, account: &AccountV4) -> Result<(), FlowError> {
    tell_administrators(engine, Kind::AdminMade, Some(&account.email), Some(account.account_id())).await
}

/// Deletes an account and all that belongs to it, and tells its owner by mail.
pub async fn delete(engine: &Engine, admin: &Admin, id: AccountId) -> Result<(), FlowError> {
    let may_change = engine.may_change_rights().await?;
    let account = get(engine, admin, id).await?;
    let delete = Delete { id, spares_last_admin: admin.spares_last_admin() };
    engine.accounts.ask(delete).await?.map_err(Refusal::from)?;
    end_others_and_mailed(engine, id, None).await?;
    engine.post(Addressee::owner(&account), Kind::AccountDeleted).await?;
    Ok(admin.record(engine, may_change, Event::AccountDeleted, &id).await?)
}

/// Lifts the lockout of an account.
pub async fn unlock(engine: &Engine, admin: &Admin, id: AccountId) -> Result<(), FlowError> {
    let may_change = engine.may_change_rights().await?;
    let account = get(engine, admin, id).await?;
    engine.lockout.ask(Clear { name: NameKey(account.name_key) }).await?;
    admin.record(engine, may_change, Event::LockoutCleared, &id).await?;
    Ok(())
}

/// Ends all sessions of an account.
pub async fn revoke_sessions(engine: &Engine, admin: &Admin, id: AccountId) -> Result<(), FlowError> {
    let may_change = engine.may_change_rights().await?;
    let account = get(engine, admin, id).await?;
    let open = open_sessions(engine, &account, None, OPEN_MAX).await?.items.len();
    let raised = Alter { id, change: Change { raise_epoch: true, ..Change::default() } };
    engine.accounts.ask(raised).await?.map_err(|_| Refusal::NotFound)?;
    end_others(engine, id, None, None).await?;
    let what = format!("all sessions, {open} were open");
    admin.record_what(engine, may_change, Event::SessionRevoked, &id, &what).await?;
    Ok(())
}

/// Ends one session or token family, whatever its account. Returns whose it was.
///
/// Errors: [`Refusal::NotFound`] if none with this id is open.
pub async fn revoke_session(engine: &Engine, admin: &Admin, session: &str) -> Result<AccountV4, FlowError> {
    let may_change = engine.may_change_rights().await?;
    let no_session = |_| Refusal::NotFound;
    let family: FamilyId = session.parse().map_err(no_session)?;
    let id = if let Some(open) = engine.refresh.ask(refresh::actor::Alive { id: family }).await? {
        let end = refresh::actor::End { id: family, cause: refresh::Cause::Revoked, by: None };
        engine.refresh.ask(end).await?;
        open.account
    } else {
        let cookie: SessionId = session.parse().map_err(no_session)?;
        let open = engine.sessions.ask(session::actor::Alive { id: cookie }).await?;
        let account = AccountId::from_bytes(open.ok_or(Refusal::NotFound)?.account);
        engine.sessions.ask(session::actor::End { id: cookie }).await?;
        account.ok_or(Refusal::NotFound)?
    };
    let what = format!("session {family}");
    admin.record_what(engine, may_change, Event::SessionRevoked, &id, &what).await?;
    get(engine, admin, id).await
}

/// Mails the owner of a new account, which has no password yet, a link to set it. Returns the id of the mail.
pub async fn invite(engine: &Engine, admin: &Admin, account: &AccountV4) -> Result<[u8; 16], FlowError> {
    send_reset(engine, admin, account.account_id()).await
}

/// Removes the password of an account, ends everything that is open or was mailed, and mails a link with which the owner
/// sets a new password: for a password that somebody else knows. Returns the id of the mail.
pub async fn revoke_password(engine: &Engine, admin: &Admin, id: AccountId) -> Result<[u8; 16], FlowError> {
    let may_change = engine.may_change_rights().await?;
    let before = get(engine, admin, id).await?;
    if before.phc.is_none() {
        return send_reset(engine, admin, id).await;
    }
    let change = Change {
        clear_phc: true,
        if_epoch: Some(before.auth_epoch),
        spares_last_admin: admin.spares_last_admin(),
        ..Change::default()
    };
    let altered = alter(engine, id, change).await?;
    end_others_and_mailed(engine, id, None).await?;
    // Whether or not a mail can follow, the password is gone.
    admin.record_what(engine, may_change, Event::AdminChanged, &id, &difference(&altered)).await?;
    let may_change = engine.may_go_on().await?;
    let to = Addressee::owner(&altered.after);
    let mail = engine.mail_token(Cause::Operator, to, Purpose::Reset, Kind::Reset).await?;
    let mail = mail.ok_or(Refusal::MailQuota)?;
    admin.record(engine, may_change, Event::ResetRequested, &id).await?;
    Ok(mail)
}

/// Mails the owner of an account a link with which a new password can be set; an invitation, if the account has none yet.
/// The password lives until the link is used. Returns the id of the mail.
pub async fn send_reset(engine: &Engine, admin: &Admin, id: AccountId) -> Result<[u8; 16], FlowError> {
    let may_change = engine.may_change_rights().await?;
    let account = get(engine, admin, id).await?;
    let mail = mail_password_link(engine, &account).await?;
    let event = if account.phc.is_some() { Event::ResetRequested } else { Event::Invited };
    admin.record(engine, may_change, event, &id).await?;
    Ok(mail)
}

/// Mails the owner of an account a link to set a password: an invitation, if the account has none yet.
///
/// Errors: [`Refusal::MailQuota`] if operators have sent this account too many within the hour.
async fn mail_password_link(engine: &Engine, account: &AccountV4) -> Result<[u8; 16], FlowError> {
    let (purpose, kind) = match account.phc {
        Some(_) => (Purpose::Reset, Kind::Reset),
        None => (Purpose::Invitation, Kind::Invitation),
    };
    let to = Addressee::owner(account);
    let mail = engine.mail_token(Cause::Operator, to, purpose, kind).await?;
    Ok(mail.ok_or(Refusal::MailQuota)?)
}

/// Reads names of roles, sorted and without duplicates.
pub(super) fn roles(names: Vec<String>) -> Result<Vec<Box<str>>, Refusal> {
    let is_plain = |name: &String| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    if names.len() > ROLES_MAX || !names.iter().all(is_plain) {
        return Err(Refusal::Field {
            pointer: "/roles",
            code: "invalid_role",
            message: format!("at most {ROLES_MAX} roles, each of 1 to 64 characters from a-z, 0-9 and _"),
        });
    }
    let mut roles: Vec<Box<str>> = names.into_iter().map(Into::into).collect();
    roles.sort();
    roles.dedup();
    Ok(roles)
}
