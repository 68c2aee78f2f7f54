//! Invitations that an administrator sends, sees and withdraws. [`crate::flow::sign_up::invited`] is their other end.

use serde_json::{Value, json};

use super::Admin;
use super::accounts::roles;
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::flow::account::carried::{Carried, Stored};
use crate::flow::refusal::{FlowError, Refusal, parse_new_name_for_admin};
use crate::registry::account::actor::FindHolder;
use crate::registry::account::{ADMIN, Holder};
use crate::registry::sign_up::invitation::actor::{Invite, ListInvitations, Refused, Withdraw};
use crate::registry::sign_up::invitation::{InvitationV1, Inviter};
use crate::system::clock::Timestamp;
use crate::token::opaque::Secret;
use crate::value::id::{AccountId, hex};

/// An invitation, as an administrator sends it.
#[derive(Clone, Debug, Default)]
pub struct NewInvitation<'a> {
    /// The address that is invited.
    pub email: &'a str,
    /// The name that the account will have, unless its owner gives another.
    pub name: Option<&'a str>,
    /// Its roles.
    pub roles: Vec<String>,
    /// The language of its owner.
    pub locale: Option<&'a str>,
}

/// Mails somebody a link to make an account. An earlier invitation of the same address ends. Returns the invitation, and the id
/// of the mail.
///
/// Domains that may sign up are no bound: who is invited is wanted.
///
/// Errors: [`Refusal::EmailTaken`] for an address that has an account, or is kept for one; [`Refusal::InsufficientScope`] if an
/// API key would make an administrator; [`Refusal::MailQuota`] if this administrator, or all together to this address, have
/// sent too many within the hour.
pub async fn send(
    engine: &Engine,
    admin: &Admin,
    new: NewInvitation<'_>,
) -> Result<(InvitationV1, [u8; 16]), FlowError> {
    let may_change = engine.may_change_rights().await?;
    let address = parse_new_name_for_admin(&engine.services.config, new.email)?;
    let roles = roles(new.roles)?;
    if matches!(admin.inviter(), Inviter::ApiKey(_)) && roles.iter().any(|role| &**role == ADMIN) {
        // Only a person gives all rights to one who is no account yet.
        return Err(Refusal::InsufficientScope.into());
    }
    let carried = Carried { name: new.name, locale: new.locale, ..Carried::default() };
    let Stored { name, extra } = carried.stored()?;
    let filled = |text: Option<Box<str>>| text.filter(|text| !text.is_empty());
    let name_key = address.key(&engine.services.keys.directory);
    if engine.accounts.ask(FindHolder { name: name_key }).await?.as_ref().is_some_and(Holder::holds) {
        return Err(Refusal::EmailTaken.into());
    }
    let secret = Secret::mint(&engine.services.random)?;
    let invite = Invite {
        id: AccountId::mint(name_key.slot(), engine.services.random.bytes()?),
        name_key,
        email: address.as_str().into(),
        name: filled(name),
        roles,
        locale: filled(extra.locale),
        inviter: admin.inviter(),
        digest: secret.digest(),
        global_epoch: engine.global_epoch,
    };
    let invitation = engine.invitations.ask(invite).await?.map_err(|refused| match refused {
        Refused::TooMany => Refusal::TooManyInvitations,
        Refused::TooManyMails => Refusal::MailQuota,
    })?;
    let Some(mail) = engine.mail_invitation(&invitation, secret).await? else {
        // Nobody has the link.
        let withdraw = Withdraw { id: invitation.id, global_epoch: engine.global_epoch };
        engine.invitations.ask(withdraw).await?;
        return Err(Refusal::MailQuota.into());
    };
    let what = told(&invitation.roles);
    admin.record_what(engine, may_change, Event::InvitationSent, &invitation.id, &what).await?;
    Ok((invitation, mail))
}

/// Returns up to `limit` open invitations after `after`, in the order of their ids.
pub async fn list(
    engine: &Engine,
    _: &Admin,
    after: Option<AccountId>,
    limit: usize,
) -> Result<Vec<InvitationV1>, FlowError> {
    let list = ListInvitations { after, limit, global_epoch: engine.global_epoch };
    Ok(engine.invitations.ask(list).await?)
}

/// Ends an invitation: its link is dead at once.
///
/// Errors: [`Refusal::NotFound`] if none of this id is open.
pub async fn withdraw(engine: &Engine, admin: &Admin, id: AccountId) -> Result<(), FlowError> {
    let may_change = engine.may_change_rights().await?;
    let withdraw = Withdraw { id, global_epoch: engine.global_epoch };
    let invitation = engine.invitations.ask(withdraw).await?.ok_or(Refusal::NotFound)?;
    let what = told(&invitation.roles);
    Ok(admin.record_what(engine, may_change, Event::InvitationWithdrawn, &id, &what).await?)
}

/// Names roles for the log of security events.
pub(in crate::flow) fn told(roles: &[Box<str>]) -> String {
    /// Roles that are named at most.
    const NAMED_MAX: usize = 8;
    let mut named: Vec<&str> = roles.iter().take(NAMED_MAX).map(|role| &**role).collect();
    let more = roles.len().saturating_sub(NAMED_MAX);
    let rest = format!("and {more} more");
    if more > 0 {
        named.push(&rest);
    }
    if named.is_empty() { String::from("no roles") } else { format!("roles {}", named.join(" ")) }
}

/// Describes an invitation as administrators see it, over HTTP and on the command line alike.
pub fn described(invitation: &InvitationV1) -> Value {
    json!({
        "id": invitation.id.to_string(),
        "email": invitation.email,
        "name": invitation.name,
        "roles": invitation.roles,
        "locale": invitation.locale,
        "invited_by": match invitation.inviter {
            Inviter::Operator => String::from("operator"),
            Inviter::Account(id) => hex(&id),
            Inviter::ApiKey(id) => format!("API key {}", hex(&id)),
        },
        "created_at": Timestamp(invitation.sent_ms).rfc3339(),
        "expires_at": invitation.end().rfc3339(),
    })
}
