//! Mails that requests cause. A name without an account costs the same as one with an account: a token is minted,
//! sealed and recorded, and a mail of the same length is queued, composed, and dropped instead of sent. Neither the
//! answer nor the work reveals whether there is an account.
//!
//! Every mail names its [`Cause`], by which the quotas count it: none that a stranger causes is free.

pub(crate) mod delivery;
#[cfg(test)]
mod full_disk;

use super::client::Client;
use super::refusal::FlowError;
use crate::audit::event::Event;
use crate::engine::{Engine, Fault};
use crate::journal::append::handle::Class as Space;
use crate::registry::account::{AccountV4, Holder, Status};
use crate::registry::outbox::actor::Waiting;
use crate::registry::outbox::{Kind, MailV2, Post, seal_token};
use crate::registry::reset::actor::Charge;
use crate::registry::reset::{Cause, Mint, Minted, Purpose, Wish};
use crate::registry::sign_up::SignUpV2;
use crate::registry::sign_up::invitation::InvitationV1;
use crate::system::clock::Timestamp;
use crate::token::opaque::{OpaqueToken, Secret, TokenKind};
use crate::value::account_name::{AccountName, NameKey, masked};
use crate::value::id::{AccountId, MailedId, short_digest};
use crate::value::network::Network;

/// The recipient of a mail.
pub(super) struct Addressee {
    account: AccountId,
    /// The key of the address, if the account is none yet.
    pending: Option<[u8; 16]>,
    /// The end of the sign-up, if the address is no account yet.
    end: Option<Timestamp>,
    auth_epoch: u64,
    to: Box<str>,
    /// The domain of the address, also where nothing is sent.
    domain: Box<str>,
    /// A masked address that the mail names.
    about: Option<Box<str>>,
    /// When the account was made, if it asks for this address.
    asker_since: Option<Timestamp>,
    is_nobody: bool,
}

impl Addressee {
    /// Addresses the owner of an account.
    pub(super) fn owner(account: &AccountV4) -> Self {
        Self::owner_at(account, &account.email)
    }

    /// Addresses the client that signed up. The link belongs to this sign-up: its id is the one that the account will have.
    pub(super) fn of_sign_up(sign_up: &SignUpV2) -> Self {
        Self {
            account: sign_up.id,
            pending: Some(sign_up.name_key),
            end: Some(Timestamp(sign_up.end_ms)),
            auth_epoch: 0,
            to: sign_up.email.clone(),
            domain: domain_of(&sign_up.email).into(),
            about: None,
            asker_since: None,
            is_nobody: false,
        }
    }

    /// Addresses the owner of an account at another address than the account's.
    pub(super) fn owner_at(account: &AccountV4, address: &str) -> Self {
        Self {
            account: account.account_id(),
            pending: None,
            end: None,
            auth_epoch: account.auth_epoch,
            to: address.into(),
            domain: domain_of(address).into(),
            about: None,
            asker_since: None,
            is_nobody: false,
        }
    }

    /// Addresses the owner of `account`. Without one, addresses a recipient that gets no mail, by an address as long as
    /// `name`.
    pub(super) fn of(account: Option<&AccountV4>, name: &AccountName, key: NameKey) -> Self {
        account.map_or_else(
            || Self {
                // Derived from the name, so always the same one. Ids of accounts are random, so it belongs to none.
                account: AccountId::from_bytes(key.0).unwrap_or(AccountId::mint(key.slot(), [0; 14])),
                pending: None,
                end: None,
                auth_epoch: 0,
                to: MailV2::to_nobody(name.as_str().len()),
                domain: domain_of(name.as_str()).into(),
                about: None,
                asker_since: None,
                is_nobody: true,
            },
            Self::owner,
        )
    }

    /// Addresses the owner of `account` like [`Self::of`], unless the account is disabled: then nobody, with the same
    /// work. A link would set the password of an account that stays closed.
    pub(super) fn of_active(account: Option<&AccountV4>, name: &AccountName, key: NameKey) -> Self {
        Self::of(account.filter(|account| account.status == Status::Active), name, key)
    }

    /// Lets the mail name `address`, masked.
    pub(super) fn about(mut self, address: &str) -> Self {
        self.about = Some(masked(address).into());
        self
    }
}

fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}

impl Engine {
    /// Returns the network that the mails of `client` are counted for. A network that is exempt from the throttle has no
    /// quota of mails either: a gateway of ours sends the requests of many clients.
    pub(super) fn mailing_network(&self, client: &Client) -> Option<Network> {
        let address = client.address.to_canonical();
        let is_exempt = self.services.config.throttle.exempt.iter().any(|net| net.contains(&address));
        (!is_exempt).then(|| Network::of(client.address))
    }

    /// Mails a link for `purpose`. Returns the id of the mail; `None` if the quotas of `cause` do not allow it, and nothing
    /// is mailed.
    pub(super) async fn mail_token(
        &self,
        cause: Cause,
        to: Addressee,
        purpose: Purpose,
        kind: Kind,
    ) -> Result<Option<[u8; 16]>, FlowError> {
        self.mint_and_post(cause, to, purpose, kind, None).await
    }

    /// Mails the link of an invitation, whose secret is `secret`. Returns the id of the mail; `None` if operators have sent the
    /// address too many mails within the hour.
    pub(super) async fn mail_invitation(
        &self,
        invitation: &InvitationV1,
        secret: Secret,
    ) -> Result<Option<[u8; 16]>, FlowError> {
        let domain = domain_of(&invitation.email);
        let wish = Wish {
            recipient: invitation.name_key,
            purpose: Purpose::Invitation,
            cause: Cause::Operator,
            domain: self.domain_digest(domain),
            address: None,
            asker: None,
            for_nobody: false,
            lacks_link: false,
        };
        if !self.mailed.ask(Charge { wish }).await? {
            return Ok(None);
        }
        let to = Addressee {
            account: invitation.id,
            pending: Some(invitation.name_key),
            end: Some(invitation.end()),
            auth_epoch: 0,
            to: invitation.email.clone(),
            domain: domain.into(),
            about: None,
            asker_since: None,
            is_nobody: false,
        };
        let id = invitation.id.to_bytes();
        let token =
            self.services.edge.write(&OpaqueToken { kind: TokenKind::Mailed, id, generation: 0, secret });
        self.write_mail(to, Kind::AccountInvitation, Some(&token), true, Space::Ordinary).await.map(Some)
    }

    /// Mails the holder of the address `name` that a client has signed up with. As long as the address is not proved, the
    /// mail holds the link that proves it; if it is a former one, the link that undoes the change.
    pub(super) async fn mail_holder(
        &self,
        cause: Cause,
        holder: &Holder,
        name: &AccountName,
        key: NameKey,
    ) -> Result<bool, FlowError> {
        let account = &holder.account;
        if holder.is_former {
            return self.mail_undo_again(cause, account, name, key).await;
        }
        let (to, kind) = if account.email_verified {
            (Addressee::owner(account), Kind::AlreadyRegistered)
        } else {
            (Addressee::owner(account), Kind::Verify)
        };
        Ok(self.mail_token(cause, to, Purpose::Verify, kind).await?.is_some())
    }

    /// Mails the link that undoes the change of address of `account` to its former address `former` once more, where somebody
    /// asks for something: the first mail may be lost, and its link is dead after a restore from a backup.
    pub(super) async fn mail_undo_again(
        &self,
        cause: Cause,
        account: &AccountV4,
        former: &AccountName,
        key: NameKey,
    ) -> Result<bool, FlowError> {
        let to = Addressee {
            // Counted for the address: who reads mail at the account's present one must not use up these mails.
            pending: Some(key.0),
            end: account.former.as_ref().map(|former| former.end()),
            ..Addressee::owner_at(account, former.as_str())
        };
        let to = to.about(&account.email);
        let mail = self.mint_and_post(cause, to, Purpose::EmailUndo, Kind::UndoAgain, Some(former)).await?;
        Ok(mail.is_some())
    }

    /// Mails `address` the link that makes it the address of `account`. A `holder` of it is told instead, by a mail without
    /// a link: the work and the quotas are the same. Returns whether the quotas allowed it.
    pub(super) async fn mail_new_address(
        &self,
        cause: Cause,
        account: &AccountV4,
        address: &AccountName,
        holder: Option<&Holder>,
    ) -> Result<bool, FlowError> {
        let kind = match holder {
            None => Kind::EmailChange,
            Some(holder) if holder.is_former => Kind::AddressKept,
            Some(_) => Kind::AddressWanted,
        };
        let to = Addressee {
            asker_since: Some(Timestamp(account.created_ms)),
            ..Addressee::owner_at(account, address.as_str())
        };
        let to = to.about(&account.email);
        let mail = self.mint_and_post(cause, to, Purpose::EmailChange, kind, Some(address)).await?;
        Ok(mail.is_some())
    }

    /// Mails the present address of `account` the link that undoes its change to `next`. Returns false if an earlier
    /// change can still be undone.
    pub(super) async fn mail_undo(
        &self,
        account: &AccountV4,
        present: &AccountName,
        next: &AccountName,
    ) -> Result<bool, FlowError> {
        let to = Addressee::owner(account).about(next.as_str());
        let mail = self.mint_and_post(Cause::Owner, to, Purpose::EmailUndo, Kind::EmailUndo, Some(present));
        Ok(mail.await?.is_some())
    }

    async fn mint_and_post(
        &self,
        cause: Cause,
        to: Addressee,
        purpose: Purpose,
        kind: Kind,
        bound_to: Option<&AccountName>,
    ) -> Result<Option<[u8; 16]>, FlowError> {
        let keys = &self.services.keys;
        // Records live in the slot of their account. After a change of address it differs from that of the name.
        let id = MailedId::mint(to.account.slot(), self.services.random.bytes()?);
        let (kid, digest) =
            keys.outbox.with_newest(|kid, key| (kid, Secret::derive(key, id.to_bytes()).digest()));
        let mint = Mint {
            id,
            account: to.account,
            pending: to.pending,
            auth_epoch: to.auth_epoch,
            global_epoch: self.global_epoch,
            purpose,
            digest: bound_to.map_or(digest, |address| digest.bound_to(address.as_str())),
            kid,
            bound_to: bound_to.map(|address| address.key(&keys.directory).0),
            cause,
            domain: self.domain_digest(&to.domain),
            for_nobody: to.is_nobody,
            end_max: to.end,
            asker_since: to.asker_since,
        };
        let minted = self.mailed.ask(mint).await?;
        let id = match minted {
            Minted::Again(live) => live,
            Minted::New | Minted::NotSent => id,
            Minted::NotWritten => {
                // Takes the same way, and waits for what was written before.
                self.outbox.ask(Waiting).await?;
                return Ok(None);
            }
        };
        let id = id.to_bytes();
        let secret = keys.outbox.with(kid, |key| Secret::derive(key, id)).ok_or(Fault::Ending)?;
        let token =
            self.services.edge.write(&OpaqueToken { kind: TokenKind::Mailed, id, generation: 0, secret });
        let is_sent = minted.is_sent();
        let mail = self.write_mail(to, kind, Some(&token), is_sent, cause.class()).await?;
        Ok(is_sent.then_some(mail))
    }

    /// Records that the quotas have held back a mail which `client` asked for, unless it `is_sent`. Its requests are answered
    /// alike, so nobody but an operator can say why a mail does not come.
    pub(super) fn note_withheld(&self, client: &Client, account: Option<&AccountV4>, is_sent: bool) {
        if !is_sent {
            self.record(client.note(Event::MailWithheld).for_account(account));
        }
    }

    /// Queues a mail without a token, which tells the owner of what was done with a credential of theirs.
    pub(super) async fn post(&self, to: Addressee, kind: Kind) -> Result<(), FlowError> {
        // The owner must learn of what is done already.
        self.write_mail(to, kind, None, true, Space::Essential).await?;
        Ok(())
    }

    /// Queues a mail without a token, which warns the owner of what somebody else does. `purpose` names the quota. Returns
    /// whether the quota allowed it.
    pub(super) async fn warn(
        &self,
        cause: Cause,
        to: Addressee,
        purpose: Purpose,
        kind: Kind,
    ) -> Result<bool, FlowError> {
        let wish = Wish {
            recipient: to.account.to_bytes(),
            purpose,
            cause,
            domain: self.domain_digest(&to.domain),
            address: None,
            asker: None,
            for_nobody: to.is_nobody,
            lacks_link: false,
        };
        let is_sent = self.mailed.ask(Charge { wish }).await?;
        self.write_mail(to, kind, None, is_sent, cause.class()).await?;
        Ok(is_sent)
    }

    /// Returns the digest that mails to a domain are counted by.
    fn domain_digest(&self, domain: &str) -> [u8; 8] {
        short_digest(&self.services.keys.directory, &[b"mail domain", domain.as_bytes()])
    }

    /// Queues a mail and returns its id. If it must not be sent, the journal gains an entry all the same.
    async fn write_mail(
        &self,
        to: Addressee,
        kind: Kind,
        token: Option<&str>,
        send: bool,
        class: Space,
    ) -> Result<[u8; 16], FlowError> {
        let id = MailedId::mint(to.account.slot(), self.services.random.bytes()?).to_bytes();
        let now = self.clock.now().as_millis();
        let seal = |kid, key: &[u8; 32]| (kid, token.map(|token| seal_token(key, id, token)));
        let (kid, sealed) = self.services.keys.outbox.with_newest(seal);
        let mail = MailV2 {
            id,
            to: to.to,
            kind,
            token: sealed,
            written_ms: now,
            next_ms: now,
            tries: 0,
            kid,
            about: to.about,
        };
        self.outbox.ask(Post { id, mail: send.then_some(mail), class }).await?;
        Ok(id)
    }
}
