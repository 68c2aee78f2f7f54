//! Another address for an account: asked for with the password, proved by a link to the new one, undone by a link to the
//! old one.
//!
//! **The attack:** whoever holds a session for a moment changes the address, then sets a new password by mail. Or somebody
//! signs up with an address that is not theirs, to keep its owner from moving to it.
//!
//! **The rule:** the password is asked again. The link goes to the new address; the old one is told when it is used, and
//! can undo it for three days: that also ends everything that is open and the password with it. While it can be undone
//! there is no further change, so that the link of the first owner is never replaced. A sign-up that proved nothing gives
//! way to whoever proves the address.

use super::admission::Outcome;
use super::authenticate::Identity;
use super::check::{Known, check_password};
use super::client::Client;
use super::log_out::end_others_and_mailed;
use super::mailed;
use super::post::Addressee;
use super::refusal::{FlowError, Refusal, parse_name};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::registry::account::actor::{Alter, ById, Find, ReleaseUnprovenAddress};
use crate::registry::account::{AccountV1, Change};
use crate::registry::lockout::actor::Clear;
use crate::registry::outbox::Kind;
use crate::registry::reset::actor::{EndAll, Live, Peek};
use crate::registry::reset::{Purpose, Redeem};
use crate::registry::throttle::class::Class;
use crate::value::account_name::{AccountName, NameKey};
use crate::value::id::AccountId;

/// Asks for another address: the same answer and work whether it is free or somebody's.
pub async fn ask(
    engine: &Engine,
    client: &Client,
    identity: &Identity,
    password: &str,
    email: &str,
) -> Outcome<()> {
    engine
        .admitted(Class::Check, client, async |_| {
            let new = parse_name(email)?;
            let name = parse_name(&identity.account.email)?;
            let account =
                check_password(engine, client, name, password, Known::Session(identity.sid())).await?;
            let id = account.account_id();
            if id != identity.account.account_id() {
                return Err(Refusal::Unauthenticated.into());
            }
            let undo = Live { account: id, purpose: Purpose::EmailUndo, global_epoch: engine.global_epoch };
            if engine.mailed.ask(undo).await? {
                return Err(Refusal::EmailChangedLately.into());
            }
            let taken = engine.accounts.ask(Find { name: new.key(&engine.services.keys.directory) }).await?;
            engine.record(client.note(Event::EmailChangeAsked).for_account(Some(&account)));
            // Who signed up with it and proved nothing is in nobody's way.
            match taken.filter(AccountV1::holds_its_address) {
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

/// Changes the address by the link that was mailed to the new one.
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
            // The way back first: a crash behind it leaves a link that undoes nothing, never a change without one.
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

/// Undoes a change by the link that was mailed to the old address: everything that is open ends, and so does the
/// password, since whoever changed the address may have changed that as well. A link to set a new one follows.
pub async fn undo(engine: &Engine, client: &Client, token: &str, email: &str) -> Outcome<()> {
    engine
        .admitted(Class::Reset, client, async |_| {
            let old = parse_name(email)?;
            let redeem = bound(engine, token, Purpose::EmailUndo, &old)?;
            let seen = engine.mailed.ask(Peek { redeem }).await?.map_err(|_| Refusal::InvalidMailedToken)?;
            // Whatever became of the account's epoch meanwhile: this is its first owner. What was mailed before a restore is dead.
            if seen.global_epoch != engine.global_epoch {
                return Err(Refusal::InvalidMailedToken.into());
            }
            let id = AccountId::from_bytes(seen.account).ok_or(Refusal::InvalidMailedToken)?;
            engine.accounts.ask(ById { id }).await?.ok_or(Refusal::InvalidMailedToken)?;
            let key = old.key(&engine.services.keys.directory);
            // Somebody may have signed up with the address meanwhile.
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

/// Deletes whoever signed up with an address that `owner` proves now, and all that is theirs.
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

    /// A crash between the link and the change leaves a link to the address that the account still has.
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
