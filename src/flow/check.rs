//! The check of a password, in two steps around the hash: [`Presented::begin_attempt`] charges the account name as if
//! the attempt had failed, [`Presented::finish_attempt`] settles it. Known and unknown names cost the same work.

use super::authenticate::Identity;
use super::client::Client;
use super::post::Addressee;
use super::refusal::{FlowError, Refusal, parse_name};
use crate::audit::event::{Event, Note};
use crate::engine::{Engine, Fault};
use crate::journal::append::handle::Sealed;
use crate::password::{Lane, Password, QueueKey, Shed, Verified};
use crate::registry::account::AccountV2;
use crate::registry::account::actor::{Find, FindToCheck, Rehash, ToCheck};
use crate::registry::lockout::{Attempt, AttemptOutcome, Begin, Finish, device};
use crate::registry::outbox::Kind;
use crate::registry::reset::{Cause, Purpose};
use crate::registry::stuffing::actor::{Look, Observe};
use crate::registry::stuffing::{self, Reputation};
use crate::registry::throttle::actor::Suspect;
use crate::value::account_name::{AccountName, NameKey};
use crate::value::id::short_digest;
use crate::value::network::Network;

/// Evidence that a password comes from a device of the account's owner.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known<'a> {
    /// The device tokens of the request. The first that is valid for the name counts, so that a cookie which is not
    /// does not hide a header which is.
    Devices([Option<&'a str>; 2]),
    /// The session that asks for the password again. It counts as a device of its own, so that strangers cannot lock
    /// out its owner here, and a thief of the session cannot guess on.
    Session([u8; 16]),
}

impl Known<'_> {
    /// Returns the device under which the failures of `name` are counted; `None` for an unknown device.
    fn device(self, engine: &Engine, name: NameKey) -> Option<[u8; 8]> {
        let key = &engine.services.keys.device;
        match self {
            Self::Devices(texts) => {
                texts.into_iter().flatten().find_map(|text| device::check(key, name, text))
            }
            Self::Session(sid) => Some(short_digest(key, &[b"session count", &name.0, &sid])),
        }
    }
}

/// An account name and a password, as a client presents them.
pub(super) struct Presented {
    name: AccountName,
    key: NameKey,
    device: Option<[u8; 8]>,
    password: Password,
    /// A digest of name and password: the same wrong password counts once.
    password_digest: [u8; 8],
}

/// An attempt that the account name has been charged for.
struct BegunAttempt {
    attempt: Attempt,
    /// Where the password waits to be hashed.
    place: QueueKey,
}

/// Returns the lane for a client without a known device. Networks whose log-ins fail wait longer.
pub(super) const fn lane_of(reputation: Reputation) -> Lane {
    if reputation.recently_failing { Lane::Failing } else { Lane::Quiet }
}

impl Presented {
    pub(super) fn new(engine: &Engine, name: AccountName, password: &str, known: Known<'_>) -> Self {
        let key = name.key(&engine.services.keys.directory);
        let device = known.device(engine, key);
        let password = Password::for_login(password);
        let parts: [&[u8]; 3] = [b"wrong password", &key.0, password.as_bytes()];
        let password_digest = short_digest(&engine.services.keys.device, &parts);
        Self { name, key, device, password, password_digest }
    }

    pub(super) const fn name(&self) -> &AccountName {
        &self.name
    }

    /// Says whether the request comes from a device that has logged in to this account before.
    pub(super) const fn has_device(&self) -> bool {
        self.device.is_some()
    }

    /// Checks the password and returns its account. No hash is made for a locked name.
    ///
    /// `hung_up` ends when the client disconnects. A hash that has not begun is then not made, and the attempt stays
    /// charged.
    pub(super) async fn check(
        &self,
        engine: &Engine,
        client: &Client,
        hung_up: impl Future,
    ) -> Result<Sealed<AccountV2>, FlowError> {
        let begun = self.begin_attempt(engine, client).await?;
        let charged = begun.when();
        // The charge becomes durable while the hash is made, or with its result: no answer leaves before that.
        let checked = begun.then(async |begun| {
            let ToCheck { account, cost } = engine.accounts.ask(FindToCheck { name: self.key }).await?;
            let phc = account.as_ref().and_then(|account| account.phc.as_deref());
            let verified = tokio::select! {
                biased;
                verified = engine.services.pool.verify(begun.place, self.password.clone(), phc, cost) => verified,
                _ = hung_up => {
                    engine.journal.open(charged).await?;
                    return Err(Fault::HungUp.into());
                }
            };
            self.finish_attempt(engine, client, begun, account, verified).await
        });
        Ok(checked.await?.map(|(_, account)| account))
    }

    /// Charges the account name for an attempt, as if the password were wrong.
    ///
    /// Errors: a fault if the hash queue has no room, before anything is charged; [`Refusal::Locked`].
    async fn begin_attempt(
        &self,
        engine: &Engine,
        client: &Client,
    ) -> Result<Sealed<BegunAttempt>, FlowError> {
        let network = Network::of(client.address);
        let reputation = engine.ask_unsealed(&engine.services.stuffing, Look { network }).await?;
        let unknown_lane = lane_of(reputation);
        let place = client.place(if self.has_device() { Lane::Known } else { unknown_lane });
        if let Err(shed) = engine.services.pool.has_room(&[place.lane], place.network) {
            engine.services.audit.count(Event::LoginShed);
            return Err(shed.into());
        }
        let begin = Begin { name: self.key, device: self.device, password: self.password_digest };
        let answer = engine.lockout.ask_sealed(begin).await?;
        let charged = answer.when();
        let begun = answer.then(async |answer| match answer {
            Ok(attempt) => {
                if self.has_device() {
                    engine.record(client.note(Event::DeviceRecognised).device(self.device));
                }
                // A device whose cookie has failed too often no longer counts as known.
                let lane = if attempt.is_of_known_device() { Lane::Known } else { unknown_lane };
                let begun = BegunAttempt { attempt: *attempt, place: client.place(lane) };
                Ok::<_, FlowError>(Sealed::new(begun, 0))
            }
            Err(locked) => {
                engine.journal.open(charged).await?;
                // The account is not looked up: on a path this short, the time would reveal whether it exists.
                engine.record(client.note(Event::LoginLocked).device(self.device));
                self.observe(engine, client, stuffing::Outcome::Failed).await?;
                Err(Refusal::Locked { until: locked.until }.into())
            }
        });
        Ok(begun.await?.map(|(_, begun)| begun))
    }

    /// Settles an attempt after the hash and returns the account if the password was right.
    async fn finish_attempt(
        &self,
        engine: &Engine,
        client: &Client,
        begun: &BegunAttempt,
        account: Option<AccountV2>,
        verified: Result<Verified, Shed>,
    ) -> Result<Sealed<AccountV2>, FlowError> {
        let attempt = begun.attempt;
        let verified = match verified {
            Ok(verified) => verified,
            Err(shed) => {
                // The password was not checked, so the charge is returned.
                engine.lockout.ask(Finish { attempt, outcome: AttemptOutcome::Returned }).await?;
                let note = client.note(Event::LoginShed);
                engine.record(note.for_account(account.as_ref()).device(self.device));
                return Err(shed.into());
            }
        };
        match account {
            Some(account) if verified.matches => {
                let succeeded = Finish { attempt, outcome: AttemptOutcome::Succeeded };
                let settled = engine.lockout.ask_sealed(succeeded).await?;
                self.observe(engine, client, stuffing::Outcome::Succeeded).await?;
                if verified.needs_rehash {
                    // Boxed, like all that is seldom done: a log-in's future has no room for it.
                    Box::pin(self.rehash(engine, begun.place, &account)).await?;
                }
                Ok(settled.map(|_| account))
            }
            account => {
                self.record_failure(engine, client, attempt, account.as_ref()).await?;
                Err(Refusal::InvalidCredentials.into())
            }
        }
    }

    /// Settles an attempt with a wrong password, for `account` or for a name that has none.
    async fn record_failure(
        &self,
        engine: &Engine,
        client: &Client,
        attempt: Attempt,
        account: Option<&AccountV2>,
    ) -> Result<(), FlowError> {
        let outcome = AttemptOutcome::Failed { known: account.is_some() };
        let settled = engine.lockout.ask(Finish { attempt, outcome }).await?;
        let observed =
            if self.has_device() { stuffing::Outcome::Mistyped } else { stuffing::Outcome::Failed };
        self.observe(engine, client, observed).await?;
        let note = |event| client.note(event).for_account(account).device(self.device);
        engine.record(note(Event::LoginFailed));
        if settled.device_demoted {
            engine.record(note(Event::DeviceDemoted));
        }
        if settled.lock_began {
            engine.record(note(Event::LockoutStarted));
        }
        if settled.mail_owner {
            let owner = Addressee::of(account, &self.name, self.key);
            let cause = Cause::Warning(engine.mailing_network(client));
            Box::pin(engine.mail_token(cause, owner, Purpose::Unlock, Kind::Lockout)).await?;
        }
        Ok(())
    }

    /// Hashes a right password again, with the current cost. Skipped if the hash queue has no room.
    async fn rehash(&self, engine: &Engine, place: QueueKey, account: &AccountV2) -> Result<(), FlowError> {
        let Some(checked) = &account.phc else { return Ok(()) };
        let Ok(phc) = engine.services.pool.hash(place, self.password.clone()).await else { return Ok(()) };
        let rehash = Rehash { id: account.account_id(), checked: checked.clone(), phc: phc.into() };
        engine.accounts.ask(rehash).await?;
        Ok(())
    }

    /// Reports how an attempt ended to the stuffing defence, and does what it asks for. Names without an account cost
    /// the same work; their mail has no recipient.
    async fn observe(
        &self,
        engine: &Engine,
        client: &Client,
        outcome: stuffing::Outcome,
    ) -> Result<(), FlowError> {
        let network = Network::of(client.address);
        let tried = stuffing::Tried { network, name: self.key, outcome };
        let observed = engine.ask_unsealed(&engine.services.stuffing, Observe { tried }).await?;
        let suspected = || client.note(Event::StuffingSuspected);
        if observed.alarm {
            engine.record(suspected().with_reason("failures far above their mean"));
        }
        if let Some(network) = observed.suspect {
            engine.record(suspected().with_reason("many names from one network"));
            Box::pin(engine.ask_unsealed(&engine.services.throttle, Suspect { network })).await?;
        }
        if observed.targeted {
            let cause = Cause::Warning(engine.mailing_network(client));
            Box::pin(self.warn_owner(engine, cause, suspected())).await?;
        }
        Ok(())
    }

    /// Mails the owner of an account that is tried from many networks.
    async fn warn_owner(&self, engine: &Engine, cause: Cause, suspected: Note) -> Result<(), FlowError> {
        let account = engine.accounts.ask(Find { name: self.key }).await?;
        engine.record(suspected.for_account(account.as_ref()).with_reason("one name from many networks"));
        let owner = Addressee::of(account.as_ref(), &self.name, self.key);
        engine.warn(cause, owner, Purpose::Unlock, Kind::Targeted).await
    }
}

/// Checks the password of `account`, for a link that is not enough alone. `devices` are the device tokens of the request.
/// Guesses count like those at log-in.
pub(super) async fn confirm_password_of(
    engine: &Engine,
    client: &Client,
    account: &AccountV2,
    password: &str,
    devices: [Option<&str>; 2],
) -> Result<(), FlowError> {
    let presented = Presented::new(engine, parse_name(&account.email)?, password, Known::Devices(devices));
    let checked = presented.check(engine, client, std::future::pending::<()>()).await?;
    let checked = engine.journal.open(checked).await?;
    // The address may belong to another account by now.
    if checked.account_id() != account.account_id() {
        return Err(Refusal::InvalidCredentials.into());
    }
    Ok(())
}

/// Checks a password that an account had under an earlier address, against the PHC string that was kept. Guesses count for
/// the earlier address alone, so that they lock nobody out of the present one.
pub(super) async fn confirm_former_password(
    engine: &Engine,
    client: &Client,
    former: AccountName,
    password: &str,
    phc: &str,
) -> Result<(), FlowError> {
    let presented = Presented::new(engine, former, password, Known::Devices([None; 2]));
    let begun = presented.begin_attempt(engine, client).await?;
    let begun = engine.journal.open(begun).await?;
    let attempt = begun.attempt;
    let verified =
        engine.services.pool.verify(begun.place, presented.password.clone(), Some(phc), None).await;
    match verified {
        Ok(verified) if verified.matches => {
            engine.lockout.ask(Finish { attempt, outcome: AttemptOutcome::Succeeded }).await?;
            presented.observe(engine, client, stuffing::Outcome::Succeeded).await
        }
        Ok(_) => {
            presented.record_failure(engine, client, attempt, None).await?;
            Err(Refusal::InvalidCredentials.into())
        }
        Err(shed) => {
            engine.lockout.ask(Finish { attempt, outcome: AttemptOutcome::Returned }).await?;
            Err(shed.into())
        }
    }
}

/// Asks for the password of `identity` again, before a change that a stolen session must not be able to make. Returns
/// its account as it is now.
pub(super) async fn confirm_password(
    engine: &Engine,
    client: &Client,
    identity: &Identity,
    password: &str,
) -> Result<AccountV2, FlowError> {
    let name = parse_name(&identity.account.email)?;
    let presented = Presented::new(engine, name, password, Known::Session(identity.sid()));
    // A request that ends early drops this future, and the wait with it.
    let account = presented.check(engine, client, std::future::pending::<()>()).await?;
    let account = engine.journal.open(account).await?;
    // The address may belong to another account by now.
    if account.account_id() != identity.account.account_id() {
        return Err(Refusal::Unauthenticated.into());
    }
    Ok(account)
}
