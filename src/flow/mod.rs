//! What a user does, one file each: read from top to bottom, the list of the defences it passes.

pub mod account;
pub mod admin;
pub mod authenticate;
mod check;
pub mod email;
pub mod log_in;
pub mod log_out;
pub mod mailed;
pub mod password;
mod post;
pub mod refresh;
pub mod sign_up;

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::audit::event::{Event, Note};
use crate::engine::{Engine, Fault};
use crate::journal::append::handle::{NoRoom, Sealed};
use crate::password::{Lane, Place, Weakness};
use crate::registry::account::{AccountV1, Status};
use crate::registry::lockout::device;
use crate::registry::refresh::FamilyV1;
use crate::registry::session::SessionV1;
use crate::registry::throttle::actor::{Refund, Take};
use crate::registry::throttle::class::Class;
use crate::registry::throttle::gcra::Throttled;
use crate::registry::throttle::{Charge, Standing};
use crate::system::clock::Timestamp;
use crate::system::random::NoChance;
use crate::token::Claims;
use crate::token::opaque::{OpaqueToken, Secret, TokenKind};
use crate::value::account_name::AccountName;
use crate::value::id::{FamilyId, SessionId, hex};
use crate::value::network::Network;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Client {
    /// The address, after trusted proxies.
    pub address: IpAddr,
    /// What it calls itself, cut short.
    pub user_agent: Box<str>,
    /// The request, as its answer names it.
    pub request_id: Box<str>,
    /// How its network stands, once it was charged.
    pub standing: Cell<Option<Standing>>,
}

impl Client {
    /// A client of that address.
    pub fn new(address: IpAddr, user_agent: &str) -> Self {
        let user_agent: String = user_agent.chars().filter(|c| !c.is_control()).take(120).collect();
        Self { address, user_agent: user_agent.into(), request_id: "".into(), standing: Cell::new(None) }
    }

    /// With the id of its request.
    #[must_use]
    pub fn asking(mut self, request_id: &str) -> Self {
        self.request_id = request_id.into();
        self
    }

    /// An event of this client.
    pub fn note(&self, event: Event) -> Note {
        Note::new(event).from(self.network(), &self.request_id)
    }

    /// Where its passwords wait: networks of one lane take turns, by the widest net, since who owns a /48 owns 65,536 of
    /// /64.
    pub fn place(&self, lane: Lane) -> Place {
        Place { lane, network: Network::of(self.address).widest().to_net() }
    }

    /// The network it is limited by.
    pub fn network(&self) -> String {
        Network::of(self.address).to_net().to_string()
    }
}

/// An expected answer to an unwelcome request.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is; the answers stand in http/problem.rs")]
pub enum Refusal {
    #[error("too many requests from this network")]
    Throttled { wait: Duration },
    #[error("too many attempts for this account name")]
    Locked { until: Timestamp },
    #[error("unknown name or wrong password")]
    InvalidCredentials,
    #[error("the address is not proved yet")]
    EmailNotVerified,
    #[error("the account is disabled")]
    AccountDisabled,
    #[error("invalid or expired mailed token")]
    InvalidMailedToken,
    #[error("the password is too weak")]
    WeakPassword { pointer: &'static str, found: Vec<Weakness> },
    #[error("sign-up is switched off")]
    SignupDisabled,
    #[error("the address has an account")]
    EmailTaken,
    #[error("the address was changed lately")]
    EmailChangedLately,
    #[error("no such refresh token")]
    InvalidRefreshToken,
    #[error("the refresh token was used before")]
    RefreshTokenReused,
    #[error("the session is over")]
    SessionExpired,
    #[error("no valid credential")]
    Unauthenticated,
    #[error("the role is missing")]
    InsufficientRole,
    #[error("no such thing")]
    NotFound,
    #[error("the request may come from another site")]
    CsrfRejected,
    #[error("two kinds of credential at once")]
    AmbiguousCredentials,
    #[error("a field is not acceptable")]
    Field { pointer: &'static str, code: &'static str, message: String },
}

/// Why a flow ends early.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// An answer.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A promise that cannot be kept now.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<NoChance> for Stop {
    fn from(error: NoChance) -> Self {
        Self::Fault(error.into())
    }
}

impl From<NoRoom> for Stop {
    fn from(error: NoRoom) -> Self {
        Self::Fault(error.into())
    }
}

/// Reads an address as it was typed.
pub(crate) fn parse_name(typed: &str) -> Result<AccountName, Refusal> {
    AccountName::parse(typed).map_err(|error| Refusal::Field {
        pointer: "/email",
        code: "invalid_email",
        message: error.to_string(),
    })
}

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
        /// For the page that holds it.
        csrf_token: String,
    },
}

/// What was opened for somebody, with the secret that only they get.
pub(crate) enum Issued {
    Family(FamilyV1, Secret),
    Session(SessionV1, Secret),
}

impl Engine {
    /// As [`Engine::beside_owners`], for a part of what a client asks for.
    pub(crate) async fn beside<T: Send + 'static>(
        self: &Arc<Self>,
        client: &Client,
        work: impl AsyncFnOnce(&Self, &Client) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let (engine, its_client) = (Arc::clone(self), client.clone());
        let done = self.beside_owners(move || async move {
            let done = work(&engine, &its_client).await;
            (done, its_client.standing.get())
        });
        let (done, standing) = done.await?;
        client.standing.set(standing);
        Ok(done)
    }

    /// The throttle: charges a request to its network before any work.
    pub(crate) async fn admit(&self, class: Class, client: &Client) -> Result<Charge, Stop> {
        let (charge, standing) = self.charge(class, client.address).await?;
        client.standing.set(Some(standing));
        Ok(charge?)
    }

    /// Whether the throttle has refused the network of a client a moment ago, and would again: without a way to its owner.
    pub(crate) fn unless_refused(&self, class: Class, client: &Client) -> Result<(), Refusal> {
        let refused = self.refused.find(class, Network::of(client.address), self.clock.now());
        let Some((throttled, standing)) = refused else { return Ok(()) };
        client.standing.set(Some(standing));
        Err(self.throttled(throttled))
    }

    fn throttled(&self, throttled: Throttled) -> Refusal {
        self.tally.count(Event::Throttled);
        Refusal::Throttled { wait: throttled.wait }
    }

    /// As [`Engine::admit`], for work that does not run where the client is.
    pub(crate) async fn charge(
        &self,
        class: Class,
        address: IpAddr,
    ) -> Result<(Result<Charge, Refusal>, Standing), Fault> {
        let (network, now) = (Network::of(address), self.clock.now());
        let taken = match self.refused.find(class, network, now) {
            Some(refused) => Err(refused),
            None => {
                let eased = self.refused.eased();
                let taken = self.tell(&self.throttle, Take(class, address)).await?;
                taken.inspect_err(|refused| self.refused.keep(class, network, *refused, eased, now))
            }
        };
        Ok(match taken {
            Ok(granted) => (Ok(granted.charge), granted.standing),
            Err((throttled, standing)) => (Err(self.throttled(throttled)), standing),
        })
    }

    /// Gives back what a success was charged, and nothing else.
    pub(crate) async fn refund(&self, charge: Charge) {
        // If the limiter is gone the engine is ending, and the charge with it.
        let _ = self.tell(&self.throttle, Refund(charge)).await;
    }

    /// The one gate that every path passes which issues or honours a credential: status and epochs.
    pub(crate) fn gate(
        &self,
        account: &AccountV1,
        auth_epoch: u64,
        global_epoch: u64,
    ) -> Result<(), Refusal> {
        if account.status == Status::Disabled {
            return Err(Refusal::AccountDisabled);
        }
        if account.auth_epoch != auth_epoch || global_epoch != self.global_epoch {
            return Err(Refusal::SessionExpired);
        }
        Ok(())
    }

    /// Signs the access token of a family, which it does not outlive: who checks tokens without asking would go on with it.
    pub(crate) fn access_token(
        &self,
        account: &AccountV1,
        family: &FamilyV1,
    ) -> Result<(String, Timestamp), Stop> {
        let now = self.clock.now();
        let end = (now + self.config.access_ttl).min(Timestamp(family.idle_end_ms));
        let signer = self.signer.read();
        let claims = Claims {
            iss: signer.issuer().to_owned(),
            sub: account.account_id().to_string(),
            aud: signer.audience().to_owned(),
            exp: end.as_secs(),
            iat: now.as_secs(),
            jti: hex(&self.chance.bytes::<16>()?),
            sid: hex(&family.id),
            roles: account.roles.iter().map(ToString::to_string).collect(),
            auth_time: Timestamp(family.opened_ms).as_secs(),
            amr: vec![String::from("pwd")],
        };
        let text = signer.sign(&claims, now).map_err(Fault::from)?;
        Ok((text, Timestamp::from_secs(claims.exp)))
    }

    /// Opens a refresh-token family for somebody who has just proved who they are.
    pub(crate) async fn open_family(&self, account: &AccountV1, client: &Client) -> Result<Grant, Stop> {
        let issued = self.issue_family(account, client).await?;
        let issued = self.journal.open(issued).await.map_err(Fault::from)?;
        self.grant(account, issued)
    }

    /// As [`Engine::open_family`], before it is durable.
    pub(crate) async fn issue_family(
        &self,
        account: &AccountV1,
        client: &Client,
    ) -> Result<Sealed<Issued>, Stop> {
        let secret = Secret::mint(&self.chance)?;
        let opened = crate::registry::refresh::Opened {
            id: FamilyId::mint(account.account_id().slot(), self.chance.bytes()?),
            account: account.account_id(),
            auth_epoch: account.auth_epoch,
            global_epoch: self.global_epoch,
            digest: secret.digest(),
            network: client.network().into(),
            user_agent: client.user_agent.clone(),
        };
        let family = self.ask_sealed(&self.refresh, opened).await?;
        Ok(family.map(|family| Issued::Family(family, secret)))
    }

    /// What the client gets of what was opened for it.
    pub(crate) fn grant(&self, account: &AccountV1, issued: Issued) -> Result<Grant, Stop> {
        match issued {
            Issued::Family(family, secret) => self.token_grant(account, &family, secret),
            Issued::Session(session, secret) => {
                let token = OpaqueToken { kind: TokenKind::Session, id: session.id, generation: 0, secret };
                let csrf_token = crate::csrf::issue(&self.keys.csrf, session.id);
                Ok(Grant::Cookie { token: self.edge.write(&token), session, csrf_token })
            }
        }
    }

    pub(crate) fn token_grant(
        &self,
        account: &AccountV1,
        family: &FamilyV1,
        secret: Secret,
    ) -> Result<Grant, Stop> {
        let (access, access_end) = self.access_token(account, family)?;
        let token =
            OpaqueToken { kind: TokenKind::Refresh, id: family.id, generation: family.generation, secret };
        Ok(Grant::Tokens {
            access,
            access_end,
            refresh: self.edge.write(&token),
            refresh_end: Timestamp(family.idle_end_ms),
            family: FamilyId::from_bytes(family.id).ok_or(Refusal::InvalidRefreshToken)?,
        })
    }

    /// Opens a browser session for somebody who has just proved who they are, before it is durable.
    pub(crate) async fn issue_session(
        &self,
        account: &AccountV1,
        remember: bool,
        client: &Client,
    ) -> Result<Sealed<Issued>, Stop> {
        let secret = Secret::mint(&self.chance)?;
        let opened = crate::registry::session::Opened {
            id: SessionId::mint(account.account_id().slot(), self.chance.bytes()?),
            account: account.account_id(),
            auth_epoch: account.auth_epoch,
            global_epoch: self.global_epoch,
            digest: secret.digest(),
            remember,
            network: client.network().into(),
            user_agent: client.user_agent.clone(),
        };
        let session = self.ask_sealed(&self.sessions, opened).await?;
        Ok(session.map(|session| Issued::Session(session, secret)))
    }

    /// A device cookie for somebody who has just proved who they are.
    pub(crate) fn device_cookie(&self, name: &AccountName) -> Result<String, Stop> {
        let key = name.key(&self.keys.directory);
        Ok(device::issue(&self.keys.device, key, self.chance.bytes()?))
    }
}
