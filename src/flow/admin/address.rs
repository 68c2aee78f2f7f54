//! The change of an address by an administrator, for an owner who has lost the mailbox or mistyped it.
//!
//! **The attack:** an insider moves an account to a mailbox of their own and asks for a new password there, and the owner
//! learns nothing.
//!
//! **The rule:** the former address is told before anything changes, and has a quota of its own: without that mail there is
//! no change. Every session, device and mailed link of the account ends. The new address counts as not proved unless the
//! administrator says so; then it gets the link that proves it. An administrator vouches for the account from then on, so
//! nobody who signs up with the address takes it. A password that a stranger may have typed is removed.
//!
//! A change that the owner has made before can still be undone from the former address, which stays kept: the owner of
//! before may be the first one, and who asks the administrator a thief. Only an administrator who names that address ends
//! it, and then it is told.

use super::Admin;
use super::difference::{alter, difference};
use super::list::get;
use crate::audit::event::Event;
use crate::engine::{Engine, MayChange};
use crate::flow::log_out::end_others_and_mailed;
use crate::flow::post::Addressee;
use crate::flow::refusal::{FlowError, Refusal, parse_name, parse_new_name_for_admin};
use crate::registry::account::actor::FindHolder;
use crate::registry::account::{AccountV4, Change, FormerChange};
use crate::registry::lockout::actor::Clear;
use crate::registry::outbox::Kind;
use crate::registry::reset::actor::{EndAll, EndUndo};
use crate::registry::reset::{Cause, Purpose};
use crate::registry::sign_up::actor::EndSignUps;
use crate::value::account_name::AccountName;
use crate::value::id::AccountId;

/// Gives an account the address `email`, if that is another one than it has, and says whether its address counts as proved.
/// Without `verified` a new address does not, and an old one stays as it is.
///
/// Errors: [`Refusal::EmailTaken`] if another account has the address or can go back to it; [`Refusal::MailQuota`] if the
/// former address was told of too many changes within the hour.
pub(super) async fn set_address(
    engine: &Engine,
    admin: &Admin,
    id: AccountId,
    email: Option<&str>,
    verified: Option<bool>,
) -> Result<AccountV4, FlowError> {
    let may_change = engine.may_change_rights().await?;
    let email = email.map(|email| parse_new_name_for_admin(&engine.services.config, email)).transpose()?;
    let account = get(engine, admin, id).await?;
    match email.filter(|email| email.as_str() != &*account.email) {
        Some(email) => {
            let verified = verified.unwrap_or(false);
            move_to(engine, admin, may_change, account, &email, verified).await
        }
        None => match verified.filter(|verified| *verified != account.email_verified) {
            Some(verified) => mark(engine, admin, may_change, account, verified).await,
            None => Ok(account),
        },
    }
}

async fn move_to(
    engine: &Engine,
    admin: &Admin,
    may_change: MayChange,
    before: AccountV4,
    email: &AccountName,
    verified: bool,
) -> Result<AccountV4, FlowError> {
    let id = before.account_id();
    let key = email.key(&engine.services.keys.directory);
    let holder = engine.accounts.ask(FindHolder { name: key }).await?;
    if holder.is_some_and(|holder| holder.account.account_id() != id) {
        return Err(Refusal::EmailTaken.into());
    }
    // A crash after this leaves a mail about nothing, never a change without a mail.
    let to = Addressee::owner(&before).about(email.as_str());
    if !engine.warn(Cause::Operator, to, Purpose::EmailChange, Kind::EmailMended).await? {
        return Err(Refusal::MailQuota.into());
    }
    // Back at its former address, there is nothing left to undo.
    let is_back = before.former.as_ref().is_some_and(|former| former.name_key == Some(key.0));
    let change = Change {
        email: Some((email.as_str().into(), key)),
        if_epoch: Some(before.auth_epoch),
        raise_epoch: true,
        former: is_back.then_some(FormerChange::Forget),
        spares_last_admin: admin.spares_last_admin(),
        ..vouched(&before, verified)
    };
    let altered = alter(engine, id, change).await?;
    if is_back {
        engine.mailed.ask(EndUndo { account: id }).await?;
    }
    engine.sign_ups.ask(EndSignUps { name: key }).await?;
    // Strangers may have locked the name while it had no account.
    engine.lockout.ask(Clear { name: key }).await?;
    end_others_and_mailed(engine, id, None).await?;
    admin.record_what(engine, may_change, Event::EmailChanged, &id, &difference(&altered)).await?;
    let account = altered.after;
    if !verified {
        let to = Addressee::owner(&account);
        engine.mail_token(Cause::Operator, to, Purpose::Verify, Kind::Verify).await?;
    }
    Ok(account)
}

async fn mark(
    engine: &Engine,
    admin: &Admin,
    may_change: MayChange,
    before: AccountV4,
    verified: bool,
) -> Result<AccountV4, FlowError> {
    let id = before.account_id();
    let change = Change {
        if_epoch: Some(before.auth_epoch),
        spares_last_admin: admin.spares_last_admin(),
        ..vouched(&before, verified)
    };
    let altered = alter(engine, id, change).await?;
    if altered.after.auth_epoch != before.auth_epoch {
        end_others_and_mailed(engine, id, None).await?;
    } else if !verified {
        // A link that has proved the address before must not prove it again.
        engine.mailed.ask(EndAll { account: id }).await?;
    }
    admin.record_what(engine, may_change, Event::AdminChanged, &id, &difference(&altered)).await?;
    Ok(altered.after)
}

/// Returns the former address of an account, which an administrator has typed as `typed` to end that its change can be undone.
/// Only its key is stored, so it must be typed to be told.
///
/// Errors: the change of the account cannot be undone, or not from this address.
pub(super) fn read_former(
    engine: &Engine,
    account: &AccountV4,
    typed: &str,
) -> Result<AccountName, FlowError> {
    let now = engine.clock.now();
    let name = parse_name(typed).ok();
    let former = account.former.as_ref().filter(|former| now < former.end());
    let is_former = |name: &AccountName| {
        let key = name.key(&engine.services.keys.directory);
        former.is_some_and(|former| former.name_key == Some(key.0))
    };
    Ok(name.filter(is_former).ok_or_else(|| Refusal::Field {
        pointer: "/end_undo",
        code: "not_the_former_address",
        message: String::from("no change of address of this account can be undone from there"),
    })?)
}

/// Ends that the change of address of an account can be undone from `former`, and tells that address.
///
/// Errors: [`Refusal::MailQuota`] if it was told of too many within the hour; nothing has changed then.
pub(super) async fn end_undo(
    engine: &Engine,
    admin: &Admin,
    may_change: MayChange,
    id: AccountId,
    former: &AccountName,
) -> Result<AccountV4, FlowError> {
    let account = get(engine, admin, id).await?;
    let to = Addressee::owner_at(&account, former.as_str()).about(&account.email);
    if !engine.warn(Cause::Operator, to, Purpose::EmailUndo, Kind::UndoEnded).await? {
        return Err(Refusal::MailQuota.into());
    }
    let change = Change { former: Some(FormerChange::Forget), ..Change::default() };
    let altered = alter(engine, id, change).await?;
    engine.mailed.ask(EndUndo { account: id }).await?;
    let what = "its change of address can no longer be undone";
    admin.record_what(engine, may_change, Event::AdminChanged, &id, what).await?;
    Ok(altered.after)
}

/// Returns the change by which an administrator vouches for the address of `account`. A password that a stranger may have
/// typed must not become usable by it.
fn vouched(account: &AccountV4, verified: bool) -> Change {
    Change {
        verified,
        unproved: !verified,
        vouched: true,
        clear_phc: account.has_doubtful_password(),
        ..Change::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::start::on_an_engine;
    use crate::registry::account::{Origin, SignUp, SignedUp};
    use crate::registry::outbox::actor::{LastTo, Waiting};

    /// Makes an account of a mere sign-up, as earlier versions did: a stranger may have typed its password.
    async fn of_a_mere_sign_up(engine: &Engine, email: &str) -> AccountV4 {
        let name = parse_name(email).unwrap();
        let name_key = name.key(&engine.services.keys.directory);
        let sign_up = SignUp {
            id: AccountId::mint(name_key.slot(), engine.services.random.bytes().unwrap()),
            name_key,
            email: name.as_str().into(),
            name: None,
            phc: Some("the hash of a stranger's password".into()),
            roles: Vec::new(),
            verified: false,
            origin: Origin::Nobody,
            extra: None,
        };
        let SignedUp::Created(account) = engine.accounts.ask(sign_up).await.unwrap() else { panic!("taken") };
        assert!(account.has_doubtful_password());
        account
    }

    #[test]
    fn a_password_that_a_stranger_may_have_typed_does_not_become_usable() {
        on_an_engine(async |engine| {
            for (number, email, verified) in
                [(0, None, true), (1, Some("one@test.org"), true), (2, Some("two@test.org"), false)]
            {
                let before = of_a_mere_sign_up(engine, &format!("ada{number}@test.org")).await;
                let (admin, id) = (Admin::operator(), before.account_id());
                let after = set_address(engine, &admin, id, email, Some(verified)).await.unwrap();
                assert_eq!(after.phc, None, "{number}");
                assert_eq!(after.email_verified, verified, "{number}");
                assert!(after.auth_epoch > before.auth_epoch, "{number}: its sessions live on");
                assert!(after.holds_its_address(), "{number}: a sign-up would take the address");
            }
        });
    }

    #[test]
    fn nobody_is_told_of_a_change_that_is_refused() {
        on_an_engine(async |engine| {
            let account = of_a_mere_sign_up(engine, "ada@test.org").await;
            of_a_mere_sign_up(engine, "bob@test.org").await;
            let (admin, id) = (Admin::operator(), account.account_id());
            let refused = set_address(engine, &admin, id, Some("bob@test.org"), Some(true)).await;
            assert!(matches!(refused, Err(FlowError::Refused(Refusal::EmailTaken))), "{refused:?}");
            assert_eq!(engine.outbox.ask(Waiting).await.unwrap(), 0);
            set_address(engine, &admin, id, Some("eve@test.org"), Some(true)).await.unwrap();
            let told = engine.outbox.ask(LastTo { address: "ada@test.org".into() }).await.unwrap().unwrap();
            assert_eq!(told.kind, Kind::EmailMended);
        });
    }
}
