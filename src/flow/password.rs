//! A new password: with a mailed token, which does not log in, or with the old password, which renews the session.

use super::admission::Outcome;
use super::authenticate::Identity;
use super::check::confirm_password;
use super::check::link_turn::LinkTurn;
use super::client::Client;
use super::devices;
use super::grant::{Issued, Opened, Proved};
use super::log_out::end_others_and_mailed;
use super::mailed;
use super::post::Addressee;
use super::refusal::{Refusal, invalid_email, parse_name};
use super::sign_up::{new_password, parse_password};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::password::{Advice, Lane};
use crate::registry::account::actor::{Alter, FindHolder};
use crate::registry::account::{Change, FormerChange};
use crate::registry::lockout::actor::Clear;
use crate::registry::outbox::Kind;
use crate::registry::reset::actor::{Peek, RememberUse};
use crate::registry::reset::{Cause, LinkUse, Purpose};
use crate::registry::throttle::class::Class;
use crate::value::account_name::{NAME_BYTES_MAX, NameError, NameKey};

/// Mails a link with which a new password can be set; or the one that undoes a change of address, to the former address of an
/// account. Any address gets the same answer, steps and commits.
pub async fn forgot(engine: &Engine, client: &Client, email: &str) -> Outcome<()> {
    engine
        .admitted(Class::Forgot, client, async |_| {
            let name = parse_name(email)?;
            let key = name.key(&engine.services.keys.directory);
            let holder = engine.accounts.ask(FindHolder { name: key }).await?;
            let account = holder.as_ref().map(|holder| &holder.account);
            engine.record(client.note(Event::ResetRequested).for_account(account));
            let cause = Cause::Stranger(engine.mailing_network(client));
            if let Some(former) = holder.as_ref().filter(|holder| holder.is_former) {
                // Its owner may be the first one, who wants the account back.
                let is_sent = engine.mail_undo_again(cause, &former.account, &name, key).await?;
                engine.note_withheld(client, account, is_sent);
                return Ok(());
            }
            let to = Addressee::of_active(account, &name, key);
            let mail = engine.mail_token(cause, to, Purpose::Reset, Kind::Reset).await?;
            engine.note_withheld(client, account, mail.is_some());
            Ok(())
        })
        .await
}

/// Sets a new password with a mailed token. All sessions end, the lockout is lifted, the owner gets a mail.
///
/// Returns a device cookie: the client is not logged in, but strangers can no longer lock it out. One that sends the same
/// again shortly after gets the same answer without it.
pub async fn reset(engine: &Engine, client: &Client, token: &str, password: &str) -> Outcome<Option<String>> {
    engine
        .admitted(Class::Reset, client, async |_| {
            let redeem = mailed::read(engine, token, Purpose::Reset)?;
            let _turn = LinkTurn::take(engine, redeem.id).await;
            // A password that is too weak must not cost the token.
            let Ok(seen) = engine.mailed.ask(Peek { redeem }).await? else {
                return mailed::repeat_with_password(engine, client, redeem, password).await.map(|()| None);
            };
            let account = mailed::account_of(engine, &seen).await?;
            let place = client.place(Lane::Known);
            let phc = new_password(engine, place, password, &account.email, "/new_password").await?;
            engine.check_room_for_act()?;
            // Spend first, grant second: a crash between the two costs one more mail.
            let token = engine.mailed.ask(redeem).await?.map_err(|_| Refusal::InvalidMailedToken)?;
            let id = account.account_id();
            let change = Change {
                phc: Some(phc),
                if_epoch: Some(token.auth_epoch),
                // The holder of the token reads mail to this address.
                verified: true,
                // Who reads the mail to the address before must know more than that from now on.
                former: Some(FormerChange::Settle),
                // A thief may have switched them off.
                mutes_new_device: Some(false),
                ..Change::default()
            };
            let account =
                engine.accounts.ask(Alter { id, change }).await?.map_err(|_| Refusal::InvalidMailedToken)?;
            end_others_and_mailed(engine, id, None).await?;
            engine.lockout.ask(Clear { name: NameKey(account.name_key) }).await?;
            engine.record_durably(client.note(Event::PasswordReset).for_account(Some(&account))).await;
            engine.mailed.ask(RememberUse { redeem, done: LinkUse::of(id) }).await?;
            engine.post(Addressee::owner(&account), Kind::ResetDone).await?;
            devices::give(engine, client, &account).await.map(Some)
        })
        .await
}

/// Sets a new password with the old one. Every session ends, and the client gets a new one of the same kind: a copy of
/// what it had before is worth nothing any more. It also gets a device cookie: every known device is a stranger now, and
/// the client has just proved to be the owner.
///
/// Errors: if a hook lets the account have no new session, the password is changed, and every session has ended.
pub async fn change(
    engine: &Engine,
    client: &Client,
    identity: &Identity,
    current: &str,
    new: &str,
) -> Outcome<Opened> {
    engine
        .admitted(Class::Check, client, async |_| {
            let account = confirm_password(engine, client, identity, current).await?;
            let id = account.account_id();
            let place = client.place(Lane::Known);
            let phc = new_password(engine, place, new, &account.email, "/new_password").await?;
            engine.check_room_for_act()?;
            let change = Change { phc: Some(phc), if_epoch: Some(account.auth_epoch), ..Change::default() };
            let account =
                engine.accounts.ask(Alter { id, change }).await?.map_err(|_| Refusal::SessionExpired)?;
            // The new one is opened before the others end. A crash in between leaves nothing open that should not be: the
            // others are dead by their epoch.
            let issued = engine.replace_credential(identity, &account, Proved::Now, client).await;
            let new = issued.as_ref().ok().map(Issued::sid);
            end_others_and_mailed(engine, id, new).await?;
            engine.record_durably(client.note(Event::PasswordChanged).for_account(Some(&account))).await;
            engine.post(Addressee::owner(&account), Kind::PasswordChanged).await?;
            // A hook may have refused the new one. The change is done all the same, with all that follows from it.
            let grant = engine.grant(&account, issued?)?;
            let device = Some(devices::give(engine, client, &account).await?);
            Ok(Opened { account, grant, device })
        })
        .await
}

/// Returns advice on a password, for a form to show while it is typed. Nothing of it is kept. `email` is what was typed so
/// far, so it need not be an address yet.
pub async fn check(engine: &Engine, client: &Client, password: &str, email: &str) -> Outcome<Advice> {
    engine
        .admitted(Class::Advice, client, async |_| {
            let email = email.trim();
            if email.len() > NAME_BYTES_MAX {
                return Err(invalid_email(NameError).into());
            }
            let password = parse_password(password, "/password")?;
            let policy = &engine.services.password_policy;
            Ok(engine.services.pool.advise(client.place(Lane::Quiet), policy, password, email).await?)
        })
        .await
}
