//! Invitations on the command line.

use serde_json::{Value, json};

use crate::engine::Engine;
use crate::flow::admin::invitations::{self, described};
use crate::flow::admin::{Admin, cut_to_page};
use crate::flow::refusal::{FlowError, Refusal};
use crate::registry::sign_up::invitation::InvitationV1;
use crate::value::account_name::AccountName;
use crate::value::id::AccountId;

/// How many invitations are compared at a time with the one that is looked for.
const PAGE: usize = 1000;

/// Lists up to `limit` open invitations after `after`.
pub(super) async fn list(
    engine: &Engine,
    operator: &Admin,
    after: Option<AccountId>,
    limit: usize,
) -> Result<Value, FlowError> {
    // One more than the page: it says whether there is another page.
    let mut found = invitations::list(engine, operator, after, limit + 1).await?;
    let next = cut_to_page(&mut found, limit, |invitation| invitation.id);
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
        let page = invitations::list(engine, operator, after, PAGE).await?;
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
