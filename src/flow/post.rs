//! Mails that requests cause. A name without an account costs the same as one with an account: a token is minted,
//! sealed and recorded, and a mail of the same length is queued, composed, and dropped instead of sent. Neither the
//! answer nor the work reveals whether there is an account.

use super::refusal::FlowError;
use crate::engine::Engine;
use crate::registry::account::AccountV2;
use crate::registry::outbox::{Kind, MailV1, Post, seal_token};
use crate::registry::reset::{Mint, Purpose};
use crate::registry::sign_up::SignUpV1;
use crate::token::opaque::{OpaqueToken, Secret, TokenKind};
use crate::value::account_name::{AccountName, NameKey};
use crate::value::id::{AccountId, MailedId};
use crate::value::network::Network;

/// The recipient of a mail.
pub(super) struct Addressee {
    account: AccountId,
    auth_epoch: u64,
    to: Box<str>,
    is_nobody: bool,
}

impl Addressee {
    /// Addresses the owner of an account.
    pub(super) fn owner(account: &AccountV2) -> Self {
        Self {
            account: account.account_id(),
            auth_epoch: account.auth_epoch,
            to: account.email.clone(),
            is_nobody: false,
        }
    }

    /// Addresses whoever signed up. The link belongs to this sign-up: its id is the one that the account will have.
    pub(super) fn of_sign_up(sign_up: &SignUpV1) -> Self {
        Self { account: sign_up.id, auth_epoch: 0, to: sign_up.email.clone(), is_nobody: false }
    }

    /// Addresses the owner of an account at another address than the account's.
    pub(super) fn owner_at(account: &AccountV2, address: &str) -> Self {
        Self { to: address.into(), ..Self::owner(account) }
    }

    /// Addresses the owner of `account`. Without one, addresses a recipient that gets no mail, by an address as long as
    /// `name`.
    pub(super) fn of(account: Option<&AccountV2>, name: &AccountName, key: NameKey) -> Self {
        account.map_or_else(
            || Self {
                // Derived from the name, so always the same one. Ids of accounts are random, so it belongs to none.
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
    /// Mails a new token for `purpose`.
    pub(super) async fn mail_token(
        &self,
        to: Addressee,
        purpose: Purpose,
        kind: Kind,
    ) -> Result<(), FlowError> {
        self.mail_token_asked_by(None, to, purpose, kind).await
    }

    /// Mails the holder of an address that another client has asked for it. A quota protects the mailbox. The new token
    /// replaces the one before, so as long as the address is not proved it is one that proves it.
    pub(super) async fn mail_holder(&self, holder: &AccountV2) -> Result<(), FlowError> {
        let kind = if holder.email_verified { Kind::AlreadyRegistered } else { Kind::Verify };
        self.mail_token(Addressee::owner(holder), Purpose::Verify, kind).await
    }

    /// Puts a mail with a new token for `purpose` into the outbox, and counts it against the quota of the network that asks
    /// for it. Beyond the quota nothing is mailed, and the answer is the same.
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

    /// Mails a new token to `address` that is valid together with that address only. Returns whether the quota allows
    /// it.
    pub(super) async fn mail_bound_token(
        &self,
        account: &AccountV2,
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
        // Records live in the slot of their account. After a change of address it differs from that of the name.
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

    /// Queues a mail without a token.
    pub(super) async fn post(&self, to: Addressee, kind: Kind) -> Result<(), FlowError> {
        self.write_mail(to, kind, None, true).await
    }

    /// Queues a mail. If it must not be sent, the journal gains an entry all the same.
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
