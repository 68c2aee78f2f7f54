//! Log-in: throttle, lockout, lookup or decoy, hash, settle, gate, open.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::admission::Outcome;
use super::authenticate::replace;
use super::check::{Known, Presented, lane_of};
use super::client::Client;
use super::grant::{Issued, Opened};
use super::refusal::{FlowError, Refusal, parse_name};
use crate::audit::event::Event;
use crate::engine::{Engine, Fault};
use crate::journal::append::handle::Sealed;
use crate::password::Lane;
use crate::registry::account::actor::ById;
use crate::registry::account::{AccountV1, Status};
use crate::registry::throttle::class::Class;
use crate::value::network::Network;

/// The kind of credential that a client asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode<'a> {
    /// A pair of tokens in the body.
    Token,
    /// A session cookie.
    Cookie {
        /// Whether the cookie outlives the browser's session.
        remember: bool,
        /// The session cookie that the new one replaces in the browser. Its session ends.
        replaces: Option<&'a str>,
    },
}

/// Somebody says who they are. `known` is the device cookie they sent, if any.
///
/// What asks the owners runs on their thread, all in one trip: each way between threads costs more than what is asked there.
pub async fn log_in(
    engine: &Arc<Engine>,
    client: &Client,
    email: &str,
    password: &str,
    mode: Mode<'_>,
    known: Option<&str>,
) -> Outcome<Opened> {
    let present = || {
        parse_name(email).map(|name| Arc::new(Presented::new(engine, name, password, Known::Cookie(known))))
    };
    // Before anything is charged, asked or written down: under a storm most of the work is to say no, and to somebody who
    // shows no device it is said before the name is read.
    let with_device = known.map(|_| present());
    let has_device = matches!(&with_device, Some(Ok(presented)) if presented.has_device());
    let certain = if has_device {
        Some(Lane::Known)
    } else {
        engine.services.reputation_cache.look(Network::of(client.address), engine.clock.now()).map(lane_of)
    };
    // Else only the owner knows.
    let lanes = certain.as_ref().map_or(&[Lane::Quiet, Lane::Failing][..], std::slice::from_ref);
    if let Err(shed) = engine.services.pool.has_room(lanes, client.place(Lane::Quiet).network) {
        engine.services.audit.count(Event::LoginShed);
        return Outcome::failed(Fault::from(shed));
    }
    if let Some(refused) = engine.refused_from_cache(Class::Login, client) {
        return refused;
    }
    // Whoever is refused up to here is refused in little memory.
    Box::pin(opened(engine, client, with_device.unwrap_or_else(present), mode)).await
}

async fn opened(
    engine: &Arc<Engine>,
    client: &Client,
    presented: Result<Arc<Presented>, Refusal>,
    mode: Mode<'_>,
) -> Outcome<Opened> {
    let remember = match mode {
        Mode::Token => None,
        Mode::Cookie { remember, .. } => Some(remember),
    };
    let asked = presented.clone();
    // Dropped with this request, wherever it is.
    let (_waiting, gone) = oneshot::channel::<()>();
    let issued = engine
        .on_owner_thread_for(client, async move |engine, client| {
            engine
                .admitted(Class::Login, client, async |charge| {
                    let account = asked?.check(engine, client, gone).await?;
                    let now = account.then(async |account| {
                        engine.accounts.ask_sealed(ById { id: account.account_id() }).await
                    });
                    let issued = now.await?.then(async |(account, now)| {
                        let allowed = match allowed(engine, account, now.as_ref()) {
                            Ok(account) => account.clone(),
                            Err(refusal) => return Ok(Sealed::new(Err(refusal), 0)),
                        };
                        let issued = match remember {
                            None => engine.issue_family(&allowed, client).await?,
                            Some(remember) => engine.issue_session(&allowed, remember, client).await?,
                        };
                        engine.refund(charge).await;
                        Ok::<_, FlowError>(issued.map(|issued| Ok((allowed, issued))))
                    });
                    let issued = issued.await?.map(|(_, issued)| issued);
                    engine.journal.begin(&issued);
                    Ok(issued)
                })
                .await
        })
        .await
        .unwrap_or_else(Outcome::failed);
    issued
        .then(async |issued| {
            let presented = presented?;
            // What comes of it waits for the commit; that it is signed meanwhile lets nothing out.
            let granted = issued.map(|issued| {
                issued.map_err(FlowError::from).and_then(|(account, issued): (AccountV1, Issued)| {
                    let grant = engine.grant(&account, issued)?;
                    Ok((account, grant))
                })
            });
            let (account, grant) = engine.journal.open(granted).await.map_err(Fault::from)??;
            engine.record(client.note(Event::LoginSucceeded).for_account(Some(&account)));
            let device = Some(engine.device_cookie(presented.name())?);
            if let Mode::Cookie { replaces: Some(token), .. } = mode {
                Box::pin(replace(engine, token)).await?;
            }
            Ok(Opened { account, grant, device })
        })
        .await
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
    if !account.email_verified && engine.services.config.signup.verify_email {
        return Err(Refusal::EmailNotVerified);
    }
    Ok(account)
}
