//! The change of an e-mail address: asked for with the password, confirmed by a link to the new address, undone by a
//! link to the old one.
//!
//! **The attack:** a thief who holds a session for a moment changes the address, then sets a new password by mail. Or
//! an attacker signs up with an address that is not theirs, to keep its owner from using it.
//!
//! **The rule:** the password is asked again. The link goes to the new address. The old address gets a mail when it is
//! used, and can undo the change for three days; that also ends all sessions and removes the password. As long as the
//! change can be undone there is no further one, so that the first owner's link is never replaced. An account that has
//! not proved its address gives it up to the account that proves it.

use super::admission::Outcome;
use super::authenticate::Identity;
use super::check::confirm_password;
use super::client::Client;
use super::log_out::end_others_and_mailed;
use super::mailed;
use super::post::Addressee;
use super::refusal::{FlowError, Refusal, parse_name, parse_new_name};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::registry::account::actor::{Alter, ById, Find, ReleaseUnprovenAddress};
use crate::registry::account::{AccountV2, Change};
use crate::registry::lockout::actor::Clear;
use crate::registry::outbox::Kind;
use crate::registry::reset::actor::{EndAll, Live, Peek};
use crate::registry::reset::{Purpose, Redeem};
use crate::registry::throttle::class::Class;
use crate::value::account_name::{AccountName, NameKey};
use crate::value::id::AccountId;

/// Mails a link that changes the address to `email`. A free address and a taken one get the same answer and work.
pub async fn ask(
    engine: &Engine,
    client: &Client,
    identity: &Identity,
    password: &str,
    email: &str,
) -> Outcome<()> {
    engine
        .admitted(Class::Check, client, async |_| {
            let new = parse_new_name(&engine.services.config, email)?;
            let account = confirm_password(engine, client, identity, password).await?;
            let id = account.account_id();
            let undo = Live { account: id, purpose: Purpose::EmailUndo, global_epoch: engine.global_epoch };
            if engine.mailed.ask(undo).await? {
                return Err(Refusal::EmailChangedLately.into());
            }
            let taken = engine.accounts.ask(Find { name: new.key(&engine.services.keys.directory) }).await?;
            engine.record(client.note(Event::EmailChangeAsked).for_account(Some(&account)));
            // An account that has not proved the address does not hold it.
            match taken.filter(AccountV2::holds_its_address) {
                Some(holder) => engine.mail_holder(&holder).await,
                None => {
                    engine
                        .mail_bound_token(&account, Purpose::EmailChange, Kind::EmailChange, new.as_str())
                        .await?;
                    Ok(())
                }
            }
        })
        .await
}

/// Changes the address with the link that was mailed to the new one.
pub async fn confirm(engine: &Engine, client: &Client, token: &str, email: &str) -> Outcome<()> {
    engine
        .admitted(Class::Verify, client, async |_| {
            let new = parse_name(email)?;
            let redeem = bound(engine, token, Purpose::EmailChange, &new)?;
            let token = engine.mailed.ask(redeem).await?.map_err(|_| Refusal::InvalidMailedToken)?;
            let before = mailed::account_of(engine, &token).await?;
            let (id, key) = (before.account_id(), new.key(&engine.services.keys.directory));
            let holder = engine.accounts.ask(Find { name: key }).await?;
            if holder.is_some_and(|holder| holder.holds_its_address()) {
                return Err(Refusal::InvalidMailedToken.into());
            }
            // The link that undoes the change is mailed first. A crash after that leaves a link that undoes nothing,
            // never a change without a link.
            if !engine.mail_bound_token(&before, Purpose::EmailUndo, Kind::EmailUndo, &before.email).await? {
                return Err(Refusal::EmailChangedLately.into());
            }
            make_way(engine, client, key, id).await?;
            let change = Change {
                email: Some((new.as_str().into(), key)),
                if_epoch: Some(token.auth_epoch),
                verified: true,
                ..Change::default()
            };
            let changed = engine.accounts.ask(Alter { id, change }).await?;
            let account = changed.map_err(|_| Refusal::InvalidMailedToken)?;
            engine.mailed.ask(EndAll { account: id }).await?;
            engine.record_durably(client.note(Event::EmailChanged).for_account(Some(&account))).await;
            Ok(())
        })
        .await
}

/// Undoes a change with the link that was mailed to the old address. All sessions end, and the password is removed: an
/// attacker who changed the address may have changed it too. A link to set a new one is mailed.
pub async fn undo(engine: &Engine, client: &Client, token: &str, email: &str) -> Outcome<()> {
    engine
        .admitted(Class::Reset, client, async |_| {
            let old = parse_name(email)?;
            let redeem = bound(engine, token, Purpose::EmailUndo, &old)?;
            let seen = engine.mailed.ask(Peek { redeem }).await?.map_err(|_| Refusal::InvalidMailedToken)?;
            // The account's epoch may have changed since: the link still belongs to its first owner. After a restore it
            // is dead.
            if seen.global_epoch != engine.global_epoch {
                return Err(Refusal::InvalidMailedToken.into());
            }
            let id = AccountId::from_bytes(seen.account).ok_or(Refusal::InvalidMailedToken)?;
            engine.accounts.ask(ById { id }).await?.ok_or(Refusal::InvalidMailedToken)?;
            let key = old.key(&engine.services.keys.directory);
            // Another account may have signed up with the address meanwhile.
            make_way(engine, client, key, id).await?;
            engine.mailed.ask(redeem).await?.map_err(|_| Refusal::InvalidMailedToken)?;
            let change = Change {
                email: Some((old.as_str().into(), key)),
                clear_phc: true,
                verified: true,
                ..Change::default()
            };
            let changed = engine.accounts.ask(Alter { id, change }).await?;
            let account = changed.map_err(|_| Refusal::InvalidMailedToken)?;
            end_others_and_mailed(engine, id, None).await?;
            engine.lockout.ask(Clear { name: NameKey(account.name_key) }).await?;
            engine.record_durably(client.note(Event::EmailChangeUndone).for_account(Some(&account))).await;
            engine.mail_token(Addressee::owner(&account), Purpose::Reset, Kind::Reset).await
        })
        .await
}

/// Deletes an account that signed up with the address which `owner` proves now, and all that belongs to it.
async fn make_way(
    engine: &Engine,
    client: &Client,
    name: NameKey,
    owner: AccountId,
) -> Result<(), FlowError> {
    if let Some(gone) = engine.accounts.ask(ReleaseUnprovenAddress { name, owner }).await? {
        end_others_and_mailed(engine, gone.account_id(), None).await?;
        let note = client
            .note(Event::AccountDeleted)
            .for_account(Some(&gone))
            .with_reason("address proved by another");
        engine.record_durably(note).await;
    }
    Ok(())
}

/// Reads a token that is good together with one address alone.
fn bound(engine: &Engine, token: &str, purpose: Purpose, address: &AccountName) -> Result<Redeem, Refusal> {
    let redeem = mailed::read(engine, token, purpose)?;
    Ok(Redeem { digest: redeem.digest.bound_to(address.as_str()), ..redeem })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Reader};
    use crate::engine::start::start_first;
    use crate::flow::admin::{self, Admin, New};
    use crate::registry::outbox::actor::Due;
    use crate::registry::outbox::open_token;
    use crate::system::clock::{Clock, Timestamp};
    use crate::system::fail_stop::FailStop;

    /// A crash between the mail and the change leaves a link to the address that the account still has.
    #[test]
    fn a_link_that_undoes_nothing_deletes_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = Reader::new();
        let data_dir = dir.path().to_string_lossy();
        for (key, value) in [
            ("data_dir", &*data_dir),
            ("password.memory_kib", "64"),
            ("password.passes", "1"),
            ("password.threads", "1"),
            ("throttle.cells", "1000"),
            ("mail.console", "false"),
        ] {
            reader.plain(key, value, "test");
        }
        let config = Config::from_reader(reader).unwrap();
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let fail_stop = FailStop::new(|why| panic!("{why}"));
        actix::System::new().block_on(async {
            let (engine, running, services) = start_first(config, clock, true, &fail_stop).unwrap();
            let new = New { email: "ada@test.org", ..New::default() };
            let account = admin::create(&engine, &Admin::operator(), new).await.unwrap();
            let (id, address) = (account.account_id(), &account.email);
            engine.mail_bound_token(&account, Purpose::EmailUndo, Kind::EmailUndo, address).await.unwrap();
            let mail = engine.outbox.ask(Due { limit: 1 }).await.unwrap().remove(0);
            let token = open_token(&engine.services.keys.outbox, mail.id, &mail.token.unwrap()).unwrap();
            let client = Client::new(std::net::Ipv4Addr::LOCALHOST.into(), "test");
            undo(&engine, &client, &token, address).await.result.unwrap();
            assert!(engine.accounts.ask(ById { id }).await.unwrap().is_some());
            running.stop();
            services.stop();
        });
    }
}
