//! Authentication of a request: its access token or session cookie, checked against the current state of the
//! registries.

use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::keys::api_key;
use super::refusal::{FlowError, Refusal};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::engine::credential_cache::CredentialDigest;
pub use crate::engine::credential_cache::{Held, Identity, TokenTimes};
use crate::registry::account::AccountV4;
use crate::registry::account::actor::ById;
use crate::registry::refresh::{self, Audience, FamilyV3};
use crate::registry::session::{self, agent};
use crate::system::clock::Timestamp;
use crate::token::opaque::TokenKind;
use crate::value::id::{AccountId, FamilyId, SessionId};

/// A credential that a request presents. Whether it is good is not known yet.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// An access token.
    Bearer(&'a str),
    /// A session cookie.
    Cookie(&'a str),
}

impl Credential<'_> {
    /// Returns a digest of the credential, as `client` presents it.
    pub(super) fn digest(self, client: &Client) -> CredentialDigest {
        match self {
            Self::Bearer(token) => CredentialDigest::of_bearer(token),
            Self::Cookie(token) => CredentialDigest::of_cookie(token, agent::family(&client.user_agent)),
        }
    }
}

impl Identity {
    /// Checks that the account has one of the roles.
    pub(crate) fn check_role(&self, roles: &[&str]) -> Result<(), Refusal> {
        if roles.iter().any(|role| self.has_role(role)) { Ok(()) } else { Err(Refusal::InsufficientRole) }
    }

    /// Checks that the credential is one for the administrators' endpoints: a cookie, which no other server ever sees, or
    /// an access token for that audience alone. A resource server that an administrator visits has another one.
    pub(crate) fn is_for_admin(&self) -> Result<(), Refusal> {
        match &self.held {
            Held::Family(FamilyV3 { audience: Audience::App, .. }) => Err(Refusal::WrongAudience),
            Held::Family(_) | Held::Session(_) => Ok(()),
        }
    }

    /// Checks that the user has proved who they are a moment ago, before an act that a stolen session must not be able
    /// to do.
    ///
    /// Source: RFC 9470; OWASP ASVS 5.0, 7.5.3.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> Result<(), Refusal> {
        if now.since(self.proved()) < FRESH_FOR { Ok(()) } else { Err(Refusal::StepUpRequired) }
    }
}

/// How long a proof of who the user is counts as fresh.
pub const FRESH_FOR: Duration = Duration::from_mins(15);

/// Returns who holds an access token, if the credential cache knows it. Sends no message to an actor.
pub fn cached_bearer(engine: &Engine, token: &str) -> Option<Arc<Identity>> {
    engine.find_verified(CredentialDigest::of_bearer(token), engine.clock.system_now())
}

/// Returns who holds an access token: checks its signature, then that its family is alive and its account passes the
/// gate. `sent_by` is the client that logs in with the token, if one does.
pub async fn bearer(
    engine: &Engine,
    token: &str,
    sent_by: Option<&Client>,
) -> Result<Arc<Identity>, FlowError> {
    if token.starts_with(api_key::PREFIX) {
        return Err(api_key::refuse(engine, token, sent_by).await);
    }
    // The times in a token are the system's, and those of its family may be ahead of it.
    let now = engine.clock.system_now();
    let ahead = engine.clock.ahead();
    let digest = CredentialDigest::of_bearer(token);
    if let Some(identity) = engine.find_verified(digest, now) {
        return Ok(identity);
    }
    let claims = engine.check_token(token, sent_by)?;
    let id: FamilyId = claims.sid.parse().map_err(|_| Refusal::Unauthenticated)?;
    let mark = engine.write_counts.stamp(&id.to_bytes(), 0);
    let family = engine.refresh.ask(refresh::actor::Alive { id }).await?;
    let family = family.ok_or(Refusal::Unauthenticated)?;
    let mark = mark.with_owner(engine.write_counts.count(&family.account.to_bytes()));
    let account = live_account(engine, family.account, family.auth_epoch, family.global_epoch).await?;
    let is_of_family = account.account_id().to_string() == claims.sub && {
        let signer = engine.services.signer.read();
        let audience = match family.audience {
            Audience::App => signer.audience(),
            Audience::Admin => signer.admin_audience(),
        };
        claims.aud == audience
    };
    // A token from before the account lost a role still has it.
    if !is_of_family || claims.iat < account.tokens_from_secs {
        return Err(Refusal::Unauthenticated.into());
    }
    let until = (Timestamp(family.idle_end_ms) - ahead).min(Timestamp::from_secs(claims.exp));
    let proved = Timestamp::from_secs(claims.auth_time) + ahead;
    let times = Some(TokenTimes { exp: claims.exp, iat: claims.iat, proved });
    let identity = Arc::new(Identity { account, held: Held::Family(family), times });
    engine.credential_cache.keep(digest, Arc::clone(&identity), mark, until, now);
    Ok(identity)
}

/// Returns who holds a session cookie, if the credential cache knows it as one of this client's browser. Sends no
/// message to an actor.
pub fn cached_cookie(engine: &Engine, token: &str, client: &Client) -> Option<Arc<Identity>> {
    engine.find_verified(Credential::Cookie(token).digest(client), engine.clock.now())
}

/// Returns who holds a session cookie that `client` sent: checks that it is alive, that it comes from the browser it
/// was issued to, and that its account passes the gate.
pub async fn cookie(engine: &Engine, token: &str, client: &Client) -> Result<Arc<Identity>, FlowError> {
    let now = engine.clock.now();
    let digest = Credential::Cookie(token).digest(client);
    if let Some(identity) = engine.find_verified(digest, now) {
        return Ok(identity);
    }
    let read = engine.services.edge.read(TokenKind::Session, token).map_err(|_| Refusal::Unauthenticated)?;
    let id = SessionId::from_bytes(read.id).ok_or(Refusal::Unauthenticated)?;
    let mark = engine.write_counts.stamp(&id.to_bytes(), 0);
    let session = engine.sessions.ask(session::actor::Touch { id, digest: read.secret.digest() }).await?;
    let session = session.ok_or(Refusal::Unauthenticated)?;
    if agent::family(&session.user_agent) != agent::family(&client.user_agent) {
        // It may have been copied, so this browser must log in again. It stays valid in the browser that opened it.
        engine.record(client.note(Event::SessionMoved).about(&id));
        return Err(Refusal::Unauthenticated.into());
    }
    let mark = mark.with_owner(engine.write_counts.count(&session.account));
    let owner = AccountId::from_bytes(session.account).ok_or(Refusal::Unauthenticated)?;
    let account = live_account(engine, owner, session.auth_epoch, session.global_epoch).await?;
    // After `use_written_until` the use of the session must be recorded again, so the cache forgets it then.
    let until = session.end().min(session.use_written_until());
    let identity = Arc::new(Identity { account, held: Held::Session(session), times: None });
    engine.credential_cache.keep(digest, Arc::clone(&identity), mark, until, now);
    Ok(identity)
}

impl Engine {
    /// Returns the identity of a credential from the cache, unless a write since could have changed the answer.
    fn find_verified(&self, digest: CredentialDigest, now: Timestamp) -> Option<Arc<Identity>> {
        self.credential_cache.find(digest, now, |identity| {
            let owner = self.write_counts.count(&identity.account.id.to_bytes());
            self.write_counts.stamp(&identity.sid(), owner)
        })
    }
}

/// Ends the session of a cookie that its browser has just replaced. A cookie that is not valid ends nothing.
pub(super) async fn replace(engine: &Engine, token: &str) -> Result<(), FlowError> {
    let Ok(read) = engine.services.edge.read(TokenKind::Session, token) else { return Ok(()) };
    let Some(id) = SessionId::from_bytes(read.id) else { return Ok(()) };
    if engine.sessions.ask(session::actor::Touch { id, digest: read.secret.digest() }).await?.is_some() {
        engine.sessions.ask(session::actor::End { id }).await?;
    }
    Ok(())
}

/// Returns the account of a credential.
///
/// Errors: [`Refusal::Unauthenticated`] if it is gone or does not pass the gate.
pub(super) async fn live_account(
    engine: &Engine,
    id: AccountId,
    auth_epoch: u64,
    global_epoch: u64,
) -> Result<AccountV4, FlowError> {
    let account = engine.accounts.ask(ById { id }).await?.ok_or(Refusal::Unauthenticated)?;
    engine.gate(&account, auth_epoch, global_epoch).map_err(|_| Refusal::Unauthenticated)?;
    Ok(account)
}

/// The description of a valid token that a resource server gets.
pub struct Introspected {
    /// The account.
    pub sub: AccountId,
    /// The session or family that the token belongs to.
    pub sid: [u8; 16],
    /// The roles of the account.
    pub roles: Vec<Box<str>>,
    /// When the token expires, in seconds since 1970.
    pub exp: u64,
    /// When it was issued, in seconds since 1970.
    pub iat: u64,
    /// `access_token` or `refresh_token`.
    pub token_type: &'static str,
    /// The audience of access tokens of its family.
    pub audience: Audience,
}

/// Returns what is known of a valid token. Ended and unknown tokens both return `None`. The caller must have been checked
/// for the role or scope.
pub async fn introspect(engine: &Engine, token: &str) -> Result<Option<Introspected>, FlowError> {
    if token.starts_with("pcr_") {
        return introspect_refresh(engine, token).await;
    }
    match bearer(engine, token, None).await {
        Ok(identity) => Ok(identity.times.map(|times| Introspected {
            sub: identity.account.account_id(),
            sid: identity.sid(),
            roles: identity.account.roles.clone(),
            exp: times.exp,
            iat: times.iat,
            token_type: "access_token",
            audience: identity.held.audience(),
        })),
        Err(FlowError::Refused(_)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

async fn introspect_refresh(engine: &Engine, token: &str) -> Result<Option<Introspected>, FlowError> {
    let Ok(read) = engine.services.edge.read(TokenKind::Refresh, token) else { return Ok(None) };
    let Some(id) = FamilyId::from_bytes(read.id) else { return Ok(None) };
    let family = engine.refresh.ask(refresh::actor::Alive { id }).await?;
    let live = |family: &FamilyV3| {
        family.generation == read.generation
            && crate::token::opaque::SecretDigest(family.digest) == read.secret.digest()
    };
    let Some(family) = family.filter(live) else { return Ok(None) };
    let account = match super::refresh::account_of(engine, &family).await {
        Ok(account) => account,
        Err(FlowError::Refused(_)) => return Ok(None),
        Err(fault) => return Err(fault),
    };
    Ok(Some(Introspected {
        sub: account.account_id(),
        sid: family.id.to_bytes(),
        roles: account.roles,
        exp: engine.clock.in_system(Timestamp(family.idle_end_ms)).as_secs(),
        iat: engine.clock.in_system(Timestamp(family.rotated_ms)).as_secs(),
        token_type: "refresh_token",
        audience: family.audience,
    }))
}
