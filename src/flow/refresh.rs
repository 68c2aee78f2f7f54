//! Refresh: check of the tag, rotation, gate, signature.

use super::{Client, Grant, Opened, Refusal, Stop};
use crate::account::AccountV1;
use crate::account::actor::ById;
use crate::audit::Event;
use crate::engine::Engine;
use crate::id::{AccountId, FamilyId};
use crate::mail::Kind;
use crate::refresh::{self, Cause, FamilyV1, Rotate, Rotated, actor::End};
use crate::secret::{Secret, SecretDigest, TokenKind};
use crate::throttle::table::Class;

/// A refresh token is presented for a new pair.
pub async fn refresh(engine: &Engine, client: &Client, token: &str) -> Result<Opened, Stop> {
    engine.admit(Class::Refresh, client).await?;
    let presented = engine.edge.read(TokenKind::Refresh, token).map_err(|_| Refusal::InvalidRefreshToken)?;
    let id = FamilyId::from_bytes(presented.id).ok_or(Refusal::InvalidRefreshToken)?;
    let next = Secret::mint(&engine.chance)?;
    let rotate = Rotate {
        id,
        generation: presented.generation,
        digest: presented.secret.digest(),
        next_digest: next.digest(),
        next_sealed: presented.secret.seal_successor(&next),
    };
    let rotated = engine.ask(&engine.refresh, rotate).await?;
    let network = client.network();
    let (family, secret) = match rotated {
        Ok(Rotated::Fresh(family)) => {
            engine.tally.note(Event::RefreshRotated, &id, &network);
            (family, next)
        }
        Ok(Rotated::Again(family, sealed)) => {
            engine.tally.note(Event::RefreshReplayed, &id, &network);
            let digest = SecretDigest(family.digest);
            let secret =
                presented.secret.open_successor(&sealed, &digest).ok_or(Refusal::InvalidRefreshToken)?;
            (family, secret)
        }
        Err(refresh::Refusal::Reused) => {
            engine.tally.note(Event::RefreshReused, &id, &network);
            tell_owner(engine, id).await?;
            return Err(Refusal::RefreshTokenReused.into());
        }
        Err(refresh::Refusal::EndedForReuse) => return Err(Refusal::RefreshTokenReused.into()),
        Err(refresh::Refusal::Expired | refresh::Refusal::Revoked) => {
            return Err(Refusal::SessionExpired.into());
        }
        Err(refresh::Refusal::Unknown) => return Err(Refusal::InvalidRefreshToken.into()),
    };
    let account = match account_of(engine, &family).await? {
        Ok(account) => account,
        Err(refusal) => {
            engine.ask(&engine.refresh, End(id, Cause::Revoked)).await?;
            return Err(refusal.into());
        }
    };
    let grant: Grant = engine.token_grant(&account, &family, secret)?;
    Ok(Opened { account, grant, device: None })
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
