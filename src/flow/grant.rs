//! What a client gets once it has proved who it is: a pair of tokens, or a session cookie.

use crate::engine::{Engine, Fault};
use crate::flow::client::Client;
use crate::flow::refusal::FlowError;
use crate::journal::append::handle::Sealed;
use crate::registry::account::AccountV1;
use crate::registry::lockout::device;
use crate::registry::refresh::FamilyV1;
use crate::registry::session::SessionV1;
use crate::system::clock::Timestamp;
use crate::token::Claims;
use crate::token::opaque::{OpaqueToken, Secret, TokenKind};
use crate::value::account_name::AccountName;
use crate::value::id::{FamilyId, SessionId, hex};

/// A pair of tokens, or a cookie, with what the answer says beside it.
pub struct Opened {
    /// Whose it is.
    pub account: AccountV1,
    /// What the client gets.
    pub grant: Grant,
    /// The device cookie that goes with it.
    pub device: Option<String>,
}

/// What a log-in or a refresh gives.
pub enum Grant {
    /// Bearer mode.
    Tokens {
        /// The signed access token.
        access: String,
        /// When it ends.
        access_end: Timestamp,
        /// The opaque refresh token.
        refresh: zeroize::Zeroizing<String>,
        /// When it ends unused.
        refresh_end: Timestamp,
        /// The family.
        family: FamilyId,
    },
    /// Cookie mode.
    Cookie {
        /// The cookie's value.
        token: zeroize::Zeroizing<String>,
        /// The session.
        session: SessionV1,
    },
}

/// What was opened for somebody, with the secret that only they get.
pub(crate) enum Issued {
    Family(FamilyV1, Secret),
    Session(SessionV1, Secret),
}

impl Engine {
    /// Signs the access token of a family, which it does not outlive: who checks tokens without asking would go on with it.
    pub(crate) fn access_token(
        &self,
        account: &AccountV1,
        family: &FamilyV1,
    ) -> Result<(String, Timestamp), FlowError> {
        let now = self.clock.now();
        let end = (now + self.services.config.token.access_ttl).min(Timestamp(family.idle_end_ms));
        let signer = self.services.signer.read();
        let claims = Claims {
            iss: signer.issuer().to_owned(),
            sub: account.account_id().to_string(),
            aud: signer.audience().to_owned(),
            exp: end.as_secs(),
            iat: now.as_secs(),
            jti: hex(&self.services.random.bytes::<16>()?),
            sid: family.id.to_string(),
            roles: account.roles.iter().map(ToString::to_string).collect(),
            auth_time: Timestamp(family.opened_ms).as_secs(),
            amr: vec![String::from("pwd")],
        };
        let text = signer.sign(&claims, now).map_err(Fault::from)?;
        Ok((text, Timestamp::from_secs(claims.exp)))
    }

    /// Opens a refresh-token family for somebody who has just proved who they are.
    pub(crate) async fn open_family(&self, account: &AccountV1, client: &Client) -> Result<Grant, FlowError> {
        let issued = self.issue_family(account, client).await?;
        let issued = self.journal.open(issued).await.map_err(Fault::from)?;
        self.grant(account, issued)
    }

    /// As [`Engine::open_family`], before it is durable.
    pub(crate) async fn issue_family(
        &self,
        account: &AccountV1,
        client: &Client,
    ) -> Result<Sealed<Issued>, FlowError> {
        let secret = Secret::mint(&self.services.random)?;
        let opened = crate::registry::refresh::OpenFamily {
            id: FamilyId::mint(account.account_id().slot(), self.services.random.bytes()?),
            account: account.account_id(),
            auth_epoch: account.auth_epoch,
            global_epoch: self.global_epoch,
            digest: secret.digest(),
            network: client.network().into(),
            user_agent: client.user_agent.clone(),
        };
        let family = self.refresh.ask_sealed(opened).await?;
        Ok(family.map(|family| Issued::Family(family, secret)))
    }

    /// What the client gets of what was opened for it.
    pub(crate) fn grant(&self, account: &AccountV1, issued: Issued) -> Result<Grant, FlowError> {
        match issued {
            Issued::Family(family, secret) => self.token_grant(account, &family, secret),
            Issued::Session(session, secret) => {
                let token = OpaqueToken { kind: TokenKind::Session, id: session.id, generation: 0, secret };
                Ok(Grant::Cookie { token: self.services.edge.write(&token), session })
            }
        }
    }

    pub(crate) fn token_grant(
        &self,
        account: &AccountV1,
        family: &FamilyV1,
        secret: Secret,
    ) -> Result<Grant, FlowError> {
        let (access, access_end) = self.access_token(account, family)?;
        let token = OpaqueToken {
            kind: TokenKind::Refresh,
            id: family.id.to_bytes(),
            generation: family.generation,
            secret,
        };
        Ok(Grant::Tokens {
            access,
            access_end,
            refresh: self.services.edge.write(&token),
            refresh_end: Timestamp(family.idle_end_ms),
            family: family.id,
        })
    }

    /// Opens a browser session for somebody who has just proved who they are, before it is durable.
    pub(crate) async fn issue_session(
        &self,
        account: &AccountV1,
        remember: bool,
        client: &Client,
    ) -> Result<Sealed<Issued>, FlowError> {
        let secret = Secret::mint(&self.services.random)?;
        let opened = crate::registry::session::OpenSession {
            id: SessionId::mint(account.account_id().slot(), self.services.random.bytes()?),
            account: account.account_id(),
            auth_epoch: account.auth_epoch,
            global_epoch: self.global_epoch,
            digest: secret.digest(),
            remember,
            network: client.network().into(),
            user_agent: client.user_agent.clone(),
        };
        let session = self.sessions.ask_sealed(opened).await?;
        Ok(session.map(|session| Issued::Session(session, secret)))
    }

    /// A device cookie for somebody who has just proved who they are.
    pub(crate) fn device_cookie(&self, name: &AccountName) -> Result<String, FlowError> {
        let key = name.key(&self.services.keys.directory);
        Ok(device::issue(&self.services.keys.device, key, self.services.random.bytes()?))
    }
}
