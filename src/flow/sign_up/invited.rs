//! The account of somebody who was invited: read the link, check that its roles may still be given, hash the password, spend
//! the link, make the account. The same request again is judged by what the first one has done.

use super::{display_name, language, new_password};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::flow::admin::accounts::tell_of_admin;
use crate::flow::admin::invitations::told;
use crate::flow::admission::Outcome;
use crate::flow::check::link_turn::LinkTurn;
use crate::flow::client::Client;
use crate::flow::keys::api_key::is_key_for;
use crate::flow::mailed::{read_opaque, repeat_with_password};
use crate::flow::refusal::{FlowError, Refusal};
use crate::journal::append::handle::Class as JournalClass;
use crate::password::Lane;
use crate::registry::account::actor::ById;
use crate::registry::account::{ExtraChange, Origin, SignUp, SignedUp, is_admin};
use crate::registry::api_key::Scope;
use crate::registry::lockout::actor::Clear;
use crate::registry::reset::actor::RememberUse;
use crate::registry::reset::{LinkUse, Purpose, Redeem};
use crate::registry::sign_up::actor::EndSignUps;
use crate::registry::sign_up::invitation::actor::{Accept, Link, PeekInvitation};
use crate::registry::sign_up::invitation::{InvitationV1, Inviter};
use crate::registry::throttle::class::Class;
use crate::value::account_name::NameKey;
use crate::value::id::{AccountId, MailedId};

/// Room in the journal for the account, which is looked for before the link is spent.
const ACCOUNT_BYTES: usize = 16 * 1024;

/// What somebody who was invited sends.
#[derive(Clone, Copy)]
pub struct Acceptance<'a> {
    /// The token of the link.
    pub token: &'a str,
    /// The password of the account.
    pub password: &'a str,
    /// The name by which the owner wants to be called, in place of the one that the invitation has.
    pub name: Option<&'a str>,
    /// The language of the owner, in place of the one that the invitation has.
    pub locale: Option<&'a str>,
}

/// Makes the account of an invitation, with its roles and a proved address.
///
/// Security: the answer to every link that is not good is the same, and so is that to one whose address has got an account
/// meanwhile: who has found a link learns nothing of accounts. Of two that use one link at once, one makes the account. The
/// same request again, or at once, is answered alike for a short while; who has the link and another password is refused. The
/// account is one entry of the journal; a crash before it costs another invitation.
///
/// Errors: [`Refusal::InvalidMailedToken`] for a link that was used, withdrawn or replaced or has expired, or whose roles its
/// sender may not give any more.
pub async fn accept(engine: &Engine, client: &Client, sent: Acceptance<'_>) -> Outcome<()> {
    engine
        .admitted(Class::Reset, client, async |_| {
            let read = read_opaque(engine, sent.token)?;
            let id = AccountId::from_bytes(read.id).ok_or(Refusal::InvalidMailedToken)?;
            let digest = read.secret.digest();
            let link = Link { id, digest, global_epoch: engine.global_epoch };
            let id = MailedId::from_bytes(read.id).ok_or(Refusal::InvalidMailedToken)?;
            let redeem = Redeem { id, digest: digest.bound_to(&sent.rest()), purpose: Purpose::Invitation };
            let _turn = LinkTurn::take(engine, id).await;
            let Some(invitation) = engine.invitations.ask(PeekInvitation { link }).await? else {
                return repeat_with_password(engine, client, redeem, sent.password).await;
            };
            may_still_give(engine, &invitation).await?;
            let name = display_name(sent.name)?;
            let locale = language(sent.locale)?;
            let place = client.place(Lane::Quiet);
            let phc = new_password(engine, place, sent.password, &invitation.email, "/password").await?;
            let room = engine.journal.reserve(ACCOUNT_BYTES, JournalClass::Ordinary)?;
            // Spend first, grant second: from here on the link makes no other account.
            let spent = engine.invitations.ask(Accept { link }).await?.ok_or(Refusal::InvalidMailedToken)?;
            drop(room);
            let (name, locale) = (name.or(spent.name), locale.or(spent.locale));
            let account = make(engine, client, InvitationV1 { name, locale, ..spent }, phc).await?;
            engine.mailed.ask(RememberUse { redeem, done: LinkUse::of(account) }).await?;
            Ok(())
        })
        .await
}

impl Acceptance<'_> {
    /// Returns what it says beside the link and the password, each part apart from the next: a request that says something
    /// else is no repetition.
    fn rest(&self) -> String {
        format!("{:?} {:?}", self.name, self.locale)
    }
}

/// Makes the account, and returns its id.
async fn make(
    engine: &Engine,
    client: &Client,
    invitation: InvitationV1,
    phc: Box<str>,
) -> Result<AccountId, FlowError> {
    let name_key = NameKey(invitation.name_key);
    let extra = ExtraChange { locale: invitation.locale, ..ExtraChange::default() };
    let sign_up = SignUp {
        id: invitation.id,
        name_key,
        email: invitation.email,
        name: invitation.name,
        phc: Some(phc),
        roles: invitation.roles,
        verified: true,
        origin: Origin::Administrator,
        extra: extra.made(),
    };
    let SignedUp::Created(account) = engine.accounts.ask(sign_up).await? else {
        return Err(Refusal::InvalidMailedToken.into());
    };
    // No link of a sign-up with this address makes anything any more.
    engine.sign_ups.ask(EndSignUps { name: name_key }).await?;
    // Strangers may have locked the name while it had no account.
    engine.lockout.ask(Clear { name: name_key }).await?;
    if is_admin(&account) {
        tell_of_admin(engine, &account).await?;
    }
    let reason = told(&account.roles);
    let note = client.note(Event::InvitationAccepted).for_account(Some(&account)).with_reason(&reason);
    engine.record_durably(note).await;
    Ok(account.account_id())
}

/// Refuses an invitation with roles whose sender may not give them any more: an administrator who has lost the role or was
/// disabled, a service whose key is gone. One without roles gives nothing that its sender could lose.
async fn may_still_give(engine: &Engine, invitation: &InvitationV1) -> Result<(), FlowError> {
    if invitation.roles.is_empty() {
        return Ok(());
    }
    let may = match invitation.inviter {
        Inviter::Operator => true,
        Inviter::Account(id) => match AccountId::from_bytes(id) {
            Some(id) => engine.accounts.ask(ById { id }).await?.as_ref().is_some_and(is_admin),
            None => false,
        },
        Inviter::ApiKey(id) => is_key_for(engine, id, Scope::AdminWrite).await?,
    };
    if may { Ok(()) } else { Err(Refusal::InvalidMailedToken.into()) }
}
