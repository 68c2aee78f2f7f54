//! The last look at a mail before it leaves: a link that has died while the mail waited is never delivered.

use zeroize::Zeroizing;

use crate::engine::Engine;
use crate::flow::refusal::{FlowError, parse_name};
use crate::registry::account::actor::{ById, Find};
use crate::registry::outbox::{Kind, MailV2, open_token};
use crate::registry::reset::actor::{FindLive, Restart};
use crate::registry::reset::{MailedV2, Purpose};
use crate::registry::sign_up::actor::{EndOf, WaitingById};
use crate::registry::sign_up::invitation::actor::{EndOfInvitation, Link, PeekInvitation};
use crate::system::clock::Timestamp;
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
        Some(token) if mail.kind == Kind::AccountInvitation => is_open_invitation(engine, token).await?,
        Some(token) => is_live(engine, token, mail.tries > 0).await?,
        None => false,
    };
    Ok(match token {
        Some(token) if live && mail.kind.has_link() => Ready::Leaves(Some(token)),
        _ if mail.kind.is_news_without_link() || mail.is_to_nobody() => Ready::Leaves(None),
        _ => Ready::Dead,
    })
}

/// Says whether the invitation of a link is open. It ends when it was to end, however long its mail has waited: an invitation
/// lives for days.
async fn is_open_invitation(engine: &Engine, token: &str) -> Result<bool, FlowError> {
    let Ok(read) = engine.services.edge.read(TokenKind::Mailed, token) else { return Ok(false) };
    let Some(id) = AccountId::from_bytes(read.id) else { return Ok(false) };
    let asked = EndOfInvitation { id, global_epoch: engine.global_epoch };
    Ok(engine.invitations.ask(asked).await?.is_some())
}

/// Returns the language of whom a mail is for: of the invitation, the account or the sign-up of its link's `token`, or else of
/// the account that has its address.
pub(crate) async fn locale_of(
    engine: &Engine,
    mail: &MailV2,
    token: Option<&Zeroizing<String>>,
) -> Result<Option<String>, FlowError> {
    let global_epoch = engine.global_epoch;
    let linked = token.and_then(|token| engine.services.edge.read(TokenKind::Mailed, token).ok());
    if let Some(read) = linked.as_ref().filter(|_| mail.kind == Kind::AccountInvitation) {
        let Some(id) = AccountId::from_bytes(read.id) else { return Ok(None) };
        let link = Link { id, digest: read.secret.digest(), global_epoch };
        let invitation = engine.invitations.ask(PeekInvitation { link }).await?;
        return Ok(invitation.and_then(|invitation| invitation.locale).map(String::from));
    }
    let linked = match linked.and_then(|read| MailedId::from_bytes(read.id)) {
        Some(id) => engine.mailed.ask(FindLive { id }).await?,
        None => None,
    };
    let Some(id) = linked.and_then(|token| AccountId::from_bytes(token.account)) else {
        let Ok(name) = parse_name(&mail.to) else { return Ok(None) };
        let account = engine.accounts.ask(Find { name: name.key(&engine.services.keys.directory) }).await?;
        return Ok(account.and_then(|account| account.locale().map(str::to_owned)));
    };
    if let Some(account) = engine.accounts.ask(ById { id }).await? {
        return Ok(account.locale().map(str::to_owned));
    }
    // No account yet: its sign-up has this id.
    let sign_up = engine.sign_ups.ask(WaitingById { id, global_epoch }).await?;
    Ok(sign_up.and_then(|sign_up| sign_up.locale).map(String::from))
}

async fn is_live(engine: &Engine, token: &str, restart: bool) -> Result<bool, FlowError> {
    let Ok(read) = engine.services.edge.read(TokenKind::Mailed, token) else { return Ok(false) };
    let Some(id) = MailedId::from_bytes(read.id) else { return Ok(false) };
    let Some(token) = engine.mailed.ask(FindLive { id }).await? else { return Ok(false) };
    if token.global_epoch != engine.global_epoch {
        return Ok(false);
    }
    let Some(belongs) = owner_of(engine, &token).await? else { return Ok(false) };
    if restart {
        let end_max = match belongs {
            Owner::SignUp { end } => Some(end),
            Owner::Account | Owner::Nobody => None,
        };
        engine.mailed.ask(Restart { id, end_max }).await?;
    }
    Ok(true)
}

/// The owner of a mailed token.
enum Owner {
    /// An account, in the epoch that the token was minted under.
    Account,
    /// A sign-up that waits for the proof of its address, until `end`.
    SignUp { end: Timestamp },
    /// Nothing: the name is unknown, and the mail is dropped in the end.
    Nobody,
}

/// Returns what `token` belongs to; `None` if that is gone, or if the account is in another epoch.
async fn owner_of(engine: &Engine, token: &MailedV2) -> Result<Option<Owner>, FlowError> {
    let Some(id) = AccountId::from_bytes(token.account) else { return Ok(None) };
    let account = engine.accounts.ask(ById { id }).await?;
    // Asked with an account too, so that the work does not show whether there is one.
    let sign_up = match token.purpose {
        Purpose::Verify => engine.sign_ups.ask(EndOf { id, global_epoch: token.global_epoch }).await?,
        _ => None,
    };
    Ok(match account {
        // It belongs to the first owner, whatever became of the account since.
        Some(_) if token.purpose == Purpose::EmailUndo => Some(Owner::Account),
        Some(account) => (account.auth_epoch == token.auth_epoch).then_some(Owner::Account),
        // A sign-up that another one of the address has displaced is gone. So are the tokens of a deleted account.
        None => match sign_up {
            Some(end) => Some(Owner::SignUp { end }),
            None => token.is_nobodys().then_some(Owner::Nobody),
        },
    })
}
