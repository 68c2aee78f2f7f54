//! Log-in: shed, charge the network, check the password, pass the gate, issue a credential.

use std::fmt;
use std::sync::Arc;

use super::admission::Outcome;
use super::authenticate::replace;
use super::check::turn::HangUp;
use super::check::{Checked, Known, Presented, Recognised, lane_of};
use super::client::Client;
use super::devices;
use super::grant::{Issued, Opened, Proved, Wanted};
use super::refusal::{FlowError, Refusal, parse_name};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::engine::hooks::ClaimsReason;
use crate::journal::append::handle::Sealed;
use crate::password::{Lane, Shed};
use crate::registry::account::actor::ById;
use crate::registry::account::{AccountV4, Status};
use crate::registry::lockout::NewDevice;
use crate::registry::refresh::Audience;
use crate::registry::throttle::Charge;
use crate::registry::throttle::class::Class;
use crate::registry::throttle::refusal_cache::Payer;
use crate::value::network::Network;

/// The kind of credential that a client asks for.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Mode<'a> {
    /// A pair of tokens in the body.
    Token {
        /// The audience of the access tokens.
        audience: Audience,
    },
    /// A session cookie.
    Cookie {
        /// Whether the cookie outlives the browser's session.
        remember: bool,
        /// The session cookie that the new one replaces in the browser. Its session ends.
        replaces: Option<&'a str>,
    },
}

impl fmt::Debug for Mode<'_> {
    /// Leaves out the cookie that is replaced.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { audience } => f.debug_struct("Token").field("audience", audience).finish(),
            Self::Cookie { remember, .. } => {
                f.debug_struct("Cookie").field("remember", remember).finish_non_exhaustive()
            }
        }
    }
}

impl Mode<'_> {
    /// Asks for a pair of tokens for the application.
    pub const fn tokens() -> Self {
        Self::Token { audience: Audience::App }
    }

    /// Asks for a session cookie that ends with the browser's session.
    pub const fn cookie() -> Self {
        Self::Cookie { remember: false, replaces: None }
    }

    /// Returns the credential to issue.
    pub(super) const fn wanted(self) -> Wanted {
        match self {
            Self::Token { audience } => Wanted::Family { audience, replaces: false },
            Self::Cookie { remember, .. } => Wanted::Session { remember, root: None },
        }
    }
}

/// Logs in with a password. `devices` are the device tokens of the request: a client may send a cookie and a header. More
/// than two are not looked at.
///
/// All messages to the actors are sent from their own thread, in one round trip: crossing threads costs more than what
/// is asked there.
pub async fn log_in<'a>(
    engine: &Arc<Engine>,
    client: &Client,
    email: &str,
    password: &str,
    mode: Mode<'_>,
    devices: impl IntoIterator<Item = &'a str>,
) -> Outcome<Opened> {
    let mut devices = devices.into_iter();
    let devices = [devices.next(), devices.next()];
    let present = || {
        let known = Known::Devices(devices);
        parse_name(email).map(|name| Arc::new(Presented::new(engine, name, password, known)))
    };
    // Shed first. Under overload most requests are refused, so refuse before charging, messaging an actor or parsing
    // the name. Only a device cookie forces the name to be parsed, since it decides the lane.
    let presented_with_device = devices.iter().any(Option::is_some).then(present);
    let with_device = match &presented_with_device {
        Some(Ok(presented)) if presented.shown_id().is_some() => Some(&**presented),
        _ => None,
    };
    if let Err(shed) = room_in_queue(engine, client, with_device) {
        engine.services.audit.count(Event::LoginShed, Some(Network::of(client.address)));
        return Outcome::failed(shed);
    }
    // A device has a limit of its own, whatever else its network does.
    let payer = match with_device.and_then(Presented::shown_id) {
        Some(id) => Payer::Device(u64::from_be_bytes(id)),
        None => Payer::Network(Network::of(client.address)),
    };
    if let Some(refused) = engine.refused_from_cache(Class::Login, payer) {
        return refused;
    }
    // Boxed, so that a request that is refused above needs little memory.
    Box::pin(log_in_presented(engine, client, presented_with_device.unwrap_or_else(present), mode)).await
}

/// Says whether the hash queue may have room for a log-in. If only the actor knows the reputation of the client's
/// network, room in either of the two lanes counts; the actor is asked later.
fn room_in_queue(engine: &Engine, client: &Client, with_device: Option<&Presented>) -> Result<(), Shed> {
    let pool = &engine.services.pool;
    if let Some(presented) = with_device {
        return pool.has_room(&[presented.place(client, Lane::Known)]);
    }
    let network = Network::of(client.address);
    match engine.services.reputation_cache.look(network, engine.clock.now()).map(lane_of) {
        Some(lane) => pool.has_room(&[client.place(lane)]),
        None => pool.has_room(&[client.place(Lane::Quiet), client.place(Lane::Failing)]),
    }
}

async fn log_in_presented(
    engine: &Arc<Engine>,
    client: &Client,
    presented: Result<Arc<Presented>, Refusal>,
    mode: Mode<'_>,
) -> Outcome<Opened> {
    let wanted = mode.wanted();
    // The sender is dropped with this request, wherever it ends.
    let (_waiting, mut hung_up) = HangUp::watch();
    let work = async move |engine: &Engine, client: &Client| {
        let recognised = match &presented {
            Ok(presented) => presented.recognise(engine).await,
            // Charged all the same.
            Err(refusal) => Err(refusal.clone().into()),
        };
        let payer = recognised.as_ref().ok().and_then(Recognised::payer);
        let admission = engine.admit_for(Class::Login, client.address, payer).await;
        let shown = presented.as_ref().ok().and_then(|presented| presented.shown_id());
        if let (Err(_), None, Some(id)) = (&admission.result, payer, shown) {
            engine.refuse_like(Class::Login, Payer::Device(u64::from_be_bytes(id)), client.into());
        }
        let admitted = admission.then(async |charge| {
            let presented = presented?;
            let checked = presented.check(engine, client, recognised?, &mut hung_up).await?;
            let issued = checked
                .then(async |checked| issue(engine, client, &presented, checked, wanted, charge).await);
            let issued = issued.await?.map(|(_, issued)| issued);
            engine.journal.begin(&issued);
            Ok(issued)
        });
        admitted.await
    };
    let issued = engine.on_owner_thread_for(client, work).await.unwrap_or_else(Outcome::failed);
    issued.then(async |issued| open(engine, client, issued, mode).await).await
}

/// An account that has logged in, and what was issued for it.
struct LoggedIn {
    account: AccountV4,
    issued: Issued,
    device: String,
    new_device: NewDevice,
}

/// Issues a credential for an account whose password was right, and gives back the charge of the network.
async fn issue(
    engine: &Engine,
    client: &Client,
    presented: &Presented,
    checked: &Checked,
    wanted: Wanted,
    charge: Charge,
) -> Result<Sealed<Result<LoggedIn, Refusal>>, FlowError> {
    let current = engine.accounts.ask_sealed(ById { id: checked.account.account_id() }).await?;
    let issued = current.then(async |current| {
        let account = match may_log_in(engine, &checked.account, current.as_ref()) {
            Ok(account) => account.clone(),
            Err(refusal) => return Ok(Sealed::new(Err(refusal), 0)),
        };
        let issued = engine.issue(&account, wanted, Proved::Now, client, ClaimsReason::LogIn).await;
        let issued = match issued {
            // It rests on the attempt, as every other refusal here.
            Err(FlowError::Refused(refusal)) => return Ok(Sealed::new(Err(refusal), 0)),
            issued => issued?,
        };
        engine.refund(charge, account.id.to_bytes()).await;
        let device = devices::cookie(engine, presented.key(), &account, checked.device_nonce);
        let new_device = checked.new_device;
        Ok::<_, FlowError>(issued.map(|issued| Ok(LoggedIn { account, issued, device, new_device })))
    });
    Ok(issued.await?.map(|(_, issued)| issued))
}

/// Returns the account as it is now, if it may log in. While the hash was made, the password may have been changed, or
/// the account disabled or deleted.
///
/// Security: only the right password leads here, so these refusals reveal nothing to a stranger.
fn may_log_in<'a>(
    engine: &Engine,
    checked: &AccountV4,
    current: Option<&'a AccountV4>,
) -> Result<&'a AccountV4, Refusal> {
    let account = current.ok_or(Refusal::InvalidCredentials)?;
    // A disabled account has a new epoch too, but its owner may learn the reason.
    if account.status == Status::Disabled {
        return Err(Refusal::AccountDisabled);
    }
    if account.auth_epoch != checked.auth_epoch {
        return Err(Refusal::InvalidCredentials);
    }
    if !account.email_verified && engine.services.config.signup.verify_email {
        return Err(Refusal::EmailNotVerified);
    }
    Ok(account)
}

/// Signs the credential while its commit is running, and opens it once the commit is durable.
async fn open(
    engine: &Engine,
    client: &Client,
    issued: Sealed<Result<LoggedIn, Refusal>>,
    mode: Mode<'_>,
) -> Result<Opened, FlowError> {
    let signed = issued.map(|issued| -> Result<_, FlowError> {
        let LoggedIn { account, issued, device, new_device } = issued?;
        let sid = issued.sid();
        let grant = engine.grant(&account, issued)?;
        Ok((account, sid, grant, device, new_device))
    });
    let (account, sid, grant, device, new_device) = engine.journal.open(signed).await??;
    engine.record(client.note(Event::LoginSucceeded).for_account(Some(&account)).of_session(sid));
    if new_device != NewDevice::No {
        let is_told = new_device == NewDevice::Told;
        Box::pin(devices::tell_of_new(engine, client, &account, is_told)).await?;
    }
    if let Mode::Cookie { replaces: Some(token), .. } = mode {
        Box::pin(replace(engine, token)).await?;
    }
    Ok(Opened { account, grant, device: Some(device) })
}
