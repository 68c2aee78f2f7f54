//! Log-in: throttle, lockout, lookup or decoy, hash, settle, gate, open.

use super::post::Addressee;
use super::{Client, Opened, Refusal, Stop, parse_name};
use crate::account::actor::{ById, Find, Rehash};
use crate::account::{AccountName, AccountV1, Status};
use crate::audit::Event;
use crate::engine::{Engine, Fault};
use crate::id::short_digest;
use crate::lockout::{Attempt, Begin, Finish, Outcome, device};
use crate::mail::Kind;
use crate::password::{Lane, Password};
use crate::reset::Purpose;
use crate::stuffing;
use crate::stuffing::actor::{Look, Note};
use crate::throttle::Network;
use crate::throttle::actor::Suspect;
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
pub async fn log_in(
    engine: &Engine,
    client: &Client,
    email: &str,
    password: &str,
    mode: Mode,
    known: Option<&str>,
) -> Result<Opened, Stop> {
    let name = parse_name(email);
    let device = name
        .as_ref()
        .ok()
        .and_then(|name| Known::Cookie(known).device(engine, name.key(&engine.keys.directory)));
    // Before anything is charged, asked or written down: under a storm most of the work is to say no.
    let lanes: &[Lane] = if device.is_some() { &[Lane::Known] } else { &[Lane::Quiet, Lane::Failing] };
    if let Err(shed) = engine.pool.has_room(lanes, client.place(Lane::Quiet).network) {
        engine.tally.count(Event::LoginShed);
        return Err(Fault::from(shed).into());
    }
    let charge = engine.admit(Class::Login, client).await?;
    let name = name?;
    let account = check_password(engine, client, &name, password, Known::Cookie(known)).await?;
    // As it is now: while the hash was made the password may have been changed, or the account closed or deleted.
    let now = engine.ask(&engine.accounts, ById(account.account_id())).await?;
    let account = now.filter(|now| now.auth_epoch == account.auth_epoch || now.status == Status::Disabled);
    let account = account.ok_or(Refusal::InvalidCredentials)?;
    // Behind the right password alone, so that they tell a stranger nothing.
    if account.status == Status::Disabled {
        return Err(Refusal::AccountDisabled.into());
    }
    if !account.email_verified && engine.config.verify_email {
        return Err(Refusal::EmailNotVerified.into());
    }
    let grant = match mode {
        Mode::Token => engine.open_family(&account, client).await?,
        Mode::Cookie { remember } => engine.open_session(&account, remember, client).await?,
    };
    engine.refund(charge).await;
    engine.tally.record(client.note(Event::LoginSucceeded).of(Some(&account)));
    let device = Some(engine.device_cookie(&name)?);
    Ok(Opened { account, grant, device })
}

/// What tells a device of the owner from a stranger's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known<'a> {
    /// The device cookie that came along, if any.
    Cookie(Option<&'a str>),
    /// A session that is open: where it is asked for the password again, it counts as a device of its own, so that
    /// strangers cannot keep its owner out, nor a thief of it guess on.
    Session([u8; 16]),
}

impl Known<'_> {
    /// What its failures are counted under.
    fn device(self, engine: &Engine, name: crate::account::NameKey) -> Option<[u8; 8]> {
        match self {
            Self::Cookie(text) => text.and_then(|text| device::check(&engine.keys.device, name, text)),
            Self::Session(sid) => Some(short_digest(&engine.keys.device, &[b"session count", &name.0, &sid])),
        }
    }
}

/// Checks the password of a name, known or unknown, with the same work, and settles the attempt.
pub(super) async fn check_password(
    engine: &Engine,
    client: &Client,
    name: &AccountName,
    password: &str,
    known: Known<'_>,
) -> Result<AccountV1, Stop> {
    let key = name.key(&engine.keys.directory);
    let device = known.device(engine, key);
    let network = Network::of(client.address);
    // Networks that fail wait behind those that do not.
    let stranger = if engine.tell(&engine.stuffing, Look(network)).await?.recently_failing {
        Lane::Failing
    } else {
        Lane::Quiet
    };
    let place = client.place(if device.is_some() { Lane::Known } else { stranger });
    if let Err(shed) = engine.pool.has_room(&[place.lane], place.network) {
        engine.tally.count(Event::LoginShed);
        return Err(Fault::from(shed).into());
    }
    let password = Password::for_login(password);
    let wrong = short_digest(&engine.keys.device, &[b"wrong password", &key.0, password.as_bytes()]);
    let begin = Begin { name: key, device, password: wrong };
    let attempt = match engine.ask(&engine.lockout, begin).await? {
        Ok(attempt) => attempt,
        Err(locked) => {
            let outcome = stuffing::Outcome::Failed;
            // Without a look at the account: on a path this short it would tell by its time whether there is one.
            engine.tally.record(client.note(Event::LoginLocked).device(device));
            notice(engine, client, name, stuffing::Tried { network, name: key, outcome }).await?;
            return Err(Refusal::Locked { until: locked.until }.into());
        }
    };
    if device.is_some() {
        engine.tally.record(client.note(Event::DeviceRecognised).device(device));
    }
    // A cookie that has failed too often is known no longer.
    let place = client.place(if attempt.is_of_known_device() { Lane::Known } else { stranger });
    let account = engine.ask(&engine.accounts, Find(key)).await?;
    let phc = account.as_ref().and_then(|account| account.phc.as_deref());
    let verified = match engine.pool.verify(place, password.clone(), phc).await {
        Ok(verified) => verified,
        Err(shed) => {
            // Never checked, so never counted.
            settle(engine, attempt, Outcome::Returned).await?;
            engine.tally.record(client.note(Event::LoginShed).of(account.as_ref()).device(device));
            return Err(Fault::from(shed).into());
        }
    };
    let Some(account) = account.as_ref().filter(|_| verified.matches) else {
        let settled = settle(engine, attempt, Outcome::Failed { known: account.is_some() }).await?;
        let outcome = if device.is_some() { stuffing::Outcome::Mistyped } else { stuffing::Outcome::Failed };
        notice(engine, client, name, stuffing::Tried { network, name: key, outcome }).await?;
        let note = |event| client.note(event).of(account.as_ref()).device(device);
        engine.tally.record(note(Event::LoginFailed));
        if settled.device_demoted {
            engine.tally.record(note(Event::DeviceDemoted));
        }
        if settled.lock_began {
            engine.tally.record(note(Event::LockoutStarted));
        }
        if settled.mail_owner {
            let owner = Addressee::of(account.as_ref(), name, key);
            engine.mail_token(owner, Purpose::Unlock, Kind::Lockout).await?;
        }
        return Err(Refusal::InvalidCredentials.into());
    };
    settle(engine, attempt, Outcome::Succeeded).await?;
    let outcome = stuffing::Outcome::Succeeded;
    notice(engine, client, name, stuffing::Tried { network, name: key, outcome }).await?;
    if verified.needs_rehash
        && let Some(checked) = &account.phc
        && let Ok(phc) = engine.pool.hash(place, password).await
    {
        let rehash = Rehash { id: account.account_id(), checked: checked.clone(), phc: phc.into() };
        engine.ask(&engine.accounts, rehash).await?;
    }
    Ok(account.clone())
}

/// Takes down how a log-in ended, and does what stuffing asks for: for a name without an account the same, for nobody.
async fn notice(
    engine: &Engine,
    client: &Client,
    name: &AccountName,
    tried: stuffing::Tried,
) -> Result<(), Stop> {
    let noticed = engine.tell(&engine.stuffing, Note(tried)).await?;
    if noticed.alarm {
        engine.tally.record(client.note(Event::StuffingSuspected).because("failures far above their mean"));
    }
    if let Some(network) = noticed.suspect {
        engine.tally.record(client.note(Event::StuffingSuspected).because("many names from one network"));
        engine.tell(&engine.throttle, Suspect(network)).await?;
    }
    if noticed.targeted {
        let account = engine.ask(&engine.accounts, Find(tried.name)).await?;
        let note = client.note(Event::StuffingSuspected).of(account.as_ref());
        engine.tally.record(note.because("one name from many networks"));
        engine.post(Addressee::of(account.as_ref(), name, tried.name), Kind::Targeted).await?;
    }
    Ok(())
}

async fn settle(
    engine: &Engine,
    attempt: Attempt,
    outcome: Outcome,
) -> Result<crate::lockout::Settled, Fault> {
    engine.ask(&engine.lockout, Finish(attempt, outcome)).await
}
