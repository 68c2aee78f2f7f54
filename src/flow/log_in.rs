//! Log-in: throttle, lockout, lookup or decoy, hash, settle, gate, open.

use std::sync::Arc;

use super::check::{Known, Presented};
use super::{Client, Issued, Opened, Refusal, Stop, parse_name};
use crate::account::actor::ById;
use crate::account::{AccountV1, Status};
use crate::audit::Event;
use crate::engine::{Engine, Fault};
use crate::journal::handle::Sealed;
use crate::password::Lane;
use crate::throttle::table::Class;

/// What the client asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Tokens in the body.
    Token,
    /// A cookie.
    Cookie {
        /// Whether it outlives the browser.
        remember: bool,
    },
}

/// Somebody says who they are. `known` is the device cookie they sent, if any.
///
/// What asks the owners runs on their thread, once before the hash and once after it: each way between threads costs more
/// than what is asked there.
pub async fn log_in(
    engine: &Arc<Engine>,
    client: &Client,
    email: &str,
    password: &str,
    mode: Mode,
    known: Option<&str>,
) -> Result<Opened, Stop> {
    let presented =
        parse_name(email).map(|name| Arc::new(Presented::new(engine, name, password, Known::Cookie(known))));
    // Before anything is charged, asked or written down: under a storm most of the work is to say no.
    let has_device = presented.as_ref().is_ok_and(|presented| presented.has_device());
    let lanes: &[Lane] = if has_device { &[Lane::Known] } else { &[Lane::Quiet, Lane::Failing] };
    if let Err(shed) = engine.pool.has_room(lanes, client.place(Lane::Quiet).network) {
        engine.tally.count(Event::LoginShed);
        return Err(Fault::from(shed).into());
    }
    let asked = presented.clone();
    let begun = engine
        .beside(client, async move |engine, client| {
            let charge = engine.admit(Class::Login, client).await?;
            Ok::<_, Stop>((charge, asked?.begin(engine, client).await?))
        })
        .await?;
    let (charge, begun) = begun?;
    let presented = presented?;
    let verified = presented.verify(engine, &begun).await;
    let settling = Arc::clone(&presented);
    let issued = engine
        .beside(client, async move |engine, client| {
            let (account, settled) = settling.conclude(engine, client, begun, verified).await?;
            let id = account.account_id();
            let now = settled.then(async |_| engine.ask_sealed(&engine.accounts, ById(id)).await).await?;
            let issued = now.then(async |(_, now)| {
                let allowed = match allowed(engine, &account, now.as_ref()) {
                    Ok(account) => account.clone(),
                    Err(refusal) => return Ok(Sealed::new(Err(refusal), 0)),
                };
                let issued = match mode {
                    Mode::Token => engine.issue_family(&allowed, client).await?,
                    Mode::Cookie { remember } => engine.issue_session(&allowed, remember, client).await?,
                };
                engine.refund(charge).await;
                Ok::<_, Stop>(issued.map(|issued| Ok((allowed, issued))))
            });
            Ok::<_, Stop>(issued.await?.map(|(_, issued)| issued))
        })
        .await?;
    // What comes of it waits for the commit; that it is signed meanwhile lets nothing out.
    let granted = issued?.map(|issued| {
        issued.map_err(Stop::from).and_then(|(account, issued): (AccountV1, Issued)| {
            let grant = engine.grant(&account, issued)?;
            Ok((account, grant))
        })
    });
    let (account, grant) = engine.journal.open(granted).await.map_err(Fault::from)??;
    engine.tally.record(client.note(Event::LoginSucceeded).of(Some(&account)));
    let device = Some(engine.device_cookie(presented.name())?);
    Ok(Opened { account, grant, device })
}

/// Whether an account whose password was right may log in as it is now: while the hash was made the password may have been
/// changed, or the account closed or deleted.
fn allowed<'a>(
    engine: &Engine,
    checked: &AccountV1,
    now: Option<&'a AccountV1>,
) -> Result<&'a AccountV1, Refusal> {
    let same = |now: &&AccountV1| now.auth_epoch == checked.auth_epoch || now.status == Status::Disabled;
    let account = now.filter(same).ok_or(Refusal::InvalidCredentials)?;
    // Behind the right password alone, so that they tell a stranger nothing.
    if account.status == Status::Disabled {
        return Err(Refusal::AccountDisabled);
    }
    if !account.email_verified && engine.config.verify_email {
        return Err(Refusal::EmailNotVerified);
    }
    Ok(account)
}
