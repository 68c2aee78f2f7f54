//! A new password: by a mailed token, or by the old one. Never a log-in.

use super::admission::Outcome;
use super::authenticate::Identity;
use super::check::{Known, check_password};
use super::client::Client;
use super::log_out::end_others_and_mailed;
use super::mailed;
use super::post::Addressee;
use super::refusal::{Refusal, parse_name};
use super::sign_up::new_password;
use crate::audit::event::Event;
use crate::engine::{Engine, Fault};
use crate::password::{Advice, Lane, Password, advise};
use crate::registry::account::Change;
use crate::registry::account::actor::{Alter, Find};
use crate::registry::lockout::actor::Clear;
use crate::registry::outbox::Kind;
use crate::registry::reset::Purpose;
use crate::registry::reset::actor::Peek;
use crate::registry::throttle::class::Class;
use crate::value::account_name::NameKey;
use crate::value::network::Network;

/// Mails a link to set a new password: the same answer, steps and commits for any address.
pub async fn forgot(engine: &Engine, client: &Client, email: &str) -> Outcome<()> {
    engine
        .admitted(Class::Forgot, client, async |_| {
            let name = parse_name(email)?;
            let key = name.key(&engine.services.keys.directory);
            let account = engine.accounts.ask(Find { name: key }).await?;
            engine.record(client.note(Event::ResetRequested).for_account(account.as_ref()));
            // Networks that are not throttled have no quota either: a gateway of ours asks for many.
            let exempt = engine
                .services
                .config
                .throttle
                .exempt
                .iter()
                .any(|net| net.contains(&client.address.to_canonical()));
            let network = (!exempt).then(|| Network::of(client.address));
            let to = Addressee::of(account.as_ref(), &name, key);
            engine.mail_token_asked_by(network, to, Purpose::Reset, Kind::Reset).await
        })
        .await
}

/// Sets a new password with a mailed token. Everything that was open ends, the lockout is lifted, the owner is told.
/// Says the device cookie of whoever did it: it is no log-in, but nobody can lock them out.
pub async fn reset(engine: &Engine, client: &Client, token: &str, password: &str) -> Outcome<String> {
    engine
        .admitted(Class::Reset, client, async |_| {
            let redeem = mailed::read(engine, token, Purpose::Reset)?;
            // A password that is too weak must not cost the token.
            let seen = engine.mailed.ask(Peek { redeem }).await?.map_err(|_| Refusal::InvalidMailedToken)?;
            let account = mailed::account_of(engine, &seen).await?;
            let password = new_password(engine, password, &account.email, "/new_password")?;
            let phc =
                engine.services.pool.hash(client.place(Lane::Known), password).await.map_err(Fault::from)?;
            // Spend first, grant second: a crash between the two costs one more mail.
            let token = engine.mailed.ask(redeem).await?.map_err(|_| Refusal::InvalidMailedToken)?;
            let id = account.account_id();
            let set = Change {
                phc: Some(phc.into()),
                if_epoch: Some(token.auth_epoch),
                // Whoever has the token reads this address.
                verified: true,
                ..Change::default()
            };
            let account = engine
                .accounts
                .ask(Alter { id, change: set })
                .await?
                .map_err(|_| Refusal::InvalidMailedToken)?;
            end_others_and_mailed(engine, id, None).await?;
            engine.lockout.ask(Clear { name: NameKey(account.name_key) }).await?;
            engine.record_durably(client.note(Event::PasswordReset).for_account(Some(&account))).await;
            engine.post(Addressee::owner(&account), Kind::ResetDone).await?;
            engine.device_cookie(&parse_name(&account.email)?)
        })
        .await
}

/// Sets a new password with the old one. The other sessions end; this one goes on under the new epoch.
pub async fn change(
    engine: &Engine,
    client: &Client,
    identity: &Identity,
    current: &str,
    new: &str,
) -> Outcome<()> {
    engine
        .admitted(Class::Check, client, async |_| {
            let name = parse_name(&identity.account.email)?;
            let account =
                check_password(engine, client, name, current, Known::Session(identity.sid())).await?;
            let id = account.account_id();
            if id != identity.account.account_id() {
                return Err(Refusal::Unauthenticated.into());
            }
            let password = new_password(engine, new, &account.email, "/new_password")?;
            let phc =
                engine.services.pool.hash(client.place(Lane::Known), password).await.map_err(Fault::from)?;
            let set =
                Change { phc: Some(phc.into()), if_epoch: Some(account.auth_epoch), ..Change::default() };
            let account =
                engine.accounts.ask(Alter { id, change: set }).await?.map_err(|_| Refusal::SessionExpired)?;
            // Carried over before the others end: a crash between leaves nothing open that should not be.
            super::account::carry_over(engine, identity, account.auth_epoch).await?;
            end_others_and_mailed(engine, id, Some(identity.sid())).await?;
            engine.record_durably(client.note(Event::PasswordChanged).for_account(Some(&account))).await;
            engine.post(Addressee::owner(&account), Kind::PasswordChanged).await
        })
        .await
}

/// Says what a sign-up form can show of a new password while it is typed. Nothing of it is kept.
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
