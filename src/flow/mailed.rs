//! Mailed links: they prove an address or lift a lockout. Opening a link changes nothing; posting its token does.

use super::admission::Outcome;
use super::client::Client;
use super::post::Addressee;
use super::refusal::{FlowError, Refusal, parse_name};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::registry::account::actor::{Alter, ById, Find};
use crate::registry::account::{AccountV2, Change};
use crate::registry::lockout::actor::Clear;
use crate::registry::outbox::Kind;
use crate::registry::reset::{Cause, MailedV2, Purpose, Redeem};
use crate::registry::throttle::class::Class;
use crate::token::opaque::TokenKind;
use crate::value::account_name::NameKey;
use crate::value::id::{AccountId, MailedId};

/// Reads a mailed token that is to be redeemed for `purpose`.
pub(super) fn read(engine: &Engine, token: &str, purpose: Purpose) -> Result<Redeem, Refusal> {
    let read =
        engine.services.edge.read(TokenKind::Mailed, token).map_err(|_| Refusal::InvalidMailedToken)?;
    let id = MailedId::from_bytes(read.id).ok_or(Refusal::InvalidMailedToken)?;
    Ok(Redeem { id, digest: read.secret.digest(), purpose })
}

/// Returns the account of a token.
///
/// Errors: [`Refusal::InvalidMailedToken`] if the account is gone or its epoch has changed since.
pub(super) async fn account_of(engine: &Engine, token: &MailedV2) -> Result<AccountV2, FlowError> {
    let id = AccountId::from_bytes(token.account).ok_or(Refusal::InvalidMailedToken)?;
    let account = engine.accounts.ask(ById { id }).await?.ok_or(Refusal::InvalidMailedToken)?;
    if account.auth_epoch != token.auth_epoch || token.global_epoch != engine.global_epoch {
        return Err(Refusal::InvalidMailedToken.into());
    }
    Ok(account)
}

/// Marks the account's address as proved.
pub async fn verify(engine: &Engine, client: &Client, token: &str) -> Outcome<()> {
    engine
        .admitted(Class::Verify, client, async |_| {
            let redeem = read(engine, token, Purpose::Verify)?;
            // Spend first, grant second: a crash between the two costs one more mail.
            let token = engine.mailed.ask(redeem).await?.map_err(|_| Refusal::InvalidMailedToken)?;
            let account = account_of(engine, &token).await?;
            let proved = Change { verified: true, if_epoch: Some(token.auth_epoch), ..Change::default() };
            let changed = engine.accounts.ask(Alter { id: account.account_id(), change: proved }).await?;
            changed.map_err(|_| Refusal::InvalidMailedToken)?;
            engine.record_durably(client.note(Event::EmailVerified).for_account(Some(&account))).await;
            Ok(())
        })
        .await
}

/// Mails the link that proves an address once more. The answer and the work are the same if there is nothing to prove.
pub async fn resend(engine: &Engine, client: &Client, email: &str) -> Outcome<()> {
    engine
        .admitted(Class::Forgot, client, async |_| {
            let name = parse_name(email)?;
            let key = name.key(&engine.services.keys.directory);
            let account = engine.accounts.ask(Find { name: key }).await?;
            let unproved = account.as_ref().filter(|account| !account.email_verified);
            let cause = Cause::Stranger(engine.mailing_network(client));
            let to = Addressee::of_active(unproved, &name, key);
            engine.mail_token(cause, to, Purpose::Verify, Kind::Verify).await?;
            Ok(())
        })
        .await
}

/// Lifts the lockout of an account name.
pub async fn unlock(engine: &Engine, client: &Client, token: &str) -> Outcome<()> {
    engine
        .admitted(Class::Unlock, client, async |_| {
            let redeem = read(engine, token, Purpose::Unlock)?;
            let token = engine.mailed.ask(redeem).await?.map_err(|_| Refusal::InvalidMailedToken)?;
            let account = account_of(engine, &token).await?;
            engine.lockout.ask(Clear { name: NameKey(account.name_key) }).await?;
            let note = client
                .note(Event::LockoutCleared)
                .for_account(Some(&account))
                .with_reason("link in the mail");
            engine.record_durably(note).await;
            Ok(())
        })
        .await
}
