//! Mails that come of requests. For nobody everything is done that is done for somebody: a token is minted, sealed, and
//! written down in a record of the same size, and a mail of the same length waits, is made, and is dropped instead of
//! sent. Neither the answer nor the work behind it tells whether there is an account.

use super::refusal::FlowError;
use crate::engine::Engine;
use crate::registry::account::AccountV1;
use crate::registry::outbox::{Kind, MailV1, Post, seal_token};
use crate::registry::reset::{Mint, Purpose};
use crate::token::opaque::{OpaqueToken, Secret, TokenKind};
use crate::value::account_name::{AccountName, NameKey};
use crate::value::id::{AccountId, MailedId};
use crate::value::network::Network;

/// To whom a mail goes.
pub(super) struct Addressee {
    account: AccountId,
    auth_epoch: u64,
    to: Box<str>,
    is_nobody: bool,
}

impl Addressee {
    /// An account, at its address.
    pub(super) fn owner(account: &AccountV1) -> Self {
        Self {
            account: account.account_id(),
            auth_epoch: account.auth_epoch,
            to: account.email.clone(),
            is_nobody: false,
        }
    }

    /// An account, at another address.
    pub(super) fn owner_at(account: &AccountV1, address: &str) -> Self {
        Self { to: address.into(), ..Self::owner(account) }
    }

    /// The account of a name; where there is none that is to get the mail, nobody.
    pub(super) fn of(account: Option<&AccountV1>, name: &AccountName, key: NameKey) -> Self {
        account.map_or_else(
            || Self {
                // Ids of accounts are drawn by chance, and this one from the name: it is nobody's, and the same each time.
                account: AccountId::from_bytes(key.0).unwrap_or(AccountId::mint(key.slot(), [0; 14])),
                auth_epoch: 0,
                to: MailV1::to_nobody(name.as_str().len()),
                is_nobody: true,
            },
            Self::owner,
        )
    }
}

impl Engine {
    /// Mints a mailed token and posts its mail.
    pub(super) async fn mail_token(
        &self,
        to: Addressee,
        purpose: Purpose,
        kind: Kind,
    ) -> Result<(), FlowError> {
        self.mail_token_asked_by(None, to, purpose, kind).await
    }

    /// Tells whoever has an address that somebody wants it, within the quota of such mails, so that nobody floods a
    /// mailbox. The token ends the one before, so where the address is still to be proved it is one that does.
    pub(super) async fn mail_holder(&self, holder: &AccountV1) -> Result<(), FlowError> {
        let kind = if holder.email_verified { Kind::AlreadyRegistered } else { Kind::Verify };
        self.mail_token(Addressee::owner(holder), Purpose::Verify, kind).await
    }

    /// As [`Engine::mail_token`], counted against the network that asks for it.
    pub(super) async fn mail_token_asked_by(
        &self,
        network: Option<Network>,
        to: Addressee,
        purpose: Purpose,
        kind: Kind,
    ) -> Result<(), FlowError> {
        self.mint_and_post(network, to, purpose, kind, None).await?;
        Ok(())
    }

    /// Mints a token that is good together with `address` alone, and mails it there. False when the quota says no.
    pub(super) async fn mail_bound_token(
        &self,
        account: &AccountV1,
        purpose: Purpose,
        kind: Kind,
        address: &str,
    ) -> Result<bool, FlowError> {
        self.mint_and_post(None, Addressee::owner_at(account, address), purpose, kind, Some(address)).await
    }

    async fn mint_and_post(
        &self,
        network: Option<Network>,
        to: Addressee,
        purpose: Purpose,
        kind: Kind,
        bound_to: Option<&str>,
    ) -> Result<bool, FlowError> {
        let secret = Secret::mint(&self.services.random)?;
        // What belongs to an account lives in its slot, which after a change of address is not that of its name.
        let id = MailedId::mint(to.account.slot(), self.services.random.bytes()?);
        let digest = secret.digest();
        let mint = Mint {
            id,
            account: to.account,
            auth_epoch: to.auth_epoch,
            global_epoch: self.global_epoch,
            purpose,
            digest: bound_to.map_or(digest, |address| digest.bound_to(address)),
            network,
            for_nobody: to.is_nobody,
        };
        let send = self.mailed.ask(mint).await?;
        let id = id.to_bytes();
        let token =
            self.services.edge.write(&OpaqueToken { kind: TokenKind::Mailed, id, generation: 0, secret });
        self.write_mail(to, kind, Some(&token), send).await?;
        Ok(send)
    }

    /// Posts a mail without a token.
    pub(super) async fn post(&self, to: Addressee, kind: Kind) -> Result<(), FlowError> {
        self.write_mail(to, kind, None, true).await
    }

    /// Writes a mail down; where it is not to be sent, the same commit is made.
    async fn write_mail(
        &self,
        to: Addressee,
        kind: Kind,
        token: Option<&str>,
        send: bool,
    ) -> Result<(), FlowError> {
        let id = MailedId::mint(to.account.slot(), self.services.random.bytes()?).to_bytes();
        let now = self.clock.now().as_millis();
        let sealed = token.map(|token| seal_token(&self.services.keys.outbox, id, token));
        let mail = MailV1 { id, to: to.to, kind, token: sealed, written_ms: now, next_ms: now, tries: 0 };
        Ok(self.outbox.ask(Post { id, mail: send.then_some(mail) }).await?)
    }
}
