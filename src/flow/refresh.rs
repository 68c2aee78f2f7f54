//! Refresh: check the token's tag, charge its account, rotate the family, pass the gate, sign a new pair.
//!
//! **The attack:** whoever shares an address with honest clients sends garbage until their refreshes are refused.
//!
//! **The rule:** a token of a live family is charged to its account, and to no network. Its tag cannot be forged, and is
//! checked before anything else. All other tokens are charged to the network.

use std::sync::Arc;

use super::admission::{Outcome, device_like};
use super::client::Client;
use super::grant::Opened;
use super::post::Addressee;
use super::refusal::{FlowError, Refusal};
use crate::audit::event::Event;
use crate::engine::hooks::{AddedClaims, ClaimsReason, CredentialKind};
use crate::engine::{Engine, Fault};
use crate::journal::append::handle::Sealed;
use crate::registry::account::AccountV4;
use crate::registry::account::actor::ById;
use crate::registry::outbox::Kind;
use crate::registry::refresh::{self, Cause, FamilyV3, Rotate, Rotated};
use crate::registry::throttle::Charge;
use crate::registry::throttle::class::Class;
use crate::registry::throttle::refusal_cache::Payer;
use crate::system::random::NoRandomness;
use crate::token::opaque::{OpaqueToken, Secret, SecretDigest, TokenKind};
use crate::value::id::FamilyId;

/// Exchanges a refresh token for a new pair.
///
/// All messages to the actors are sent from their own thread, in one round trip. The signature, which costs most, is
/// made on the caller's thread while the rotation is being committed.
pub async fn refresh(engine: &Arc<Engine>, client: &Client, token: &str) -> Outcome<Opened> {
    let read = engine.services.edge.read(TokenKind::Refresh, token).ok();
    let Some((family, token)) = read.and_then(|token| Some((FamilyId::from_bytes(token.id)?, token))) else {
        return engine
            .admitted(Class::Refresh, client, async |_| Err(Refusal::InvalidRefreshToken.into()))
            .await;
    };
    if let Some(refused) = engine.refused_from_cache(Class::Refresh, payer_of(family)) {
        return refused;
    }
    let (presented, rotate) = match PresentedToken::prepare(engine, client, family, token) {
        Ok(prepared) => prepared,
        Err(no_randomness) => return Outcome::failed(no_randomness),
    };
    let work = async move |engine: &Engine, client: &Client| {
        let admission = admit(engine, client, family).await;
        let rotated = admission.then(async |_| {
            // Before the token is spent: a client that is refused keeps it.
            let added = added_claims(engine, client, family).await?;
            Ok((rotate_family(engine, rotate).await?, added))
        });
        let rotated = rotated.await;
        if let Ok((rotation, _)) = &rotated.result {
            engine.journal.begin(rotation);
        }
        rotated
    };
    let rotated = engine.on_owner_thread_for(client, work).await.unwrap_or_else(Outcome::failed);
    rotated.then(async |(rotation, added)| finish(engine, client, presented, rotation, &added).await).await
}

/// Charges a refresh to the account of `family`, or to the network of `client` if the family is not alive. Runs on the
/// actors' thread.
async fn admit(engine: &Engine, client: &Client, family: FamilyId) -> Outcome<Charge> {
    let account = match engine.refresh.ask(refresh::actor::AccountOf { id: family }).await {
        Ok(account) => account.map(device_like),
        Err(fault) => return Outcome::failed(fault),
    };
    let admission = engine.admit_for(Class::Refresh, client.address, account).await;
    if admission.result.is_err() {
        // The next one with this token is refused without a message.
        engine.refuse_like(Class::Refresh, payer_of(family), account.map_or(client.into(), Payer::Device));
    }
    admission
}

/// Returns the payer under whose name the cache refuses the tokens of `family`: who really pays is known later.
fn payer_of(family: FamilyId) -> Payer {
    let [_, _, _, _, _, _, _, _, id @ ..] = family.to_bytes();
    Payer::Device(u64::from_be_bytes(id))
}

/// Asks the hook, if there is one, whether the account of `family` may refresh, and for its claims. What is wrong with the family
/// or its account is found by the rotation and at the gate.
async fn added_claims(engine: &Engine, client: &Client, family: FamilyId) -> Result<AddedClaims, FlowError> {
    if !engine.services.has_claims_hook() {
        return Ok(AddedClaims::default());
    }
    let Some(alive) = engine.refresh.ask(refresh::actor::Alive { id: family }).await? else {
        return Ok(AddedClaims::default());
    };
    let account = engine.accounts.ask(ById { id: alive.account }).await?;
    match pass_gate(engine, account, &alive) {
        Ok(account) => {
            let (reason, kind) = (ClaimsReason::Refresh, CredentialKind::Tokens);
            engine.added_claims(&account, client, reason, kind).await
        }
        Err(_) => Ok(AddedClaims::default()),
    }
}

/// Signs the new pair while the rotation is being committed, waits for the commit, then records what happened.
async fn finish(
    engine: &Engine,
    client: &Client,
    presented: PresentedToken,
    rotation: Sealed<Rotation>,
    added: &AddedClaims,
) -> Result<Opened, FlowError> {
    let id = presented.family;
    let answer = rotation.map(|rotation| presented.exchange(engine, rotation, added));
    let Answer { event, pair } = engine.journal.open(answer).await?;
    if let Some(event) = event {
        engine.record(client.note(event).about(&id));
    }
    match pair {
        Ok(opened) => Ok(opened),
        Err(Denied::Refused(refusal)) => Err(refusal.into()),
        Err(Denied::Reused) => {
            Box::pin(tell_owner(engine, id)).await?;
            Err(Refusal::RefreshTokenReused.into())
        }
        Err(Denied::ByAccount(refusal)) => {
            Box::pin(engine.refresh.ask(refresh::actor::End { id, cause: Cause::Revoked, by: None })).await?;
            Err(refusal.into())
        }
        Err(Denied::Fault(error)) => Err(error),
    }
}

/// A refresh token whose tag is right, and the secret of its successor.
struct PresentedToken {
    family: FamilyId,
    token: OpaqueToken,
    next: Secret,
}

/// The registry's answer to a rotation, and the account that the family belongs to.
struct Rotation {
    rotated: Result<Rotated, refresh::Refusal>,
    account: Option<AccountV4>,
}

/// The event to record for a rotation, and the new pair or why there is none.
struct Answer {
    event: Option<Event>,
    pair: Result<Opened, Denied>,
}

/// The reason why a refresh token is exchanged for nothing.
enum Denied {
    Refused(Refusal),
    /// The token was reused: its owner gets a mail.
    Reused,
    /// The account no longer passes the gate: the family ends with it.
    ByAccount(Refusal),
    Fault(FlowError),
}

impl PresentedToken {
    /// Mints the successor of `token`, which names `family`.
    fn prepare(
        engine: &Engine,
        client: &Client,
        family: FamilyId,
        token: OpaqueToken,
    ) -> Result<(Self, Rotate), NoRandomness> {
        let next = Secret::mint(&engine.services.random)?;
        let rotate = Rotate {
            id: family,
            generation: token.generation,
            digest: token.secret.digest(),
            next_digest: next.digest(),
            next_sealed: token.secret.seal_successor(&next),
            by: client.spender(),
        };
        Ok((Self { family, token, next }, rotate))
    }

    /// Passes the gate and signs the new pair, if the registry rotated the family.
    fn exchange(self, engine: &Engine, rotation: Rotation, added: &AddedClaims) -> Answer {
        let (event, family, secret) = match rotation.rotated {
            Ok(Rotated::Fresh(family)) => (Event::RefreshRotated, family, Some(self.next)),
            Ok(Rotated::Again(family, sealed)) => {
                let digest = SecretDigest(family.digest);
                let successor = self.token.secret.open_successor(&sealed, &digest);
                (Event::RefreshReplayed, family, successor)
            }
            Err(refresh::Refusal::Reused) => {
                return Answer { event: Some(Event::RefreshReused), pair: Err(Denied::Reused) };
            }
            Err(refresh::Refusal::EndedForReuse) => return Answer::refused(Refusal::RefreshTokenReused),
            Err(refresh::Refusal::Expired | refresh::Refusal::Revoked) => {
                return Answer::refused(Refusal::SessionExpired);
            }
            Err(refresh::Refusal::Unknown) => return Answer::refused(Refusal::InvalidRefreshToken),
        };
        let pair = || {
            let secret = secret.ok_or(Denied::Refused(Refusal::InvalidRefreshToken))?;
            let account = pass_gate(engine, rotation.account, &family).map_err(Denied::ByAccount)?;
            let grant = engine.token_grant(&account, &family, secret, added).map_err(Denied::Fault)?;
            Ok(Opened { account, grant, device: None })
        };
        Answer { event: Some(event), pair: pair() }
    }
}

impl Answer {
    const fn refused(refusal: Refusal) -> Self {
        Self { event: None, pair: Err(Denied::Refused(refusal)) }
    }
}

/// Rotates a family and asks for the account that it belongs to. Runs on the actors' thread.
async fn rotate_family(engine: &Engine, rotate: Rotate) -> Result<Sealed<Rotation>, Fault> {
    let rotated = engine.refresh.ask_sealed(rotate).await?;
    let with_account = rotated.then(async |rotated| match rotated {
        Ok(Rotated::Fresh(family) | Rotated::Again(family, _)) => {
            engine.accounts.ask_sealed(ById { id: family.account }).await
        }
        Err(_) => Ok(Sealed::new(None, 0)),
    });
    Ok(with_account.await?.map(|(rotated, account)| Rotation { rotated, account }))
}

/// Returns the account of a family.
///
/// Errors: [`Refusal::SessionExpired`] if the account is gone or does not pass the gate.
pub(super) async fn account_of(engine: &Engine, family: &FamilyV3) -> Result<AccountV4, FlowError> {
    let account = engine.accounts.ask(ById { id: family.account }).await?;
    Ok(pass_gate(engine, account, family)?)
}

/// Checks that the account of a family is there and passes the gate.
fn pass_gate(engine: &Engine, account: Option<AccountV4>, family: &FamilyV3) -> Result<AccountV4, Refusal> {
    let account = account.ok_or(Refusal::SessionExpired)?;
    engine.gate(&account, family.auth_epoch, family.global_epoch).map_err(|_| Refusal::SessionExpired)?;
    Ok(account)
}

/// Mails the owner that a refresh token was reused. Sent once for a family.
pub(super) async fn tell_owner(engine: &Engine, id: FamilyId) -> Result<(), FlowError> {
    let ended = engine.refresh.ask(refresh::actor::Get { id }).await?;
    let Some(family) = ended else { return Ok(()) };
    let account = engine.accounts.ask(ById { id: family.account }).await?;
    let Some(account) = account else { return Ok(()) };
    engine.post(Addressee::owner(&account), Kind::RefreshReused).await
}
