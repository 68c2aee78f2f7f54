//! The check of a password: look at the network, charge the name, find the account or a decoy, hash, settle.

use super::client::Client;
use super::post::Addressee;
use super::refusal::{FlowError, Refusal};
use crate::audit::event::{Event, Note};
use crate::engine::{Engine, Fault};
use crate::journal::append::handle::Sealed;
use crate::password::{Lane, Password, QueueKey, Shed, Verified};
use crate::registry::account::AccountV1;
use crate::registry::account::actor::{Find, Rehash};
use crate::registry::lockout::{Attempt, AttemptOutcome, Begin, Finish, device};
use crate::registry::outbox::Kind;
use crate::registry::reset::Purpose;
use crate::registry::stuffing::actor::{Look, Observe};
use crate::registry::stuffing::{self, Reputation};
use crate::registry::throttle::actor::Suspect;
use crate::value::account_name::{AccountName, NameKey};
use crate::value::id::short_digest;
use crate::value::network::Network;

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
    fn device(self, engine: &Engine, name: NameKey) -> Option<[u8; 8]> {
        match self {
            Self::Cookie(text) => {
                text.and_then(|text| device::check(&engine.services.keys.device, name, text))
            }
            Self::Session(sid) => {
                Some(short_digest(&engine.services.keys.device, &[b"session count", &name.0, &sid]))
            }
        }
    }
}

/// A name and a password as somebody presents them.
pub(super) struct Presented {
    name: AccountName,
    key: NameKey,
    device: Option<[u8; 8]>,
    password: Password,
    /// By which the same wrong password is known again.
    wrong: [u8; 8],
}

/// An attempt that is charged, with the account it goes for, known or not.
struct Begun {
    attempt: Attempt,
    place: QueueKey,
    account: Option<AccountV1>,
}

/// Where whoever shows no device waits: networks that fail behind those that do not.
pub(super) const fn lane_of(standing: Reputation) -> Lane {
    if standing.recently_failing { Lane::Failing } else { Lane::Quiet }
}

impl Presented {
    pub(super) fn new(engine: &Engine, name: AccountName, password: &str, known: Known<'_>) -> Self {
        let key = name.key(&engine.services.keys.directory);
        let password = Password::for_login(password);
        let wrong =
            short_digest(&engine.services.keys.device, &[b"wrong password", &key.0, password.as_bytes()]);
        Self { device: known.device(engine, key), name, key, password, wrong }
    }

    pub(super) const fn name(&self) -> &AccountName {
        &self.name
    }

    /// Whether it comes from a device that was the owner's.
    pub(super) const fn has_device(&self) -> bool {
        self.device.is_some()
    }

    /// Charges the name, looks for the account, hashes, and settles the attempt; then says whose password it was. A name
    /// that is locked is not hashed for. Whoever was waiting has hung up when `gone` ends: then nothing is hashed for them
    /// that has not begun, and the attempt stays charged.
    pub(super) async fn check(
        &self,
        engine: &Engine,
        client: &Client,
        gone: impl Future,
    ) -> Result<Sealed<AccountV1>, FlowError> {
        let Self { key, device, wrong, .. } = *self;
        let network = Network::of(client.address);
        let stranger = lane_of(engine.ask_unsealed(&engine.services.stuffing, Look { network }).await?);
        let place = client.place(if device.is_some() { Lane::Known } else { stranger });
        if let Err(shed) = engine.services.pool.has_room(&[place.lane], place.network) {
            engine.services.audit.count(Event::LoginShed);
            return Err(Fault::from(shed).into());
        }
        let attempt = engine.lockout.ask_sealed(Begin { name: key, device, password: wrong }).await?;
        let begun = attempt.when();
        // The charge is written down while the hash is made, or with what comes of it: nobody learns of it before.
        let checked = attempt.then(async |attempt| {
            let attempt = match attempt {
                Ok(attempt) => *attempt,
                Err(locked) => {
                    engine.journal.open(begun).await.map_err(Fault::from)?;
                    // Without a look at the account: on a path this short it would tell by its time whether there is one.
                    engine.record(client.note(Event::LoginLocked).device(device));
                    self.notice(engine, client, stuffing::Outcome::Failed).await?;
                    return Err(Refusal::Locked { until: locked.until }.into());
                }
            };
            if device.is_some() {
                engine.record(client.note(Event::DeviceRecognised).device(device));
            }
            // A cookie that has failed too often is known no longer.
            let place = client.place(if attempt.is_of_known_device() { Lane::Known } else { stranger });
            let account = engine.accounts.ask(Find { name: key }).await?;
            let phc = account.as_ref().and_then(|account| account.phc.as_deref());
            let verified = tokio::select! {
                biased;
                verified = engine.services.pool.verify(place, self.password.clone(), phc) => verified,
                _ = gone => {
                    engine.journal.open(begun).await.map_err(Fault::from)?;
                    return Err(Fault::HungUp.into());
                }
            };
            self.settle(engine, client, Begun { attempt, place, account }, verified).await
        });
        Ok(checked.await?.map(|(_, account)| account))
    }

    /// Settles the attempt. The account is the one whose password was right.
    async fn settle(
        &self,
        engine: &Engine,
        client: &Client,
        Begun { attempt, place, account }: Begun,
        verified: Result<Verified, Shed>,
    ) -> Result<Sealed<AccountV1>, FlowError> {
        let device = self.device;
        let verified = match verified {
            Ok(verified) => verified,
            Err(shed) => {
                // Never checked, so never counted.
                engine.lockout.ask(Finish { attempt, outcome: AttemptOutcome::Returned }).await?;
                engine.record(client.note(Event::LoginShed).for_account(account.as_ref()).device(device));
                return Err(Fault::from(shed).into());
            }
        };
        let Some(account) = account.as_ref().filter(|_| verified.matches) else {
            let outcome = AttemptOutcome::Failed { known: account.is_some() };
            let settled = engine.lockout.ask(Finish { attempt, outcome }).await?;
            let outcome =
                if device.is_some() { stuffing::Outcome::Mistyped } else { stuffing::Outcome::Failed };
            self.notice(engine, client, outcome).await?;
            let note = |event| client.note(event).for_account(account.as_ref()).device(device);
            engine.record(note(Event::LoginFailed));
            if settled.device_demoted {
                engine.record(note(Event::DeviceDemoted));
            }
            if settled.lock_began {
                engine.record(note(Event::LockoutStarted));
            }
            if settled.mail_owner {
                let owner = Addressee::of(account.as_ref(), &self.name, self.key);
                // What is done seldom takes no room in every log-in; likewise below.
                Box::pin(engine.mail_token(owner, Purpose::Unlock, Kind::Lockout)).await?;
            }
            return Err(Refusal::InvalidCredentials.into());
        };
        let settled =
            engine.lockout.ask_sealed(Finish { attempt, outcome: AttemptOutcome::Succeeded }).await?;
        self.notice(engine, client, stuffing::Outcome::Succeeded).await?;
        if verified.needs_rehash
            && let Some(checked) = &account.phc
            && let Ok(phc) = Box::pin(engine.services.pool.hash(place, self.password.clone())).await
        {
            let rehash = Rehash { id: account.account_id(), checked: checked.clone(), phc: phc.into() };
            Box::pin(engine.accounts.ask(rehash)).await?;
        }
        Ok(settled.map(|_| account.clone()))
    }

    /// Takes down how a log-in ended, and does what stuffing asks for: for a name without an account the same, for nobody.
    async fn notice(
        &self,
        engine: &Engine,
        client: &Client,
        outcome: stuffing::Outcome,
    ) -> Result<(), FlowError> {
        let network = Network::of(client.address);
        let tried = stuffing::Tried { network, name: self.key, outcome };
        let noticed = engine.ask_unsealed(&engine.services.stuffing, Observe { tried }).await?;
        let suspected = || client.note(Event::StuffingSuspected);
        if noticed.alarm {
            engine.record(suspected().with_reason("failures far above their mean"));
        }
        if let Some(network) = noticed.suspect {
            engine.record(suspected().with_reason("many names from one network"));
            Box::pin(engine.ask_unsealed(&engine.services.throttle, Suspect { network })).await?;
        }
        if noticed.targeted {
            Box::pin(self.warn_owner(engine, suspected())).await?;
        }
        Ok(())
    }

    async fn warn_owner(&self, engine: &Engine, suspected: Note) -> Result<(), FlowError> {
        let account = engine.accounts.ask(Find { name: self.key }).await?;
        engine.record(suspected.for_account(account.as_ref()).with_reason("one name from many networks"));
        let owner = Addressee::of(account.as_ref(), &self.name, self.key);
        engine.post(owner, Kind::Targeted).await
    }
}

/// Checks the password of a name, known or unknown, with the same work, and settles the attempt.
pub(super) async fn check_password(
    engine: &Engine,
    client: &Client,
    name: AccountName,
    password: &str,
    known: Known<'_>,
) -> Result<AccountV1, FlowError> {
    let presented = Presented::new(engine, name, password, known);
    // A request that ends early takes this with it.
    let account = presented.check(engine, client, std::future::pending::<()>()).await?;
    Ok(engine.journal.open(account).await.map_err(Fault::from)?)
}
