//! The last look at a mail before it leaves: a link that has died while the mail waited is never delivered.

use zeroize::Zeroizing;

use crate::engine::Engine;
use crate::flow::refusal::FlowError;
use crate::registry::account::actor::ById;
use crate::registry::outbox::{MailV2, open_token};
use crate::registry::reset::actor::Release;
use crate::registry::reset::{MailedV2, Purpose};
use crate::token::opaque::TokenKind;
use crate::value::id::{AccountId, MailedId};

/// The decision about a mail that is due.
pub(crate) enum Ready {
    /// It leaves, with the token of its link if it has one.
    Leaves(Option<Zeroizing<String>>),
    /// It is dropped: its link is dead, and it says nothing else.
    Dead,
}

/// Opens the token of a mail that is due, and checks that it is still good. The life of a token whose mail had to wait
/// begins anew, so that its reader has the usual time.
pub(crate) async fn look(engine: &Engine, mail: &MailV2) -> Result<Ready, FlowError> {
    let Some(sealed) = &mail.token else { return Ok(Ready::Leaves(None)) };
    let token = engine.services.keys.outbox.find_map(|key| open_token(key, mail.id, sealed));
    let live = match &token {
        Some(token) => is_live(engine, token, mail.tries > 0).await?,
        None => false,
    };
    Ok(match token {
        Some(token) if live && mail.kind.has_link() => Ready::Leaves(Some(token)),
        _ if mail.kind.is_news_without_link() || mail.is_to_nobody() => Ready::Leaves(None),
        _ => Ready::Dead,
    })
}

async fn is_live(engine: &Engine, token: &str, restart: bool) -> Result<bool, FlowError> {
    let Ok(read) = engine.services.edge.read(TokenKind::Mailed, token) else { return Ok(false) };
    let Some(id) = MailedId::from_bytes(read.id) else { return Ok(false) };
    let Some(token) = engine.mailed.ask(Release { id, restart }).await? else { return Ok(false) };
    Ok(token.global_epoch == engine.global_epoch && is_of_present_epoch(engine, &token).await?)
}

/// Says whether the epoch of the token's account is still the one it was minted under.
async fn is_of_present_epoch(engine: &Engine, token: &MailedV2) -> Result<bool, FlowError> {
    let Some(id) = AccountId::from_bytes(token.account) else { return Ok(false) };
    let account = engine.accounts.ask(ById { id }).await?;
    Ok(match (account, token.purpose) {
        // It belongs to the first owner, whatever became of the account since.
        (Some(_), Purpose::EmailUndo) => true,
        (Some(account), _) => account.auth_epoch == token.auth_epoch,
        // A sign-up that waits has no account yet. The tokens of a deleted account are gone.
        (None, purpose) => purpose == Purpose::Verify,
    })
}
