//! A session without a password: for a program that has proved in a way of its own who the user is, such as by another
//! provider's log-in.
//!
//! **The attack:** a second way in that forgets a check of the first one: a disabled account, an address that nobody has
//! proved, a session that no log mentions.
//!
//! **The rule:** the gate, the proof of the address, the limit of sessions, the list of devices and the mail about a new one are
//! those of a log-in. Nothing is charged: the program vouches for the user, and bounds how often it is asked. The log of
//! security events has a line with the reason.

use super::{Opened, Proved};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::engine::hooks::ClaimsReason;
use crate::flow::authenticate::replace;
use crate::flow::client::Client;
use crate::flow::devices;
use crate::flow::log_in::Mode;
use crate::flow::refusal::{Error, FlowError, Refusal};
use crate::registry::account::AccountV4;
use crate::registry::account::actor::ById;
use crate::registry::session::agent;
use crate::value::id::AccountId;

/// The longest reason that is recorded, in characters.
const REASON_CHARS_MAX: usize = 120;

/// Opens a session, or a pair of tokens, for an account whose owner the calling program has just recognised. `reason` says how,
/// for the log of security events: `"github"`, or `"support case 4711"`.
///
/// The answer to the client is [`Opened::into_response`]. Access tokens of the session have an empty `amr`: the server knows of no
/// method, and claims none.
///
/// Security: the caller vouches that the client is the owner of the account. A log-in by cookie also needs protection against
/// a log-in that another site began: check the `state` of the other provider.
///
/// Errors: the account is unknown or disabled; its address is not proved, and `signup.verify_email` asks for that; the engine
/// is ending.
pub async fn issue(
    engine: &Engine,
    account: AccountId,
    client: &Client,
    mode: Mode<'_>,
    reason: &str,
) -> Result<Opened, Error> {
    let kept = |c: &char| !c.is_control();
    let reason: String = reason.chars().filter(kept).take(REASON_CHARS_MAX).collect();
    let wanted = mode.wanted();
    let work = async move |engine: &Engine, client: &Client| {
        let account = may_have_session(engine, account).await?;
        let is_new_device = is_new_device(engine, client, &account).await?;
        let issued = engine.issue(&account, wanted, Proved::ToProgram, client, ClaimsReason::Program).await?;
        let issued = engine.journal.open(issued).await?;
        let sid = issued.sid();
        // One device for each family of browsers: sessions without a password must not push the owner's devices off the list.
        let device = if is_new_device { Some(devices::give(engine, client, &account).await?) } else { None };
        let note = client.note(Event::SessionIssued).for_account(Some(&account));
        engine.record_durably(note.of_session(sid).with_reason(&reason)).await;
        if is_new_device {
            devices::tell_of_new(engine, client, &account, !account.mutes_new_device).await?;
        }
        Ok::<_, FlowError>((account, issued, device))
    };
    let open = async {
        let (account, issued, device) = engine.itself()?.on_owner_thread_for(client, work).await??;
        let grant = engine.grant(&account, issued)?;
        if let Mode::Cookie { replaces: Some(token), .. } = mode {
            replace(engine, token).await?;
        }
        Ok(Opened { account, grant, device })
    };
    open.await.map_err(|error| Error::new(engine, error))
}

/// Returns the account `id`, if it may have a session.
async fn may_have_session(engine: &Engine, id: AccountId) -> Result<AccountV4, FlowError> {
    let account = engine.accounts.ask(ById { id }).await?.ok_or(Refusal::NotFound)?;
    engine.gate(&account, account.auth_epoch, engine.global_epoch)?;
    if !account.email_verified && engine.services.config.signup.verify_email {
        return Err(Refusal::EmailNotVerified.into());
    }
    Ok(account)
}

/// Says whether no other device of this family of browsers is known.
async fn is_new_device(engine: &Engine, client: &Client, account: &AccountV4) -> Result<bool, FlowError> {
    let family = agent::family(&client.user_agent);
    let known = devices::list(engine, account).await?;
    Ok(!known.iter().any(|of| *of.family == *family))
}
