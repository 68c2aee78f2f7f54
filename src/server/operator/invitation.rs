//! Invitations on the command line.

use serde_json::{Value, json};

use super::operation::{LIST_MAX, find_all, invite_account, with_mail, wrong_cursor};
use crate::engine::Engine;
use crate::flow::admin::invitations::{self, NewInvitation, described};
use crate::flow::admin::{Admin, Found};
use crate::flow::refusal::{FlowError, Refusal};
use crate::registry::sign_up::invitation::InvitationV1;
use crate::value::account_name::AccountName;
use crate::value::id::AccountId;

/// Invites an address to have an account. If it has one without a password, that account's invitation is mailed once more.
pub(super) async fn invite(
    engine: &Engine,
    operator: &Admin,
    new: NewInvitation<'_>,
) -> Result<Value, FlowError> {
    let found = find_all(engine, operator, new.email).await?.into_iter().next();
    // Whoever has only signed up has no account yet.
    let is_new = !matches!(found, Some(Found::Account(_)));
    if is_new && new.email.contains('@') {
        let (invitation, mail) = invitations::send(engine, operator, new).await?;
        return Ok(with_mail(engine, described(&invitation), mail).await);
    }
    if !new.roles.is_empty() || new.name.is_some() || new.locale.is_some() {
        let message = format!("{} has an account: use portcullis user set-role or user set", new.email);
        return Err(Refusal::Field { pointer: "/user", code: "email_taken", message }.into());
    }
    invite_account(engine, operator, new.email).await
}

/// Lists open invitations.
pub(super) async fn list(engine: &Engine, operator: &Admin, after: Option<&str>) -> Result<Value, FlowError> {
    let after = after.map(|id| id.parse::<AccountId>().map_err(|_| wrong_cursor())).transpose()?;
    // One more than the page: it says whether there is another page.
    let mut found = invitations::list(engine, operator, after, LIST_MAX + 1).await?;
    let has_more = found.len() > LIST_MAX;
    found.truncate(LIST_MAX);
    let next = found.last().filter(|_| has_more).map(|found| found.id.to_string());
    Ok(json!({"items": found.iter().map(described).collect::<Vec<_>>(), "next_cursor": next}))
}

/// Withdraws the invitation that `named` names by its id or its address.
pub(super) async fn withdraw(engine: &Engine, operator: &Admin, named: &str) -> Result<Value, FlowError> {
    let invitation = find(engine, operator, named).await?.ok_or_else(|| {
        let message = format!("there is no open invitation of {named}");
        Refusal::Field { pointer: "/invitation", code: "not_found", message }
    })?;
    invitations::withdraw(engine, operator, invitation.id).await?;
    Ok(described(&invitation))
}

async fn find(engine: &Engine, operator: &Admin, named: &str) -> Result<Option<InvitationV1>, FlowError> {
    let address = AccountName::parse(named).ok();
    let mut after = None;
    loop {
        let page = invitations::list(engine, operator, after, LIST_MAX).await?;
        let Some(last) = page.last() else { return Ok(None) };
        after = Some(last.id);
        let is_named = |invitation: &InvitationV1| {
            invitation.id.to_string() == named
                || address.as_ref().is_some_and(|address| *invitation.email == *address.as_str())
        };
        if let Some(found) = page.into_iter().find(is_named) {
            return Ok(Some(found));
        }
    }
}
