//! Credentials for a client that has proved its identity: a pair of tokens, or a session cookie.

use crate::engine::Engine;
use crate::flow::client::Client;
use crate::flow::refusal::FlowError;
use crate::journal::append::handle::Sealed;
use crate::registry::account::AccountV2;
use crate::registry::lockout::device;
use crate::registry::refresh::{FamilyV1, OpenFamily};
use crate::registry::session::{OpenSession, SessionV1};
use crate::system::clock::Timestamp;
use crate::token::Claims;
use crate::token::opaque::{OpaqueToken, Secret, TokenKind};
use crate::value::account_name::AccountName;
use crate::value::id::{FamilyId, SessionId};

/// A credential for a client, and what the answer says of its account.
pub struct Opened {
    /// The account that the credential belongs to.
    pub account: AccountV2,
    /// The credential.
    pub grant: Grant,
    /// The device cookie, after a log-in with a password.
    pub device: Option<String>,
}

/// The credential that a log-in or a refresh issues.
pub enum Grant {
    /// A pair of tokens.
    Tokens {
        /// The signed access token.
        access: String,
        /// When the access token expires.
        access_end: Timestamp,
        /// The opaque refresh token.
        refresh: zeroize::Zeroizing<String>,
        /// When the refresh token expires if it is not used.
        refresh_end: Timestamp,
        /// The family of the refresh token.
        family: FamilyId,
    },
    /// A session cookie.
    Cookie {
        /// The value of the cookie.
        token: zeroize::Zeroizing<String>,
        /// The session.
        session: SessionV1,
    },
}

/// A new family or session, with the secret that only the client gets.
pub(crate) enum Issued {
    Family(FamilyV1, Secret),
    Session(SessionV1, Secret),
}

impl Engine {
    /// Signs an access token of a family. It does not outlive the family: a resource server that checks tokens by
    /// itself would accept it longer. Returns the token and its expiry.
    pub(crate) fn access_token(
        &self,
        account: &AccountV2,
        family: &FamilyV1,
    ) -> Result<(String, Timestamp), FlowError> {
        let now = self.clock.now();
        let end = (now + self.services.config.token.access_ttl).min(Timestamp(family.idle_end_ms));
        let sid = family.id.to_string();
        let jti = self.services.token_marks.id(self.services.random.bytes()?, &sid, end.as_secs());
        let signer = self.services.signer.read();
        let claims = Claims {
            iss: signer.issuer().to_owned(),
            sub: account.account_id().to_string(),
            aud: signer.audience().to_owned(),
            exp: end.as_secs(),
            iat: now.as_secs(),
            jti,
            sid,
            roles: account.roles.iter().map(ToString::to_string).collect(),
            auth_time: Timestamp(family.opened_ms).as_secs(),
            amr: vec![String::from("pwd")],
        };
        let text = signer.sign(&claims, now)?;
        Ok((text, Timestamp::from_secs(claims.exp)))
    }

    /// Opens a family for a client that has just proved its identity, and waits until it is durable.
    pub(crate) async fn open_family(&self, account: &AccountV2, client: &Client) -> Result<Grant, FlowError> {
        let issued = self.issue_family(account, client).await?;
        let issued = self.journal.open(issued).await?;
        self.grant(account, issued)
    }

    /// Opens a family for a client that has just proved its identity. The answer is sealed until the family is durable.
    pub(crate) async fn issue_family(
        &self,
        account: &AccountV2,
        client: &Client,
    ) -> Result<Sealed<Issued>, FlowError> {
        let secret = Secret::mint(&self.services.random)?;
        let open = OpenFamily {
            id: FamilyId::mint(account.account_id().slot(), self.services.random.bytes()?),
            account: account.account_id(),
            auth_epoch: account.auth_epoch,
            global_epoch: self.global_epoch,
            digest: secret.digest(),
            network: client.network().into(),
            user_agent: client.user_agent.clone(),
        };
        let family = self.refresh.ask_sealed(open).await?;
        Ok(family.map(|family| Issued::Family(family, secret)))
    }

    /// Turns a new family or session into the credential for the client.
    pub(crate) fn grant(&self, account: &AccountV2, issued: Issued) -> Result<Grant, FlowError> {
        match issued {
            Issued::Family(family, secret) => self.token_grant(account, &family, secret),
            Issued::Session(session, secret) => {
                let token = OpaqueToken { kind: TokenKind::Session, id: session.id, generation: 0, secret };
                Ok(Grant::Cookie { token: self.services.edge.write(&token), session })
            }
        }
    }

    /// Signs an access token, and writes the refresh token of `family` with `secret`.
    pub(crate) fn token_grant(
        &self,
        account: &AccountV2,
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

    /// Opens a browser session for a client that has just proved its identity. The answer is sealed until the session
    /// is durable.
    pub(crate) async fn issue_session(
        &self,
        account: &AccountV2,
        remember: bool,
        client: &Client,
    ) -> Result<Sealed<Issued>, FlowError> {
        let secret = Secret::mint(&self.services.random)?;
        let open = OpenSession {
            id: SessionId::mint(account.account_id().slot(), self.services.random.bytes()?),
            account: account.account_id(),
            auth_epoch: account.auth_epoch,
            global_epoch: self.global_epoch,
            digest: secret.digest(),
            remember,
            network: client.network().into(),
            user_agent: client.user_agent.clone(),
        };
        let session = self.sessions.ask_sealed(open).await?;
        Ok(session.map(|session| Issued::Session(session, secret)))
    }

    /// Returns a device cookie for a client that has just proved that it owns the account `name`.
    pub(crate) fn device_cookie(&self, name: &AccountName) -> Result<String, FlowError> {
        let key = name.key(&self.services.keys.directory);
        Ok(device::issue(&self.services.keys.device, key, self.services.random.bytes()?))
    }
}
