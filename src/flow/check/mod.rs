//! The check of a password, in two steps around the hash: [`Presented::begin_attempt`] charges the account name as if
//! the attempt had failed, [`Presented::finish_attempt`] settles it. Known and unknown names cost the same work.

pub(super) mod link_turn;
mod locked;
pub(super) mod turn;

use self::turn::{HangUp, Turn};
use super::authenticate::Identity;
use super::client::Client;
use super::devices;
use super::post::Addressee;
use super::refusal::{FlowError, Refusal, parse_name};
use crate::audit::event::{Event, Note};
use crate::engine::{Engine, Fault};
use crate::journal::append::handle::Sealed;
use crate::password::{EqualWork, Lane, Password, QueueKey, Shed, Unverified, Verified};
use crate::registry::account::AccountV4;
use crate::registry::account::actor::{Find, FindToCheck, Rehash, ToCheck};
use crate::registry::lockout::turns::Party;
use crate::registry::lockout::{
    AskedSession, Attempt, AttemptOutcome, Begin, Caller, Device, DeviceCookie, Finish, NewDevice, Refused,
};
use crate::registry::outbox::Kind;
use crate::registry::reset::{Cause, Purpose};
use crate::registry::stuffing::actor::{Look, Observe};
use crate::registry::stuffing::{self, Reputation};
use crate::registry::throttle::actor::Suspect;
use crate::system::clock::Timestamp;
use crate::system::seeded_bug::{Bug, seeded};
use crate::value::account_name::{AccountName, NameKey};
use crate::value::id::{MailedId, keyed_digest, short_digest};
use crate::value::network::Network;

/// Evidence that a password comes from a device of the account's owner.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known<'a> {
    /// The device tokens of the request. The first that is valid for the name counts, so that a cookie which is not
    /// does not hide a header which is.
    Devices([Option<&'a str>; 2]),
    /// The session that asks for the password again.
    Session {
        sid: [u8; 16],
        /// When its client last proved to be the owner.
        proved: Timestamp,
    },
}

/// Evidence of a device or session that a client sends with name and password, once its form is checked.
#[derive(Clone, Copy, Debug)]
enum Shown {
    Nothing,
    /// A device cookie that this server issued for the name within the last year.
    Device([u8; 8], DeviceCookie),
    Session(AskedSession),
}

impl Shown {
    fn read(engine: &Engine, name: NameKey, known: Known<'_>) -> Self {
        let keys = &engine.services.keys;
        match known {
            Known::Devices(texts) => {
                let now = engine.clock.now();
                let read = |text| keys.device.find_map(|key| DeviceCookie::read(key, name, text, now));
                let cookie = texts.into_iter().flatten().find_map(read);
                cookie.map_or(Self::Nothing, |cookie| Self::Device(cookie.id(&keys.counts), cookie))
            }
            Known::Session { sid, proved } => {
                let id = short_digest(&keys.counts, &[b"session count", &name.0, &sid]);
                Self::Session(AskedSession { id, proved })
            }
        }
    }
}

/// An account name and a password, as a client presents them.
pub(super) struct Presented {
    name: AccountName,
    /// The key that guesses are counted under: that of the name, or one that stands for a link.
    key: NameKey,
    shown: Shown,
    password: Password,
    /// A digest of name and password: the same wrong password counts once.
    password_digest: [u8; 8],
}

/// The caller that presents a password, as far as it is known before the password is checked.
pub(super) struct Recognised {
    caller: Caller,
    /// The account of the name, if it was looked up. Only for a device cookie: its holder knows of the account.
    looked_up: Option<ToCheck>,
}

impl Recognised {
    /// Describes a caller whose account was not looked up.
    const fn unseen(caller: Caller) -> Self {
        Self { caller, looked_up: None }
    }

    /// Returns the device to which the network limit is charged, so that others in its network do not shut it out.
    pub(super) const fn payer(&self) -> Option<u64> {
        match self.caller {
            Caller::Device(device) => Some(u64::from_be_bytes(device.id)),
            Caller::Stranger | Caller::Session(_) => None,
        }
    }

    const fn party(&self) -> Party {
        match self.caller {
            Caller::Stranger => None,
            Caller::Device(device) => Some(device.id),
            Caller::Session(session) => Some(session.id),
        }
    }
}

/// An attempt that the account name has been charged for.
struct BegunAttempt {
    attempt: Attempt,
    /// Where the password waits to be hashed.
    place: QueueKey,
}

/// The result of comparing a password with several hashes.
enum Compared {
    Right,
    Wrong,
    /// It is none of the first ones, and the server was too busy for the others.
    Cut(Shed),
}

/// An account whose password was right, and the device that it came from.
#[derive(Clone)]
pub(super) struct Checked {
    /// The account.
    pub(super) account: AccountV4,
    /// The nonce of the device's cookie: that of the known device, or a new one.
    pub(super) device_nonce: [u8; 16],
    /// Whether the device is new, which is recorded or told once it is logged in.
    pub(super) new_device: NewDevice,
}

/// Returns the lane for a client without a known device. Networks whose log-ins fail wait longer.
pub(super) const fn lane_of(reputation: Reputation) -> Lane {
    if reputation.recently_failing { Lane::Failing } else { Lane::Quiet }
}

impl Presented {
    pub(super) fn new(engine: &Engine, name: AccountName, password: &str, known: Known<'_>) -> Self {
        let key = name.key(&engine.services.keys.directory);
        let shown = Shown::read(engine, key, known);
        Self::under(engine, name, key, shown, password)
    }

    /// Presents a password beside a mailed link. It is counted under a key that stands for the link, in place of a name.
    fn beside_link(engine: &Engine, name: AccountName, link: MailedId, password: &str) -> Self {
        let id = link.to_bytes();
        let digest = keyed_digest(&engine.services.keys.directory, &[b"guesses beside a link", &id]);
        // It lies in the slot of the link, as a name lies in that of its account.
        let from = |at| if at < 2 { id.get(at) } else { digest.get(at) };
        let key = NameKey(std::array::from_fn(|at| from(at).copied().unwrap_or_default()));
        Self::under(engine, name, key, Shown::Nothing, password)
    }

    fn under(engine: &Engine, name: AccountName, key: NameKey, shown: Shown, password: &str) -> Self {
        let password = Password::for_login(password);
        let parts: [&[u8]; 3] = [b"wrong password", &key.0, password.as_bytes()];
        let password_digest = short_digest(&engine.services.keys.counts, &parts);
        Self { name, key, shown, password, password_digest }
    }

    /// Returns the key of the name.
    pub(super) const fn key(&self) -> NameKey {
        self.key
    }

    /// Returns the id of the device that the client shows, or of its session. The account may no longer know it.
    pub(super) const fn shown_id(&self) -> Option<[u8; 8]> {
        match self.shown {
            Shown::Nothing => None,
            Shown::Device(id, _) => Some(id),
            Shown::Session(session) => Some(session.id),
        }
    }

    /// Returns the place of this password in the hash queue.
    pub(super) fn place(&self, client: &Client, lane: Lane) -> QueueKey {
        client.place(lane).of_name(self.key.0)
    }

    /// Looks up whether the device that the client shows is one of the account as it is now.
    pub(super) async fn recognise(&self, engine: &Engine) -> Result<Recognised, FlowError> {
        let (id, cookie) = match self.shown {
            Shown::Nothing => return Ok(Recognised::unseen(Caller::Stranger)),
            Shown::Session(session) => return Ok(Recognised::unseen(Caller::Session(session))),
            Shown::Device(id, cookie) => (id, cookie),
        };
        let found = engine.accounts.ask(FindToCheck { name: self.key }).await?;
        let is_own = |account: &AccountV4| {
            account.account_id().to_bytes() == cookie.account
                && devices::epoch(engine, account) == cookie.epoch
        };
        let device = Device { id, account: cookie.account, epoch: cookie.epoch };
        let caller = if found.account.as_ref().is_some_and(is_own) {
            Caller::Device(device)
        } else {
            Caller::Stranger
        };
        Ok(Recognised { caller, looked_up: Some(found) })
    }

    /// Checks the password and returns its account. No hash is made for a locked name.
    ///
    /// When the client hangs up, an attempt whose hash has not begun is given back; any other is settled.
    pub(super) async fn check(
        &self,
        engine: &Engine,
        client: &Client,
        recognised: Recognised,
        hung_up: &mut HangUp,
    ) -> Result<Sealed<Checked>, FlowError> {
        let (begun, turn) = self.begin_in_turn(engine, client, &recognised, hung_up).await?;
        // The charge becomes durable while the hash is made, or with its result: no answer leaves before that.
        let checked = begun.then(async |begun| {
            let ToCheck { account, work } = match recognised.looked_up {
                Some(looked_up) => looked_up,
                None => engine.accounts.ask(FindToCheck { name: self.key }).await?,
            };
            let phc = account.as_ref().and_then(|account| account.phc.as_deref());
            let pool = &engine.services.pool;
            let verified =
                pool.verify_unless(begun.place, self.password.clone(), phc, work, hung_up.happens()).await;
            let is_gone = hung_up.has_happened();
            if is_gone && seeded(Bug::HangUpStaysCharged) {
                return Err(Fault::HungUp.into());
            }
            let checked = self.finish_attempt(engine, client, begun, account, verified, &turn, is_gone).await;
            if is_gone { Err(Fault::HungUp.into()) } else { checked }
        });
        Ok(checked.await?.map(|(_, checked)| checked))
    }

    /// Checks the password like [`Presented::check`] on the actors' thread, where it is settled also if the client hangs
    /// up.
    async fn check_on_owner_thread(self, engine: &Engine, client: &Client) -> Result<AccountV4, FlowError> {
        // The sender is dropped with this request, wherever it ends.
        let (_waiting, mut hung_up) = HangUp::watch();
        let work = async move |engine: &Engine, client: &Client| {
            let recognised = self.recognise(engine).await?;
            self.check(engine, client, recognised, &mut hung_up).await
        };
        let checked = engine.itself()?.on_owner_thread_for(client, work).await??;
        Ok(engine.journal.open(checked).await?.account)
    }

    /// Checks the password against `phcs`, for a link of `account`. One guess is charged, whatever their number.
    async fn check_beside_link(
        &self,
        engine: &Engine,
        client: &Client,
        account: &AccountV4,
        phcs: &[Box<str>],
        hung_up: &mut HangUp,
    ) -> Result<Sealed<()>, FlowError> {
        let recognised = Recognised::unseen(Caller::Stranger);
        let (begun, turn) = self.begin_in_turn(engine, client, &recognised, hung_up).await?;
        let checked = begun.then(async |begun| {
            let verified = self.compare(engine, begun.place, phcs, hung_up).await;
            let in_flight = u32::try_from(turn.others().1).unwrap_or(u32::MAX);
            let finish =
                |outcome| Finish { attempt: begun.attempt, outcome, device: None, in_flight, account: None };
            match verified {
                Ok(Compared::Right) => {
                    let settled = engine.lockout.ask_sealed(finish(AttemptOutcome::Succeeded)).await?;
                    self.observe(engine, client, stuffing::Outcome::Succeeded).await?;
                    Ok(settled.map(|_| ()))
                }
                Ok(wrong) => {
                    let settled = engine.lockout.ask(finish(AttemptOutcome::Failed { known: false })).await?;
                    self.observe(engine, client, stuffing::Outcome::Failed).await?;
                    let note =
                        |event| client.note(event).for_account(Some(account)).with_reason("beside a link");
                    engine.record(note(Event::LoginFailed));
                    if settled.lock_began {
                        engine.record(note(Event::LockoutStarted));
                    }
                    Err(match wrong {
                        Compared::Cut(shed) => FlowError::from(shed),
                        _ => Refusal::WrongPassword.into(),
                    })
                }
                Err(unverified) => {
                    engine.lockout.ask(finish(AttemptOutcome::Returned)).await?;
                    match unverified {
                        Unverified::Shed(shed) => Err(shed.into()),
                        Unverified::Withdrawn => Err(Fault::HungUp.into()),
                    }
                }
            }
        });
        Ok(checked.await?.map(|(_, ())| ()))
    }

    /// Compares the password with each of `phcs` until one matches.
    ///
    /// Errors: nothing was compared.
    /// Security: after the first comparison the attempt is judged, also if the client hangs up or the server is busy.
    /// Otherwise an attempt that was no match would be given back, and many of them could be tried for one.
    async fn compare(
        &self,
        engine: &Engine,
        place: QueueKey,
        phcs: &[Box<str>],
        hung_up: &mut HangUp,
    ) -> Result<Compared, Unverified> {
        let pool = &engine.services.pool;
        let mut rest = phcs.iter();
        if let Some(phc) = rest.next() {
            let password = self.password.clone();
            let work = EqualWork::default();
            if pool.verify_unless(place, password, Some(phc), work, hung_up.happens()).await?.matches {
                return Ok(Compared::Right);
            }
        }
        for phc in rest {
            let password = self.password.clone();
            let work = EqualWork::default();
            match pool.verify_unless(place, password, Some(phc), work, std::future::pending::<()>()).await {
                Ok(verified) if verified.matches => return Ok(Compared::Right),
                Err(Unverified::Shed(shed)) => return Ok(Compared::Cut(shed)),
                Ok(_) | Err(Unverified::Withdrawn) => {}
            }
        }
        Ok(Compared::Wrong)
    }

    /// Waits for a turn among the attempts at the name, then charges the name for this one.
    async fn begin_in_turn<'a>(
        &self,
        engine: &'a Engine,
        client: &Client,
        recognised: &Recognised,
        hung_up: &mut HangUp,
    ) -> Result<(Sealed<BegunAttempt>, Turn<'a>), FlowError> {
        let mut turn = tokio::select! {
            biased;
            turn = Turn::take(engine, self.key, recognised.party()) => turn?,
            () = hung_up.happens() => return Err(Fault::HungUp.into()),
        };
        loop {
            match self.begin_attempt(engine, client, recognised.caller, &turn).await? {
                Some(begun) => return Ok((begun, turn)),
                None => tokio::select! {
                    biased;
                    () = turn.step_back() => {}
                    () = hung_up.happens() => return Err(Fault::HungUp.into()),
                },
            }
        }
    }

    /// Charges the account name for an attempt, as if the password were wrong. Returns `None` if others at the name must
    /// be settled first.
    ///
    /// Errors: a fault if the hash queue has no room, before anything is charged; [`Refusal::Locked`].
    async fn begin_attempt(
        &self,
        engine: &Engine,
        client: &Client,
        caller: Caller,
        turn: &Turn<'_>,
    ) -> Result<Option<Sealed<BegunAttempt>>, FlowError> {
        let network = Network::of(client.address);
        let reputation = engine.ask_unsealed(&engine.services.stuffing, Look { network }).await?;
        let unknown_lane = lane_of(reputation);
        let place = self.place(client, if caller == Caller::Stranger { unknown_lane } else { Lane::Known });
        if let Err(shed) = engine.services.pool.has_room(&[place]) {
            engine.services.audit.count(Event::LoginShed, Some(network));
            return Err(shed.into());
        }
        let (others, _) = turn.others();
        let begin =
            Begin { name: self.key, caller, password: self.password_digest, others_in_flight: others > 0 };
        let answer = engine.lockout.ask_sealed(begin).await?;
        let charged = answer.when();
        let begun = answer.then(async |answer| match answer {
            Ok(attempt) => {
                let is_known = attempt.is_of_known_device();
                if is_known {
                    engine.record(client.note(Event::DeviceRecognised).device(self.shown_id()));
                }
                // A device that is not on the list, or has failed too often, no longer counts as known.
                let lane = if is_known { Lane::Known } else { unknown_lane };
                let begun = BegunAttempt { attempt: *attempt, place: self.place(client, lane) };
                Ok::<_, FlowError>(Sealed::new(Some(begun), 0))
            }
            Err(Refused::InFlight) => Ok(Sealed::new(None, 0)),
            Err(Refused::Locked { until }) => {
                engine.journal.open(charged).await?;
                self.observe(engine, client, stuffing::Outcome::Failed).await?;
                let note = client.note(Event::LoginLocked).device(self.shown_id());
                locked::record(engine, note, self.key)?;
                Err(Refusal::Locked { until: *until }.into())
            }
        });
        let begun = begun.await?.map(|(_, begun)| begun);
        Ok(begun.transpose())
    }

    /// Settles an attempt after the hash and returns the account if the password was right. If the client is gone, no
    /// device is noted for it.
    async fn finish_attempt(
        &self,
        engine: &Engine,
        client: &Client,
        begun: &BegunAttempt,
        account: Option<AccountV4>,
        verified: Result<Verified, Unverified>,
        turn: &Turn<'_>,
        is_gone: bool,
    ) -> Result<Sealed<Checked>, FlowError> {
        let attempt = begun.attempt;
        let in_flight = u32::try_from(turn.others().1).unwrap_or(u32::MAX);
        let named = account.as_ref().map(|account| account.id.to_bytes());
        let finish = |outcome, device| Finish { attempt, outcome, device, in_flight, account: named };
        let verified = match verified {
            Ok(verified) => verified,
            Err(unverified) => {
                // The password was not checked, so the charge is returned.
                engine.lockout.ask(finish(AttemptOutcome::Returned, None)).await?;
                let Unverified::Shed(shed) = unverified else { return Err(Fault::HungUp.into()) };
                let note = client.note(Event::LoginShed);
                engine.record(note.for_account(account.as_ref()).device(self.shown_id()));
                return Err(shed.into());
            }
        };
        match account {
            Some(account) if verified.matches => {
                let device_nonce = self.nonce(engine, attempt)?;
                let device = match self.shown {
                    Shown::Session(_) => None,
                    _ if is_gone => None,
                    _ => Some(devices::used(engine, client, &account, device_nonce)),
                };
                let settled = engine.lockout.ask_sealed(finish(AttemptOutcome::Succeeded, device)).await?;
                self.observe(engine, client, stuffing::Outcome::Succeeded).await?;
                if verified.needs_rehash {
                    // Boxed, like all that is seldom done: a log-in's future has no room for it.
                    Box::pin(self.rehash(engine, begun.place, &account)).await?;
                }
                Ok(settled.map(|settled| Checked { account, device_nonce, new_device: settled.new_device }))
            }
            account => {
                let failed = finish(AttemptOutcome::Failed { known: account.is_some() }, None);
                self.record_failure(engine, client, failed, account.as_ref()).await?;
                Err(Refusal::InvalidCredentials.into())
            }
        }
    }

    /// Returns the nonce of the known device that the attempt came from, or a new one.
    fn nonce(&self, engine: &Engine, attempt: Attempt) -> Result<[u8; 16], FlowError> {
        match self.shown {
            Shown::Device(_, cookie) if attempt.is_of_known_device() => Ok(cookie.nonce),
            _ => Ok(engine.services.random.bytes()?),
        }
    }

    /// Settles an attempt with a wrong password, for `account` or for a name that has none.
    async fn record_failure(
        &self,
        engine: &Engine,
        client: &Client,
        failed: Finish,
        account: Option<&AccountV4>,
    ) -> Result<(), FlowError> {
        let is_known = failed.attempt.is_of_known_device();
        let settled = engine.lockout.ask(failed).await?;
        let observed = if is_known { stuffing::Outcome::Mistyped } else { stuffing::Outcome::Failed };
        self.observe(engine, client, observed).await?;
        let note = |event| client.note(event).for_account(account).device(self.shown_id());
        engine.record(note(Event::LoginFailed));
        if settled.device_demoted {
            engine.record(note(Event::DeviceDemoted));
        }
        if settled.mail_of_devices {
            let owner = Addressee::of(account, &self.name, self.key);
            Box::pin(engine.post(owner, Kind::DeviceDemoted)).await?;
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
    async fn rehash(&self, engine: &Engine, place: QueueKey, account: &AccountV4) -> Result<(), FlowError> {
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
        // A quota apart from that of the lockout mails, which come first and would use it up.
        engine.warn(cause, owner, Purpose::Verify, Kind::Targeted).await?;
        Ok(())
    }
}

/// Checks that `password` is one of `phcs`, for the link `link` of `account`, which is not enough alone.
///
/// Security: guesses are counted like those at log-in, but for this link alone. So strangers, who can lock a name, cannot
/// lock the link, and a holder of the link cannot lock the name.
pub(super) async fn confirm_beside_link(
    engine: &Engine,
    client: &Client,
    link: MailedId,
    account: &AccountV4,
    password: &str,
    phcs: Vec<Box<str>>,
) -> Result<(), FlowError> {
    let name = parse_name(&account.email)?;
    let presented = Presented::beside_link(engine, name, link, password);
    let account = account.clone();
    // The sender is dropped with this request, wherever it ends.
    let (_waiting, mut hung_up) = HangUp::watch();
    let work = async move |engine: &Engine, client: &Client| {
        presented.check_beside_link(engine, client, &account, &phcs, &mut hung_up).await
    };
    let checked = engine.itself()?.on_owner_thread_for(client, work).await??;
    Ok(engine.journal.open(checked).await?)
}

/// Asks for the password of `identity` again, before a change that a stolen session must not be able to make. Returns
/// its account as it is now.
pub(super) async fn confirm_password(
    engine: &Engine,
    client: &Client,
    identity: &Identity,
    password: &str,
) -> Result<AccountV4, FlowError> {
    let name = parse_name(&identity.account.email)?;
    let known = Known::Session { sid: identity.sid(), proved: identity.proved() };
    let presented = Presented::new(engine, name, password, known);
    let checked = presented.check_on_owner_thread(engine, client).await;
    let account = checked.map_err(|error| match error {
        FlowError::Refused(Refusal::InvalidCredentials) => Refusal::WrongPassword.into(),
        other => other,
    })?;
    // The address may belong to another account by now.
    if account.account_id() != identity.account.account_id() {
        return Err(Refusal::Unauthenticated.into());
    }
    Ok(account)
}
