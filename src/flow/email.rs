//! The change of an e-mail address: asked for with the password, confirmed by the owner with a link to the new address,
//! undone by a link to the old one.
//!
//! **The attack:** a thief who holds a session for a moment changes the address, then sets a new password by mail. An
//! attacker asks for the address of a stranger, whose click moves the attacker's account there; the stranger uses it as
//! their own, and the attacker takes it back with the link that undoes the change. Or an attacker signs up with an
//! address that is not theirs, to keep its owner from using it.
//!
//! **The rule:** the password is asked again. The link goes to the new address, names the account, and moves it only
//! together with a session of that account or its password: to read a mailbox is not enough. All other sessions end. The
//! old address gets a mail when the link is used, and can undo the change for three days; that also ends all sessions and
//! removes the password. Once a password was set by a mail to the new address, undoing takes a former password too: any
//! that was in force at the change or within three days before it, since a thief may have changed it first. As long as the
//! change can be undone, the address cannot be changed again, so that the link of the first owner is never replaced, and
//! nobody else can take the old address. Wrong passwords beside a link count for that link alone, so that nobody can lock it
//! who does not have it. An account that has not proved its address gives it up to the account that proves it. A client
//! that is refused keeps its link.

use super::admission::Outcome;
use super::authenticate::{Credential, Identity};
use super::check::link_turn::LinkTurn;
use super::check::{confirm_beside_link, confirm_password};
use super::client::Client;
use super::devices;
use super::grant::{Issued, Opened, Proved};
use super::log_out::end_others_and_mailed;
use super::mailed;
use super::post::Addressee;
use super::refusal::{FlowError, Refusal, parse_name, parse_new_name};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::registry::account::actor::{Alter, ById, FindHolder, ReleaseUnprovenAddress};
use crate::registry::account::{self, AccountV4, Change, FormerChange, Holder, Status};
use crate::registry::lockout::actor::Clear;
use crate::registry::outbox::Kind;
use crate::registry::reset::actor::{Live, Peek, RememberUse};
use crate::registry::reset::state::UNDO_FOR;
use crate::registry::reset::{Cause, LinkUse, Purpose, Redeem};
use crate::registry::throttle::class::Class;
use crate::system::seeded_bug::{Bug, seeded};
use crate::token::opaque::{OpaqueToken, Secret};
use crate::value::account_name::{AccountName, NameKey};
use crate::value::id::{AccountId, MailedId};

/// A link that is good for one address only, as a client follows it.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// The token in the link.
    pub token: &'a str,
    /// The address in the link.
    pub email: &'a str,
}

/// Proof that an account is the client's, sent with a link.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// The credential of a session, and who holds it if it is accepted. One that the link has replaced is not.
    Session(Credential<'a>, Option<&'a Identity>),
    /// A password, as it was typed.
    Password(&'a str),
    /// Nothing.
    None,
}

/// The answer to a client that has confirmed a new address. Every device cookie of before is that of a stranger, so it gets a
/// new one: it has shown a session or the password, and the link.
pub enum Confirmed {
    /// The session that it showed was replaced, now or a short while ago by the same link.
    Renewed(Box<Opened>),
    /// It showed the password.
    Changed {
        /// The device cookie.
        device: String,
    },
    /// The link was used a short while ago, and the client has another proof, or a session of after that.
    Again,
}

/// Mails a link that changes the address to `email`. A free address and a taken one get the same answer and work, and are
/// counted alike for the asker.
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
            if new.as_str() == &*identity.account.email {
                return Err(Refusal::Field {
                    pointer: "/email",
                    code: "same_email",
                    message: String::from("this is the address of your account already"),
                }
                .into());
            }
            let account = confirm_password(engine, client, identity, password).await?;
            check_no_undo(engine, &account).await?;
            let name = new.key(&engine.services.keys.directory);
            let holder = engine.accounts.ask(FindHolder { name }).await?;
            engine.record(client.note(Event::EmailChangeAsked).for_account(Some(&account)));
            // An account that has not proved the address does not hold it.
            let holder = holder.filter(Holder::holds);
            let cause = Cause::Asker(engine.mailing_network(client));
            if let Some(holder) = holder.as_ref().filter(|_| seeded(Bug::HolderCharged)) {
                return engine.mail_holder(cause, holder, &new, name).await.map(|_| ());
            }
            let is_sent = engine.mail_new_address(cause, &account, &new, holder.as_ref()).await?;
            engine.note_withheld(client, Some(&account), is_sent);
            Ok(())
        })
        .await
}

/// Changes the address with the link that was mailed to the new one, once `proof` shows that the account is the client's.
///
/// Errors: if a hook lets the account have no new session, the address is changed, and every session has ended.
pub async fn confirm(
    engine: &Engine,
    client: &Client,
    link: Link<'_>,
    proof: Proof<'_>,
) -> Outcome<Confirmed> {
    engine
        .admitted(Class::Verify, client, async |_| {
            let new = parse_name(link.email)?;
            let opaque = mailed::read_opaque(engine, link.token)?;
            let redeem = bound(&opaque, Purpose::EmailChange, &new)?;
            let _turn = LinkTurn::take(engine, redeem.id).await;
            // A client that is refused must not use up the link, so all that speaks against the change comes first.
            let Ok(seen) = engine.mailed.ask(Peek { redeem }).await? else {
                return confirm_again(engine, client, &opaque.secret, redeem, proof).await;
            };
            let before = mailed::account_of(engine, &seen).await?;
            let session = prove(engine, client, redeem.id, &before, proof).await?;
            let id = before.account_id();
            let key = new.key(&engine.services.keys.directory);
            let holder = engine.accounts.ask(FindHolder { name: key }).await?;
            if holder.is_some_and(|holder| holder.holds()) {
                return Err(Refusal::EmailTaken.into());
            }
            check_no_undo(engine, &before).await?;
            engine.check_room_for_act()?;
            let token = engine.mailed.ask(redeem).await?.map_err(|_| Refusal::InvalidMailedToken)?;
            // The link that undoes the change is mailed first. A crash after that leaves a link that undoes nothing,
            // never a change without a link.
            let old = parse_name(&before.email)?;
            if !engine.mail_undo(&before, &old, &new).await? {
                return Err(Refusal::EmailChangedLately.into());
            }
            make_way(engine, client, key, id).await?;
            let undo_end_ms = (engine.clock.now() + UNDO_FOR).as_millis();
            let change = Change {
                email: Some((new.as_str().into(), key)),
                if_epoch: Some(token.auth_epoch),
                verified: true,
                raise_epoch: true,
                former: Some(FormerChange::Keep { undo_end_ms }),
                ..Change::default()
            };
            let changed = engine.accounts.ask(Alter { id, change }).await?;
            let account = changed.map_err(|_| Refusal::InvalidMailedToken)?;
            // The new session is opened before the others end. A crash in between leaves nothing open that should not be:
            // the others are dead by their epoch.
            let renewed = match session {
                Some((_, identity)) => {
                    // Neither the link nor the session is a proof: the new session is as old as the one before.
                    let proved = Proved::At(identity.proved(), identity.methods());
                    Some(engine.replace_credential(identity, &account, proved, client).await)
                }
                None => None,
            };
            // A hook may have refused the new one. The change is done all the same, with all that follows from it.
            let (renewed, not_renewed) = match renewed.transpose() {
                Ok(renewed) => (renewed, None),
                Err(error) => (None, Some(error)),
            };
            end_others_and_mailed(engine, id, renewed.as_ref().map(Issued::sid)).await?;
            // The cookie of before names the address of before.
            let nonce = engine.services.random.bytes()?;
            let renewal = session.zip(renewed.as_ref());
            let renewal =
                renewal.map(|(shown, issued)| engine.renewal(client, &opaque.secret, shown, issued, nonce));
            let done = LinkUse { account: id, renewal };
            engine.mailed.ask(RememberUse { redeem, done }).await?;
            engine.record_durably(client.note(Event::EmailChanged).for_account(Some(&account))).await;
            if let Some(error) = not_renewed {
                return Err(error);
            }
            let device = devices::give_as(engine, client, &account, nonce).await?;
            match renewed {
                Some(issued) => {
                    let grant = engine.grant(&account, issued)?;
                    Ok(Confirmed::Renewed(Box::new(Opened { account, grant, device: Some(device) })))
                }
                None => Ok(Confirmed::Changed { device }),
            }
        })
        .await
}

/// Refuses a change of address while an earlier one of the account can be undone. After a restore from a backup no link undoes
/// it until its first owner asks for one.
async fn check_no_undo(engine: &Engine, account: &AccountV4) -> Result<(), FlowError> {
    let now = engine.clock.now();
    let is_kept = account.former.as_ref().is_some_and(|former| now < former.end());
    let account = account.account_id();
    let undo = Live { account, purpose: Purpose::EmailUndo, global_epoch: engine.global_epoch };
    if engine.mailed.ask(undo).await? || is_kept { Err(Refusal::EmailChangedLately.into()) } else { Ok(()) }
}

/// Answers a client whose link was used before: a page has posted it twice, or an answer was lost.
///
/// One that shows the session which the link has replaced gets what it has been replaced with. Without that it would be logged
/// out by its own repetition.
async fn confirm_again(
    engine: &Engine,
    client: &Client,
    link: &Secret,
    redeem: Redeem,
    proof: Proof<'_>,
) -> Result<Confirmed, FlowError> {
    let done = match (mailed::used_lately(engine, redeem).await, proof) {
        // First of all, such a client is not logged in. After a refresh it hears the rest.
        (Err(FlowError::Refused(_)), Proof::Session(_, None)) => {
            return Err(Refusal::Unauthenticated.into());
        }
        (used, _) => used?,
    };
    let account = engine.accounts.ask(ById { id: done.account }).await?;
    let account = account.ok_or(Refusal::InvalidMailedToken)?;
    if let Proof::Session(credential, identity) = proof {
        // A request that was sent at the same moment was accepted while the session was alive.
        let is_replaced = identity.is_none_or(|identity| {
            let (auth_epoch, global_epoch) = identity.held.epochs();
            identity.account.account_id() == account.account_id()
                && engine.gate(&account, auth_epoch, global_epoch).is_err()
        });
        if is_replaced {
            let renewal = done.renewal.ok_or(Refusal::Unauthenticated)?;
            let opened = engine.grant_again(client, link, credential, &renewal).await?;
            return Ok(Confirmed::Renewed(Box::new(opened)));
        }
    }
    prove(engine, client, redeem.id, &account, proof).await?;
    Ok(Confirmed::Again)
}

/// Checks that `proof`, which came with the link `link`, is one for `account`. Returns the session, if it is one.
async fn prove<'a>(
    engine: &Engine,
    client: &Client,
    link: MailedId,
    account: &AccountV4,
    proof: Proof<'a>,
) -> Result<Option<(Credential<'a>, &'a Identity)>, FlowError> {
    match proof {
        Proof::Session(credential, Some(identity))
            if identity.account.account_id() == account.account_id() =>
        {
            Ok(Some((credential, identity)))
        }
        Proof::Password(password) => {
            let phcs = account.phc.clone().into_iter().collect();
            confirm_beside_link(engine, client, link, account, password, phcs).await?;
            Ok(None)
        }
        Proof::Session(_, None) => Err(Refusal::Unauthenticated.into()),
        Proof::Session(_, Some(_)) | Proof::None => Err(Refusal::ProofNeeded.into()),
    }
}

/// Undoes a change with the link that was mailed to the old address. All sessions end, and the password is removed: an
/// attacker who changed the address may have changed it too. A link to set a new one is mailed.
///
/// `password` is one that the account had at the change or within three days before it. It is needed once a password was
/// set by a mail to the new address: the reader of a mailbox that its owner has left must not get the account back.
///
/// Other links are spent before the change that they allow. This one is spent after it: if a crash came in between, the
/// owner could get no second link, and to undo a change twice does no harm.
pub async fn undo(engine: &Engine, client: &Client, link: Link<'_>, password: Option<&str>) -> Outcome<()> {
    engine
        .admitted(Class::Reset, client, async |_| {
            let old = parse_name(link.email)?;
            let redeem = bound(&mailed::read_opaque(engine, link.token)?, Purpose::EmailUndo, &old)?;
            let _turn = LinkTurn::take(engine, redeem.id).await;
            let Ok(seen) = engine.mailed.ask(Peek { redeem }).await? else {
                let id = mailed::used_lately(engine, redeem).await?.account;
                let account = engine.accounts.ask(ById { id }).await?.ok_or(Refusal::AccountDeleted)?;
                let id = account.account_id();
                let mailed = Live { account: id, purpose: Purpose::Reset, global_epoch: engine.global_epoch };
                if !engine.mailed.ask(mailed).await? {
                    // None was mailed, since the account was disabled then.
                    mail_new_password(engine, &account).await?;
                }
                return Ok(());
            };
            // The account's epoch may have changed since: the link still belongs to its first owner. After a restore it
            // is dead.
            if seen.global_epoch != engine.global_epoch {
                return Err(Refusal::InvalidMailedToken.into());
            }
            let id = AccountId::from_bytes(seen.account).ok_or(Refusal::InvalidMailedToken)?;
            // Its address was not kept. So this is where the first owner learns of a deletion.
            let account = engine.accounts.ask(ById { id }).await?.ok_or(Refusal::AccountDeleted)?;
            if let Some(former) = account.former.as_ref().filter(|former| former.is_settled) {
                let password = password.ok_or(Refusal::ProofNeeded)?;
                // Without a former password, nobody can prove to have known it.
                if former.phcs.is_empty() {
                    return Err(Refusal::InvalidMailedToken.into());
                }
                let phcs = former.phcs.clone();
                confirm_beside_link(engine, client, redeem.id, &account, password, phcs).await?;
            }
            let key = old.key(&engine.services.keys.directory);
            // The address is kept for this account, unless an earlier version has made the change.
            let holder = engine.accounts.ask(FindHolder { name: key }).await?;
            if holder
                .is_some_and(|Holder { account, .. }| account.account_id() != id && account.email_verified)
            {
                return Err(Refusal::EmailTaken.into());
            }
            engine.check_room_for_act()?;
            make_way(engine, client, key, id).await?;
            let change = Change {
                email: Some((old.as_str().into(), key)),
                clear_phc: true,
                verified: true,
                former: Some(FormerChange::Forget),
                ..Change::default()
            };
            let changed = engine.accounts.ask(Alter { id, change }).await?;
            let account = changed.map_err(|refusal| match refusal {
                account::Refusal::Taken => Refusal::EmailTaken,
                account::Refusal::Unknown => Refusal::AccountDeleted,
                _ => Refusal::InvalidMailedToken,
            })?;
            // Another request with the same link may have been faster. It has done the same.
            let _ = engine.mailed.ask(redeem).await?;
            end_others_and_mailed(engine, id, None).await?;
            engine.lockout.ask(Clear { name: NameKey(account.name_key) }).await?;
            engine.mailed.ask(RememberUse { redeem, done: LinkUse::of(id) }).await?;
            engine.record_durably(client.note(Event::EmailChangeUndone).for_account(Some(&account))).await;
            mail_new_password(engine, &account).await
        })
        .await
}

/// Mails the link that sets a new password after a change of address was undone, unless the account has one already. One
/// that is disabled gets none, since the link would be dead once it is enabled: its owner asks for it then.
async fn mail_new_password(engine: &Engine, account: &AccountV4) -> Result<(), FlowError> {
    if account.phc.is_none() && account.status == Status::Active {
        engine.mail_token(Cause::Owner, Addressee::owner(account), Purpose::Reset, Kind::Reset).await?;
    }
    Ok(())
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

/// Returns the redemption of a token that is good together with one address alone.
fn bound(token: &OpaqueToken, purpose: Purpose, address: &AccountName) -> Result<Redeem, Refusal> {
    let redeem = mailed::redeem(token, purpose)?;
    Ok(Redeem { digest: redeem.digest.bound_to(address.as_str()), ..redeem })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::start::on_an_engine;
    use crate::flow::admin::{self, Admin, New};
    use crate::registry::outbox::actor::Due;
    use crate::registry::outbox::open_token;

    /// Returns the link of the only mail that waits.
    async fn only_link(engine: &Engine) -> String {
        let mail = engine.outbox.ask(Due::default()).await.unwrap().remove(0);
        let sealed = mail.token.unwrap();
        let token = engine.services.keys.outbox.find_map(|key| open_token(key, mail.id, &sealed)).unwrap();
        token.to_string()
    }

    /// The change was made by an earlier version, which did not keep the former address for its account. A refusal says
    /// why, and the link is good once the reason is gone.
    #[test]
    fn an_undo_that_is_refused_for_the_holder_of_the_address_keeps_its_link() {
        on_an_engine(async |engine| {
            let new = |email| New { email, verified: true, ..New::default() };
            let operator = Admin::operator();
            let account = admin::create(engine, &operator, new("ada@test.org")).await.unwrap();
            let [old, next] = ["ada@test.org", "eve@test.org"].map(|email| parse_name(email).unwrap());
            engine.mail_undo(&account, &old, &next).await.unwrap();
            let token = only_link(engine).await;
            let id = account.account_id();
            let email = Some((next.as_str().into(), next.key(&engine.services.keys.directory)));
            let moved = Alter { id, change: Change { email, ..Change::default() } };
            engine.accounts.ask(moved).await.unwrap().unwrap();
            let holder = admin::create(engine, &operator, new("ada@test.org")).await.unwrap();
            let client = Client::new(std::net::Ipv4Addr::LOCALHOST.into(), "test");
            let link = Link { token: &token, email: "ada@test.org" };
            let refused = undo(engine, &client, link, None).await.result;
            assert!(matches!(refused, Err(FlowError::Refused(Refusal::EmailTaken))), "{refused:?}");
            admin::delete(engine, &operator, holder.account_id()).await.unwrap();
            undo(engine, &client, link, None).await.result.unwrap();
            let account = engine.accounts.ask(ById { id }).await.unwrap().unwrap();
            assert_eq!(&*account.email, "ada@test.org");
            // It is good once: the same again is answered alike for a while, and does nothing.
            undo(engine, &client, link, None).await.result.unwrap();
            let other = Link { token: &token, email: "eve@test.org" };
            let again = undo(engine, &client, other, None).await.result;
            assert!(matches!(again, Err(FlowError::Refused(Refusal::InvalidMailedToken))), "{again:?}");
        });
    }

    /// A crash between the mail and the change leaves a link to the address that the account still has.
    #[test]
    fn a_link_that_undoes_nothing_deletes_nobody() {
        on_an_engine(async |engine| {
            let new = New { email: "ada@test.org", ..New::default() };
            let account = admin::create(engine, &Admin::operator(), new).await.unwrap();
            let (id, address) = (account.account_id(), &account.email);
            let name = parse_name(address).unwrap();
            engine.mail_undo(&account, &name, &name).await.unwrap();
            let token = only_link(engine).await;
            let client = Client::new(std::net::Ipv4Addr::LOCALHOST.into(), "test");
            let link = Link { token: &token, email: address };
            undo(engine, &client, link, None).await.result.unwrap();
            assert!(engine.accounts.ask(ById { id }).await.unwrap().is_some());
        });
    }
}
