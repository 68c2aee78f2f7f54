//! The same credential again, for a client that repeats a request by which its credential was replaced.
//!
//! **The attack:** the answer with the new credential is lost, or a page posts twice, and the client is left with one that is
//! dead. What helps it must not help whoever finds the link, or has a copy of the dead credential.
//!
//! **The rule:** the secret of the new credential is kept in memory for a short while, sealed under a key derived from the
//! link and from the credential that was replaced, so that both are needed to open it. Nothing new is minted: what comes back
//! is the one session that was opened, while it is alive under the epoch of its account, and the refresh token while it was
//! not used. An access token that has expired opens nothing.

use super::{Grant, Issued, Opened};
use crate::engine::Engine;
use crate::engine::hooks::{ClaimsReason, CredentialKind};
use crate::flow::authenticate::{Credential, Held, Identity, live_account};
use crate::flow::client::Client;
use crate::flow::devices;
use crate::flow::refusal::{FlowError, Refusal};
use crate::registry::account::AccountV4;
use crate::registry::reset::Renewal;
use crate::registry::{refresh, session};
use crate::system::clock::Timestamp;
use crate::token::opaque::{Secret, SecretDigest};
use crate::value::account_name::NameKey;
use crate::value::id::{AccountId, FamilyId, SessionId};

impl Engine {
    /// Returns what to remember of `issued`, which replaces the credential of `identity` for a client that has shown
    /// `credential` and the secret of a link. `device_nonce` is that of the device that it was given.
    pub(in crate::flow) fn renewal(
        &self,
        client: &Client,
        link: &Secret,
        (credential, identity): (Credential<'_>, &Identity),
        issued: &Issued,
        device_nonce: [u8; 16],
    ) -> Renewal {
        let secret = match issued {
            Issued::Family(_, secret, _) | Issued::Session(_, secret) => secret,
        };
        let sealed = key(client, link, credential).seal_successor(secret);
        let until = match (&identity.held, identity.times) {
            (Held::Session(session), _) => session.end(),
            (Held::Family(_), Some(times)) => Timestamp::from_secs(times.exp) + self.clock.ahead(),
            (Held::Family(family), None) => Timestamp(family.idle_end_ms),
        };
        Renewal { sid: issued.sid(), sealed, until, device_nonce }
    }

    /// Returns the credential of `renewal` again, for a client that shows the same link and `credential` as before.
    ///
    /// Errors: [`Refusal::Unauthenticated`] if it shows others, or if the credential of `renewal` has ended or was used to
    /// get another one.
    pub(in crate::flow) async fn grant_again(
        &self,
        client: &Client,
        link: &Secret,
        credential: Credential<'_>,
        renewal: &Renewal,
    ) -> Result<Opened, FlowError> {
        if self.clock.now() >= renewal.until {
            return Err(Refusal::Unauthenticated.into());
        }
        let key = key(client, link, credential);
        let open = |digest| {
            key.open_successor(&renewal.sealed, &SecretDigest(digest)).ok_or(Refusal::Unauthenticated)
        };
        let (account, grant) = match credential {
            Credential::Bearer(_) => self.pair_again(client, renewal, open).await?,
            Credential::Cookie(_) => self.cookie_again(renewal, open).await?,
        };
        let name = NameKey(account.name_key);
        let device = Some(devices::cookie(self, name, &account, renewal.device_nonce));
        Ok(Opened { account, grant, device })
    }

    async fn pair_again(
        &self,
        client: &Client,
        renewal: &Renewal,
        open: impl Fn([u8; 32]) -> Result<Secret, Refusal>,
    ) -> Result<(AccountV4, Grant), FlowError> {
        let id = FamilyId::from_bytes(renewal.sid).ok_or(Refusal::Unauthenticated)?;
        let family = self.refresh.ask(refresh::actor::Alive { id }).await?.ok_or(Refusal::Unauthenticated)?;
        let account = live_account(self, family.account, family.auth_epoch, family.global_epoch).await?;
        // Of a family that was rotated since, there is no secret to return: its digest is another one.
        let secret = open(family.digest)?;
        let (reason, kind) = (ClaimsReason::Replacement, CredentialKind::Tokens);
        let added = self.added_claims(&account, client, reason, kind).await?;
        if self.services.has_claims_hook() {
            Box::pin(self.require_unchanged(&account)).await?;
        }
        // An access token is issued: that its family may have one of this time is written down.
        let issue = refresh::actor::Issue { id, auth_epoch: family.auth_epoch };
        let family = self.refresh.ask(issue).await?.ok_or(Refusal::Unauthenticated)?;
        if family.generation > 0 {
            return Err(Refusal::Unauthenticated.into());
        }
        let grant = self.token_grant(&account, &family, secret, &added)?;
        Ok((account, grant))
    }

    async fn cookie_again(
        &self,
        renewal: &Renewal,
        open: impl Fn([u8; 32]) -> Result<Secret, Refusal>,
    ) -> Result<(AccountV4, Grant), FlowError> {
        let id = SessionId::from_bytes(renewal.sid).ok_or(Refusal::Unauthenticated)?;
        let session =
            self.sessions.ask(session::actor::Alive { id }).await?.ok_or(Refusal::Unauthenticated)?;
        let owner = AccountId::from_bytes(session.account).ok_or(Refusal::Unauthenticated)?;
        let account = live_account(self, owner, session.auth_epoch, session.global_epoch).await?;
        let secret = open(session.digest)?;
        let grant = self.grant(&account, Issued::Session(session, secret))?;
        Ok((account, grant))
    }
}

/// Derives the secret that a renewed credential is sealed under.
fn key(client: &Client, link: &Secret, credential: Credential<'_>) -> Secret {
    link.derive_next(&[b"renewed with ".as_slice(), credential.digest(client).as_bytes()].concat())
}
