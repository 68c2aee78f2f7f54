//! Refresh: check of the tag, rotation, gate, signature.

use std::net::IpAddr;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Client, Opened, Refusal, Stop};
use crate::account::AccountV1;
use crate::account::actor::ById;
use crate::audit::Event;
use crate::engine::{Engine, Fault};
use crate::id::{AccountId, FamilyId};
use crate::mail::Kind;
use crate::refresh::{self, Cause, FamilyV1, Rotate, Rotated};
use crate::secret::{Secret, SecretDigest, TokenKind};
use crate::throttle::Standing;
use crate::throttle::table::Class;
use crate::token::revoked::Ended;

/// A refresh token is presented for a new pair.
///
/// All that asks the owners runs on their thread; the signature, which costs most, on the caller's.
pub async fn refresh(engine: &Arc<Engine>, client: &Client, token: &str) -> Result<Opened, Stop> {
    let turn =
        Turn { address: client.address, network: client.network(), token: Zeroizing::new(token.to_owned()) };
    let its_engine = Arc::clone(engine);
    let (turned, standing) = engine.beside_owners(async move { turn.run(&its_engine).await }).await??;
    client.standing.set(Some(standing));
    let (account, family, secret) = turned?;
    let grant = engine.token_grant(&account, &family, secret)?;
    Ok(Opened { account, grant, device: None })
}

struct Turn {
    address: IpAddr,
    network: String,
    token: Zeroizing<String>,
}

type Turned = (AccountV1, FamilyV1, Secret);

impl Turn {
    async fn run(self, engine: &Engine) -> Result<(Result<Turned, Stop>, Standing), Fault> {
        let (charge, standing) = engine.charge(Class::Refresh, self.address).await?;
        let turned = match charge {
            Ok(_) => self.rotate(engine).await,
            Err(refusal) => Err(refusal.into()),
        };
        Ok((turned, standing))
    }

    /// Check of the tag, rotation, gate.
    async fn rotate(self, engine: &Engine) -> Result<Turned, Stop> {
        let presented =
            engine.edge.read(TokenKind::Refresh, &self.token).map_err(|_| Refusal::InvalidRefreshToken)?;
        let id = FamilyId::from_bytes(presented.id).ok_or(Refusal::InvalidRefreshToken)?;
        let next = Secret::mint(&engine.chance)?;
        let rotate = Rotate {
            id,
            generation: presented.generation,
            digest: presented.secret.digest(),
            next_digest: next.digest(),
            next_sealed: presented.secret.seal_successor(&next),
        };
        let (family, secret) = match engine.ask(&engine.refresh, rotate).await? {
            Ok(Rotated::Fresh(family)) => {
                engine.tally.note(Event::RefreshRotated, &id, &self.network);
                (family, next)
            }
            Ok(Rotated::Again(family, sealed)) => {
                engine.tally.note(Event::RefreshReplayed, &id, &self.network);
                let digest = SecretDigest(family.digest);
                let opened = presented.secret.open_successor(&sealed, &digest);
                (family, opened.ok_or(Refusal::InvalidRefreshToken)?)
            }
            Err(refresh::Refusal::Reused) => {
                engine.tally.note(Event::RefreshReused, &id, &self.network);
                engine.revoked.push(Ended::Sid(id.to_string()), engine.clock.now());
                tell_owner(engine, id).await?;
                return Err(Refusal::RefreshTokenReused.into());
            }
            Err(refresh::Refusal::EndedForReuse) => return Err(Refusal::RefreshTokenReused.into()),
            Err(refresh::Refusal::Expired | refresh::Refusal::Revoked) => {
                return Err(Refusal::SessionExpired.into());
            }
            Err(refresh::Refusal::Unknown) => return Err(Refusal::InvalidRefreshToken.into()),
        };
        match account_of(engine, &family).await? {
            Ok(account) => Ok((account, family, secret)),
            Err(refusal) => {
                engine.end_family(id, Cause::Revoked).await?;
                Err(refusal.into())
            }
        }
    }
}

/// The account of a family, if the gate lets it pass.
pub(super) async fn account_of(
    engine: &Engine,
    family: &FamilyV1,
) -> Result<Result<AccountV1, Refusal>, Stop> {
    let Some(id) = AccountId::from_bytes(family.account) else { return Ok(Err(Refusal::SessionExpired)) };
    let account = engine.ask(&engine.accounts, ById(id)).await?;
    let passed = account.ok_or(Refusal::SessionExpired).and_then(|account| {
        Engine::gate(&account, family.auth_epoch, family.global_epoch)?;
        Ok(account)
    });
    Ok(passed.map_err(|_| Refusal::SessionExpired))
}

/// One mail when a family is ended for reuse; a family that was ended before mails nobody again.
async fn tell_owner(engine: &Engine, id: FamilyId) -> Result<(), Stop> {
    let ended = engine.ask(&engine.refresh, refresh::actor::Get(id)).await?;
    let Some(account) = ended.and_then(|family| AccountId::from_bytes(family.account)) else { return Ok(()) };
    let account = engine.ask(&engine.accounts, ById(account)).await?;
    engine.post(id.slot(), account.as_ref(), Kind::RefreshReused, None).await
}
