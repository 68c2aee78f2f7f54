//! Holders of other accounts: one logs in without end from many networks; two ask for addresses and compare what arrives.

use std::cell::RefCell;
use std::rc::Rc;

use super::ledger::{Broken, Holder, Promise};
use super::owner::{Owner, access_of, new_account};
use super::town::{Town, Try, client, is_closed};
use crate::flow::authenticate::bearer;
use crate::flow::email;
use crate::flow::grant::Opened;
use crate::flow::refusal::{FlowError, Refusal};
use crate::password::{EqualWork, Password, QueueKey};
use crate::registry::account::AccountV4;
use crate::registry::outbox::Kind;
use crate::registry::outbox::actor::Waiting;

/// The account that logs in without end.
const BUSY: &str = "mallory@test.org";
/// Two accounts that do the same, one with taken addresses and one with free ones.
const TWINS: [&str; 2] = ["trudy@test.org", "tracy@test.org"];
/// A taken address that nobody else asks for.
const TAKEN: &str = "bob@test.org";
/// Log-ins of a storm.
const STORM: usize = 48;
/// The devices of the busy account.
const DEVICES: usize = 12;
/// Log-ins of the storm that may end before that of a user who came last. All of one name take one turn together, so that
/// one is hashed before, and few more are told of it sooner.
const AHEAD_MAX: u64 = 12;
/// Storms in a row that were unfair when the promise is broken. A machine that stood still for a moment makes one look so:
/// hashes end while nobody counts the answers.
const UNFAIR_MAX: u32 = 3;
/// Steps that bring a log-in from the door to the queue of hashes, and more.
const STEPS: usize = 16;
/// A hash of another account that takes long, so that a storm can line up behind it.
const LONG_HASH: &str = "$argon2id$v=19$m=65536,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";

/// The holders of other accounts.
pub(super) struct Neighbour {
    password: String,
    devices: Vec<String>,
    account: Option<AccountV4>,
    twins: [String; 2],
    /// How many addresses nobody has asked for yet.
    addresses: u64,
    /// The storms in a row that were unfair.
    unfair: u32,
}

impl Neighbour {
    /// Makes the accounts.
    pub(super) async fn arrive(town: &mut Town) -> Result<Self, Broken> {
        let from = |number| Holder { network: 4000 + number, agent: "Firefox/130.0" };
        new_account(town, TAKEN, from(0)).await?;
        let twins =
            [new_account(town, TWINS[0], from(1)).await?, new_account(town, TWINS[1], from(2)).await?];
        let password = new_account(town, BUSY, from(3)).await?;
        let mut all = Self { password, devices: Vec::new(), account: None, twins, addresses: 0, unfair: 0 };
        for number in 0..DEVICES as u32 {
            let tried = Try { from: from(10 + number), ..all.try_at(None, 0) };
            let answer = town.log_in(tried).await;
            all.note(number as usize, answer)?;
        }
        Ok(all)
    }

    fn try_at(&self, device: Option<usize>, network: u32) -> Try {
        Try {
            name: BUSY.into(),
            password: self.password.clone(),
            device: device.map(|at| self.devices[at % self.devices.len()].clone()),
            from: Holder { network, agent: "Firefox/130.0" },
        }
    }

    /// Notes the answer to a log-in on a device.
    fn note(&mut self, device: usize, answer: Result<Opened, FlowError>) -> Result<(), Broken> {
        match answer {
            Ok(opened) => {
                self.account = Some(opened.account);
                let cookie = opened.device.unwrap_or_default();
                match self.devices.get_mut(device) {
                    Some(kept) => *kept = cookie,
                    None => self.devices.push(cookie),
                }
                Ok(())
            }
            Err(error) if is_closed(&error) => Ok(()),
            Err(FlowError::Refused(Refusal::Throttled { .. })) => Ok(()),
            Err(error) => Promise::Serves.broken(format!("a log-in of another account: {error}")),
        }
    }

    /// Logs in from many networks at once. The owner comes last, and waits for one turn.
    pub(super) async fn storm(&mut self, town: &mut Town, owner: &mut Owner) -> Result<(), Broken> {
        town.show(format!("another account logs in {STORM} times at once"));
        let engine = std::sync::Arc::clone(&town.engine);
        let honest = owner.honest_try(town);
        let long = honest.is_some().then(|| {
            town.counts.passwords += 1;
            let pool = engine.services.pool.clone();
            let password = Password::for_login("long");
            actix::spawn(async move {
                pool.verify(QueueKey::OWN, password, Some(LONG_HASH), EqualWork::default()).await.is_ok()
            })
        });
        if long.is_some() {
            while engine.services.pool.stats().running == 0 {
                tokio::task::yield_now().await;
            }
        }
        let ended: Rc<RefCell<u64>> = Rc::default();
        let mut going = Vec::new();
        for at in 0..STORM {
            let tried = self.try_at(Some(at), 5000 + at as u32);
            let (log_in, ended) = (town.begin_log_in(tried), Rc::clone(&ended));
            going.push(actix::spawn(async move {
                let answer = log_in.await.unwrap();
                // Refusals of those that were too many cost no turn.
                *ended.borrow_mut() += u64::from(answer.is_ok());
                answer
            }));
        }
        if let (Some((at, tried)), Some(long)) = (honest, long) {
            let (log_in, counted) = (town.begin_log_in(tried), Rc::clone(&ended));
            let of_owner = actix::spawn(async move {
                let answer = log_in.await.unwrap();
                (answer, *counted.borrow())
            });
            while engine.turns.lock().len() < 2 && !long.is_finished() {
                tokio::task::yield_now().await;
            }
            for _ in 0..STEPS {
                engine.outbox.ask(Waiting).await.unwrap();
            }
            // A machine that was busy elsewhere has shown nothing.
            let is_lined_up = !long.is_finished();
            let before = *ended.borrow();
            let (answer, after) = of_owner.await.unwrap();
            let ahead = after.saturating_sub(before);
            owner.note_honest(town, at, answer)?;
            if is_lined_up {
                town.counts.turns += 1;
                town.counts.most_ahead = town.counts.most_ahead.max(ahead);
                town.note(&format!("{ahead} were before the owner"));
                self.unfair = if ahead <= AHEAD_MAX { 0 } else { self.unfair + 1 };
                Promise::TurnsAreFair.unless(self.unfair < UNFAIR_MAX, || {
                    format!("{ahead} of {STORM} log-ins of one account were before the owner")
                })?;
            }
            Promise::Serves.unless(long.await.unwrap(), || String::from("a long hash was refused"))?;
        }
        for (at, going) in going.into_iter().enumerate() {
            let answer = going.await.unwrap();
            self.note(at % DEVICES, answer)?;
        }
        match &self.account {
            Some(account) => town.check_open(account).await,
            None => Ok(()),
        }
    }

    /// Two accounts do the same: they ask for an address some times, which is taken for the one and free for the other,
    /// and then for one of their own. What arrives there must be the same.
    pub(super) async fn compare(&mut self, town: &mut Town) -> Result<(), Broken> {
        let times = 1 + town.dice.below(4);
        town.show(format!("two accounts ask for an address {times} times, and compare"));
        self.addresses += 1;
        let number = self.addresses;
        // No stranger uses them, so that nobody else has used up their mails.
        let networks = [0, 1].map(|twin| 10_000 + 2 * number as u32 + twin);
        let mut arrived = [0; 2];
        for (twin, name) in TWINS.iter().enumerate() {
            let from = Holder { network: networks[twin], agent: "Firefox/130.0" };
            let password = self.twins[twin].clone();
            let tried = Try { name: (*name).into(), password: password.clone(), device: None, from };
            let answer = town.log_in(tried).await;
            if let Err(FlowError::Refused(Refusal::Throttled { .. })) = answer {
                return Ok(());
            }
            let identity = bearer(&town.engine, &access_of(&answer), None).await;
            let Ok(identity) = identity else { return Promise::Serves.broken("a twin cannot log in") };
            let wanted = if twin == 0 { TAKEN.to_owned() } else { format!("free{number}@test.org") };
            let own = format!("own{number}.{name}");
            for address in std::iter::repeat_n(&wanted, times as usize).chain([&own]) {
                town.counts.passwords += 1;
                let asked = email::ask(&town.engine, &client(from), &identity, &password, address).await;
                Promise::Serves
                    .unless(asked.result.is_ok(), || format!("an address was asked for: {asked:?}"))?;
                town.deliver().await?;
            }
            arrived[twin] = town.count_letters(&own, Kind::EmailChange);
        }
        Promise::NoOracle.unless(arrived[0] == arrived[1], || {
            format!("{} mails after a taken address, {} after a free one", arrived[0], arrived[1])
        })
    }
}
