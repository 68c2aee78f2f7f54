//! A new password: with a mailed token, or with the old password. Neither logs in.

use super::admission::Outcome;
use super::authenticate::Identity;
use super::check::confirm_password;
use super::client::Client;
use super::log_out::end_others_and_mailed;
use super::mailed;
use super::post::Addressee;
use super::refusal::{Refusal, parse_name};
use super::sign_up::new_password;
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::password::{Advice, Lane, Password, advise};
use crate::registry::account::Change;
use crate::registry::account::actor::{Alter, Find};
use crate::registry::lockout::actor::Clear;
use crate::registry::outbox::Kind;
use crate::registry::reset::Purpose;
use crate::registry::reset::actor::Peek;
use crate::registry::throttle::class::Class;
use crate::value::account_name::NameKey;

/// Mails a link with which a new password can be set. Any address gets the same answer, steps and commits.
pub async fn forgot(engine: &Engine, client: &Client, email: &str) -> Outcome<()> {
    engine
        .admitted(Class::Forgot, client, async |_| {
            let name = parse_name(email)?;
            let key = name.key(&engine.services.keys.directory);
            let account = engine.accounts.ask(Find { name: key }).await?;
            engine.record(client.note(Event::ResetRequested).for_account(account.as_ref()));
            let network = engine.mail_quota_of(client);
            let to = Addressee::of(account.as_ref(), &name, key);
            engine.mail_token_asked_by(network, to, Purpose::Reset, Kind::Reset).await
        })
        .await
}

/// Sets a new password with a mailed token. All sessions end, the lockout is lifted, the owner gets a mail.
///
/// Returns a device cookie: the client is not logged in, but strangers can no longer lock it out.
pub async fn reset(engine: &Engine, client: &Client, token: &str, password: &str) -> Outcome<String> {
    engine
        .admitted(Class::Reset, client, async |_| {
            let redeem = mailed::read(engine, token, Purpose::Reset)?;
            // A password that is too weak must not cost the token.
            let seen = engine.mailed.ask(Peek { redeem }).await?.map_err(|_| Refusal::InvalidMailedToken)?;
            let account = mailed::account_of(engine, &seen).await?;
            let password = new_password(engine, password, &account.email, "/new_password")?;
            let phc = engine.services.pool.hash(client.place(Lane::Known), password).await?;
            // Spend first, grant second: a crash between the two costs one more mail.
            let token = engine.mailed.ask(redeem).await?.map_err(|_| Refusal::InvalidMailedToken)?;
            let id = account.account_id();
            let change = Change {
                phc: Some(phc.into()),
                if_epoch: Some(token.auth_epoch),
                // The holder of the token reads mail to this address.
                verified: true,
                ..Change::default()
            };
            let account =
                engine.accounts.ask(Alter { id, change }).await?.map_err(|_| Refusal::InvalidMailedToken)?;
            end_others_and_mailed(engine, id, None).await?;
            engine.lockout.ask(Clear { name: NameKey(account.name_key) }).await?;
            engine.record_durably(client.note(Event::PasswordReset).for_account(Some(&account))).await;
            engine.post(Addressee::owner(&account), Kind::ResetDone).await?;
            engine.device_cookie(&parse_name(&account.email)?)
        })
        .await
}

/// Sets a new password with the old one. All other sessions end; this one moves to the new epoch.
pub async fn change(
    engine: &Engine,
    client: &Client,
    identity: &Identity,
    current: &str,
    new: &str,
) -> Outcome<()> {
    engine
        .admitted(Class::Check, client, async |_| {
            let account = confirm_password(engine, client, identity, current).await?;
            let id = account.account_id();
            let password = new_password(engine, new, &account.email, "/new_password")?;
            let phc = engine.services.pool.hash(client.place(Lane::Known), password).await?;
            let change =
                Change { phc: Some(phc.into()), if_epoch: Some(account.auth_epoch), ..Change::default() };
            let account =
                engine.accounts.ask(Alter { id, change }).await?.map_err(|_| Refusal::SessionExpired)?;
            // This session is carried over before the others end. A crash in between leaves nothing open that should
            // not be: the others are dead by their epoch.
            super::account::carry_over(engine, identity, account.auth_epoch).await?;
            end_others_and_mailed(engine, id, Some(identity.sid())).await?;
            engine.record_durably(client.note(Event::PasswordChanged).for_account(Some(&account))).await;
            engine.post(Addressee::owner(&account), Kind::PasswordChanged).await
        })
        .await
}

/// Returns advice on a password, for a form to show while it is typed. Nothing of it is kept.
pub async fn check(engine: &Engine, client: &Client, password: &str, email: &str) -> Outcome<Advice> {
    engine
        .admitted(Class::Check, client, async |_| {
            let password = Password::parse(password).map_err(|error| Refusal::Field {
                pointer: "/password",
                code: "invalid_length",
                message: error.to_string(),
            })?;
            Ok(advise(&password, email, &engine.services.config.service_name, &engine.services.known_bad))
        })
        .await
}
