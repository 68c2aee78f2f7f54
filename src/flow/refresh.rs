//! Refresh: check the token's tag, charge the network, rotate the family, pass the gate, sign a new pair.

use std::sync::Arc;

use super::admission::Outcome;
use super::client::Client;
use super::grant::Opened;
use super::post::Addressee;
use super::refusal::{FlowError, Refusal};
use crate::audit::event::Event;
use crate::engine::{Engine, Fault};
use crate::journal::append::handle::Sealed;
use crate::registry::account::AccountV3;
use crate::registry::account::actor::ById;
use crate::registry::outbox::Kind;
use crate::registry::refresh::record::SpentByV1;
use crate::registry::refresh::{self, Cause, FamilyV3, Rotate, Rotated};
use crate::registry::session::agent;
use crate::registry::throttle::Charge;
use crate::registry::throttle::class::Class;
use crate::system::random::NoRandomness;
use crate::token::opaque::{OpaqueToken, Secret, SecretDigest, TokenKind};
use crate::value::id::FamilyId;
use crate::value::network::Network;

/// Exchanges a refresh token for a new pair.
///
/// All messages to the actors are sent from their own thread, in one round trip. The signature, which costs most, is
/// made on the caller's thread while the rotation is being committed.
pub async fn refresh(engine: &Arc<Engine>, client: &Client, token: &str) -> Outcome<Opened> {
    if let Some(refused) = engine.refused_from_cache(Class::Refresh, client) {
        return refused;
    }
    let presented = engine.services.edge.read(TokenKind::Refresh, token).ok();
    let prepared =
        match presented.map(|presented| PresentedToken::prepare(engine, client, presented)).transpose() {
            Ok(prepared) => prepared.flatten(),
            Err(no_randomness) => return Outcome::failed(no_randomness),
        };
    let (presented, rotate) = prepared.unzip();
    let address = client.address;
    let its_engine = Arc::clone(engine);
    let work = async move || {
        let admission = its_engine.admit(Class::Refresh, address).await;
        let rotated = admission.then(async |charge| match rotate {
            Some(rotate) => Ok(Some(rotate_family(&its_engine, rotate, charge).await?)),
            None => Ok(None),
        });
        let rotated = rotated.await;
        if let Ok(Some(rotation)) = &rotated.result {
            its_engine.journal.begin(rotation);
        }
        rotated
    };
    let rotated = engine.on_owner_thread(work).await.unwrap_or_else(Outcome::failed);
    rotated
        .then(async |rotation| {
            let (presented, rotation) = presented.zip(rotation).ok_or(Refusal::InvalidRefreshToken)?;
            finish(engine, client, presented, rotation).await
        })
        .await
}

/// Signs the new pair while the rotation is being committed, waits for the commit, then records what happened.
async fn finish(
    engine: &Engine,
    client: &Client,
    presented: PresentedToken,
    rotation: Sealed<Rotation>,
) -> Result<Opened, FlowError> {
    let id = presented.family;
    let answer = rotation.map(|rotation| presented.exchange(engine, rotation));
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
            Box::pin(engine.refresh.ask(refresh::actor::End { id, cause: Cause::Revoked })).await?;
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
    account: Option<AccountV3>,
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
    /// Mints the successor of `token`. Returns `None` if the id in the token is not that of a family.
    fn prepare(
        engine: &Engine,
        client: &Client,
        token: OpaqueToken,
    ) -> Result<Option<(Self, Rotate)>, NoRandomness> {
        let Some(family) = FamilyId::from_bytes(token.id) else { return Ok(None) };
        let next = Secret::mint(&engine.services.random)?;
        let rotate = Rotate {
            id: family,
            generation: token.generation,
            digest: token.secret.digest(),
            next_digest: next.digest(),
            next_sealed: token.secret.seal_successor(&next),
            by: SpentByV1::new(Network::of(client.address), agent::family(&client.user_agent)),
        };
        Ok(Some((Self { family, token, next }, rotate)))
    }

    /// Passes the gate and signs the new pair, if the registry rotated the family.
    fn exchange(self, engine: &Engine, rotation: Rotation) -> Answer {
        let (event, family, secret) = match rotation.rotated {
            Ok(Rotated::Fresh { family, .. }) => (Event::RefreshRotated, family, Some(self.next)),
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
            let grant = engine.token_grant(&account, &family, secret).map_err(Denied::Fault)?;
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
///
/// A family that is refreshed seldom costs its network nothing: many of them may be behind one address.
async fn rotate_family(engine: &Engine, rotate: Rotate, charge: Charge) -> Result<Sealed<Rotation>, Fault> {
    let rotated = engine.refresh.ask_sealed(rotate).await?;
    let with_account = rotated.then(async |rotated| {
        let (family, is_seldom) = match rotated {
            Ok(Rotated::Fresh { family, is_seldom }) => (family, *is_seldom),
            Ok(Rotated::Again(family, _)) => (family, false),
            Err(_) => return Ok(Sealed::new(None, 0)),
        };
        if is_seldom {
            engine.refund(charge, family.id.to_bytes()).await;
        }
        engine.accounts.ask_sealed(ById { id: family.account }).await
    });
    Ok(with_account.await?.map(|(rotated, account)| Rotation { rotated, account }))
}

/// Returns the account of a family.
///
/// Errors: [`Refusal::SessionExpired`] if the account is gone or does not pass the gate.
pub(super) async fn account_of(engine: &Engine, family: &FamilyV3) -> Result<AccountV3, FlowError> {
    let account = engine.accounts.ask(ById { id: family.account }).await?;
    Ok(pass_gate(engine, account, family)?)
}

/// Checks that the account of a family is there and passes the gate.
fn pass_gate(engine: &Engine, account: Option<AccountV3>, family: &FamilyV3) -> Result<AccountV3, Refusal> {
    let account = account.ok_or(Refusal::SessionExpired)?;
    engine.gate(&account, family.auth_epoch, family.global_epoch).map_err(|_| Refusal::SessionExpired)?;
    Ok(account)
}

/// Mails the owner that a refresh token was reused. Sent once, when the reuse ends the family.
async fn tell_owner(engine: &Engine, id: FamilyId) -> Result<(), FlowError> {
    let ended = engine.refresh.ask(refresh::actor::Get { id }).await?;
    let Some(family) = ended else { return Ok(()) };
    let account = engine.accounts.ask(ById { id: family.account }).await?;
    let Some(account) = account else { return Ok(()) };
    engine.post(Addressee::owner(&account), Kind::RefreshReused).await
}
