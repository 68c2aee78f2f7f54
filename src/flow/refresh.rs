//! Refresh: check of the tag, rotation, gate, signature.

use std::sync::Arc;

use super::client::Client;
use super::grant::Opened;
use super::post::Addressee;
use super::refusal::{FlowError, Refusal};
use crate::audit::event::{Event, Note};
use crate::engine::{Engine, Fault};
use crate::journal::append::handle::Sealed;
use crate::registry::account::AccountV1;
use crate::registry::account::actor::ById;
use crate::registry::outbox::Kind;
use crate::registry::refresh::{self, Cause, FamilyV1, Rotate, Rotated};
use crate::registry::throttle::class::Class;
use crate::token::opaque::{OpaqueToken, Secret, SecretDigest, TokenKind};
use crate::value::id::FamilyId;

/// A refresh token is presented for a new pair.
///
/// All that asks the owners runs on their thread; the signature, which costs most, on the caller's, while the commit runs.
pub async fn refresh(engine: &Arc<Engine>, client: &Client, token: &str) -> Result<Opened, FlowError> {
    engine.unless_refused(Class::Refresh, client)?;
    let presented = engine.services.edge.read(TokenKind::Refresh, token).ok();
    let turn = presented.map(|presented| Turn::new(engine, presented)).transpose()?.flatten();
    let (turn, rotate) = turn.unzip();
    let (address, its_engine) = (client.address, Arc::clone(engine));
    let asked = async move || {
        let (charge, live_account) = its_engine.charge(Class::Refresh, address).await?;
        let rotated = match (&charge, rotate) {
            (Ok(_), Some(rotate)) => Some(rotated(&its_engine, rotate).await?),
            _ => None,
        };
        if let Some(rotated) = &rotated {
            its_engine.journal.begin(rotated);
        }
        Ok::<_, Fault>((charge, live_account, rotated))
    };
    let (charge, live_account, rotated) = engine.on_owner_thread(asked).await??;
    client.standing.set(Some(live_account));
    charge?;
    let (turn, sealed) = turn.zip(rotated).ok_or(Refusal::InvalidRefreshToken)?;
    let id = turn.id;
    // What comes of it waits for the commit; that it is worked out meanwhile lets nothing out.
    let sealed = sealed.map(|(rotated, account)| turn.granted(engine, rotated, account));
    let (event, granted) = engine.journal.open(sealed).await.map_err(Fault::from)?;
    if let Some(event) = event {
        engine.record(Note::new(event).about(&id).from(client.network(), ""));
    }
    match granted {
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
        Err(Denied::Fault(stop)) => Err(stop),
    }
}

/// A token whose tag was right, and what would follow it.
struct Turn {
    id: FamilyId,
    presented: OpaqueToken,
    next: Secret,
}

/// Why a turn gives nothing.
enum Denied {
    Refused(Refusal),
    /// The owner is to be told.
    Reused,
    /// The gate lets the account pass no longer: the family is to end with it.
    ByAccount(Refusal),
    Fault(FlowError),
}

type Rotation = (Result<Rotated, refresh::Refusal>, Option<AccountV1>);

impl Turn {
    fn new(engine: &Engine, presented: OpaqueToken) -> Result<Option<(Self, Rotate)>, FlowError> {
        let Some(id) = FamilyId::from_bytes(presented.id) else { return Ok(None) };
        let next = Secret::mint(&engine.services.random)?;
        let rotate = Rotate {
            id,
            generation: presented.generation,
            digest: presented.secret.digest(),
            next_digest: next.digest(),
            next_sealed: presented.secret.seal_successor(&next),
        };
        Ok(Some((Self { id, presented, next }, rotate)))
    }

    /// The gate, then the new pair; and what is to be noted of it.
    fn granted(
        self,
        engine: &Engine,
        rotated: Result<Rotated, refresh::Refusal>,
        account: Option<AccountV1>,
    ) -> (Option<Event>, Result<Opened, Denied>) {
        let (event, family, secret) = match rotated {
            Ok(Rotated::Fresh(family)) => (Event::RefreshRotated, family, Some(self.next)),
            Ok(Rotated::Again(family, sealed)) => {
                let digest = SecretDigest(family.digest);
                (Event::RefreshReplayed, family, self.presented.secret.open_successor(&sealed, &digest))
            }
            Err(refresh::Refusal::Reused) => return (Some(Event::RefreshReused), Err(Denied::Reused)),
            Err(refused) => {
                let refusal = match refused {
                    refresh::Refusal::Reused | refresh::Refusal::EndedForReuse => Refusal::RefreshTokenReused,
                    refresh::Refusal::Expired | refresh::Refusal::Revoked => Refusal::SessionExpired,
                    refresh::Refusal::Unknown => Refusal::InvalidRefreshToken,
                };
                return (None, Err(Denied::Refused(refusal)));
            }
        };
        let granted = || {
            let secret = secret.ok_or(Denied::Refused(Refusal::InvalidRefreshToken))?;
            let account = passed(engine, account, &family).map_err(Denied::ByAccount)?;
            let grant = engine.token_grant(&account, &family, secret).map_err(Denied::Fault)?;
            Ok(Opened { account, grant, device: None })
        };
        (Some(event), granted())
    }
}

/// Rotation, then the account that the family belongs to.
async fn rotated(engine: &Engine, rotate: Rotate) -> Result<Sealed<Rotation>, Fault> {
    let rotated = engine.refresh.ask_sealed(rotate).await?;
    let with_account = rotated.then(async |rotated| match rotated {
        Ok(Rotated::Fresh(family) | Rotated::Again(family, _)) => {
            engine.accounts.ask_sealed(ById { id: family.account }).await
        }
        Err(_) => Ok(Sealed::new(None, 0)),
    });
    with_account.await
}

/// The account of a family, if the gate lets it pass.
pub(super) async fn account_of(
    engine: &Engine,
    family: &FamilyV1,
) -> Result<Result<AccountV1, Refusal>, FlowError> {
    let account = engine.accounts.ask(ById { id: family.account }).await?;
    Ok(passed(engine, account, family))
}

/// The gate.
fn passed(engine: &Engine, account: Option<AccountV1>, family: &FamilyV1) -> Result<AccountV1, Refusal> {
    let account = account.ok_or(Refusal::SessionExpired)?;
    engine.gate(&account, family.auth_epoch, family.global_epoch).map_err(|_| Refusal::SessionExpired)?;
    Ok(account)
}

/// One mail when a family is ended for reuse; a family that was ended before mails nobody again.
async fn tell_owner(engine: &Engine, id: FamilyId) -> Result<(), FlowError> {
    let ended = engine.refresh.ask(refresh::actor::Get { id }).await?;
    let Some(family) = ended else { return Ok(()) };
    let account = engine.accounts.ask(ById { id: family.account }).await?;
    let Some(account) = account else { return Ok(()) };
    engine.post(Addressee::owner(&account), Kind::RefreshReused).await
}
