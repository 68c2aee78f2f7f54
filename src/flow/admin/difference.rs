//! What an administrator's change made of an account, for the log of security events.
//!
//! **The attack:** an insider makes a friend an administrator for an hour. Who reads the log afterwards finds that somebody
//! changed an account.
//!
//! **The rule:** the line of a change names the fields that differ, and the new value of those that are words of the server
//! or names of roles. It never holds the text of a name or of anything else that the account carries, and addresses are masked. Account and difference come from one decision of the
//! registry, so two changes at once do not describe each other.

use crate::engine::Engine;
use crate::flow::refusal::{FlowError, Refusal};
use crate::registry::account::actor::{Administer, Alter};
use crate::registry::account::{self, ADMIN, AccountV4, Altered, Change, Status, is_admin};
use crate::value::account_name::masked;
use crate::value::id::AccountId;

/// Roles that are named at most of those that were given, and of those that were taken.
const ROLES_NAMED_MAX: usize = 8;

/// Changes an account.
pub(super) async fn alter(engine: &Engine, id: AccountId, change: Change) -> Result<Altered, FlowError> {
    let altered = engine.accounts.ask(Administer(Alter { id, change })).await?;
    Ok(altered.map_err(|refusal| match refusal {
        account::Refusal::Taken => Refusal::EmailTaken,
        other => Refusal::from(other),
    })?)
}

/// Says whether the account became an administrator who may act.
pub(super) fn made_admin(altered: &Altered) -> bool {
    !is_admin(&altered.before) && is_admin(&altered.after)
}

/// Names what differs, as `roles +admin -staff, status disabled`; `nothing` if nothing does.
pub(super) fn difference(altered: &Altered) -> String {
    let Altered { before, after } = altered;
    let mut parts = Vec::new();
    let roles = [given('+', &after.roles, &before.roles), given('-', &before.roles, &after.roles)].concat();
    if !roles.is_empty() {
        parts.push(format!("roles {}", roles.join(" ")));
    }
    if before.status != after.status {
        let status = if after.status == Status::Active { "active" } else { "disabled" };
        parts.push(format!("status {status}"));
    }
    if before.name != after.name {
        parts.push(String::from(if after.name.is_none() { "name removed" } else { "name" }));
    }
    for (name, before, after) in carried(before, after) {
        if before != after {
            let removed = if after.is_none() { " removed" } else { "" };
            parts.push(format!("{name}{removed}"));
        }
    }
    if before.email != after.email {
        parts.push(format!("email {} to {}", masked(&before.email), masked(&after.email)));
    }
    if before.email_verified != after.email_verified {
        parts.push(format!("email_verified {}", after.email_verified));
    }
    if before.phc.is_some() && after.phc.is_none() {
        parts.push(String::from("password removed"));
    }
    if before.phc.is_none() && after.phc.is_some() {
        parts.push(String::from("password of another system"));
    }
    if parts.is_empty() { String::from("nothing") } else { parts.join(", ") }
}

/// Names the roles of a new account, and the other fields that it was given.
pub(super) fn first_fields(account: &AccountV4) -> String {
    let name = account.name.as_deref().map(|_| "name");
    let others = carried(account, account).into_iter().filter_map(|(name, _, given)| given.map(|_| name));
    let fields = std::iter::once(first_roles(&account.roles));
    fields.chain(name.into_iter().chain(others).map(str::to_owned)).collect::<Vec<_>>().join(", ")
}

fn first_roles(roles: &[Box<str>]) -> String {
    let roles = given('+', roles, &[]);
    if roles.is_empty() { String::from("no roles") } else { format!("roles {}", roles.join(" ")) }
}

/// Returns each thing that an account carries, by name, before and after a change.
fn carried<'a>(
    before: &'a AccountV4,
    after: &'a AccountV4,
) -> [(&'static str, Option<&'a str>, Option<&'a str>); 4] {
    [
        ("locale", before.locale(), after.locale()),
        ("user_metadata", before.user_metadata(), after.user_metadata()),
        ("app_metadata", before.app_metadata(), after.app_metadata()),
        ("external_id", before.external_id(), after.external_id()),
    ]
}

/// Names the roles in `these` that are not in `those`, the server's most powerful one first.
fn given(sign: char, these: &[Box<str>], those: &[Box<str>]) -> Vec<String> {
    let mut roles: Vec<&str> =
        these.iter().filter(|role| !those.contains(role)).map(|role| &**role).collect();
    roles.sort_by_key(|role| *role != ADMIN);
    let more = roles.len().saturating_sub(ROLES_NAMED_MAX);
    roles.truncate(ROLES_NAMED_MAX);
    let mut named: Vec<String> = roles.iter().map(|role| format!("{sign}{role}")).collect();
    if more > 0 {
        named.push(format!("{sign}({more} more)"));
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    #[test]
    fn roles_are_named_the_administrators_first_and_a_few_of_many() {
        let (old, new) = (roles(&["staff", "x"]), roles(&["a", "admin", "staff"]));
        assert_eq!(given('+', &new, &old), ["+admin", "+a"]);
        assert_eq!(given('-', &old, &new), ["-x"]);
        let many: Vec<String> = (0..32).map(|n| format!("{n:064}")).collect();
        let many = roles(&many.iter().map(String::as_str).chain(["admin"]).collect::<Vec<_>>());
        let text = first_roles(&many);
        assert!(text.starts_with("roles +admin ") && text.ends_with("+(25 more)"), "{text}");
        assert!(text.len() < 600, "{}", text.len());
        assert_eq!(first_roles(&[]), "no roles");
    }
}
