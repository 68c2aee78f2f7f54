//! The owner of an account: three devices that are used in turn, typing errors, forgotten passwords, lost devices, apps
//! that lose answers and give up.

use std::collections::VecDeque;
use std::time::Duration;

use super::ledger::{Broken, Chain, Due, Holder, Promise};
use super::town::{Letter, TOKENS, Town, Try, client, form, is_closed};
use crate::flow::account::open_sessions;
use crate::flow::authenticate::bearer;
use crate::flow::devices;
use crate::flow::grant::{Grant, Opened};
use crate::flow::log_out::{Scope, log_out};
use crate::flow::mailed::{Verified, unlock, verify};
use crate::flow::password::{change, forgot, reset};
use crate::flow::refresh::refresh;
use crate::flow::refusal::{FlowError, Refusal};
use crate::flow::sign_up::{Done, sign_up};
use crate::registry::account::AccountV4;
use crate::registry::outbox::Kind;
use crate::system::clock::Timestamp;

/// The owner's address.
pub(super) const NAME: &str = "ada@test.org";
/// How long a link lives that sets a password or lifts a lock.
pub(super) const LINK_LIFE: Duration = Duration::from_mins(30);
/// The most devices that an account has. The owner keeps below it, so that none gives way.
const DEVICES_MAX: usize = 16;
/// The most families that the owner keeps in use.
const FAMILIES_MAX: usize = 6;

/// The owner's networks. No stranger is in them.
const HOMES: [Holder; 3] = [
    Holder { network: 2001, agent: "Firefox/130.0" },
    Holder { network: 2002, agent: "Chrome/131.0" },
    Holder { network: 2003, agent: "phone/7" },
];

/// Where it is tried whether a link works, apart from the homes, whose rate limits are the owner's.
const ELSEWHERE: Holder = Holder { network: 2010, agent: "Firefox/130.0" };
/// A device that tries less often in a minute is within its rate limit, whatever it did before: 20 at once and a minute.
const TRIES_OF_A_MINUTE: usize = 10;

/// A device that has logged in.
#[derive(Clone, Debug)]
pub(super) struct Device {
    cookie: String,
    from: Holder,
    /// Its wrong passwords since its last success.
    errs: u32,
}

/// A family of refresh tokens in use.
pub(super) struct Family {
    pub(super) chain: Chain,
    /// The token that the owner's app will present.
    held: String,
    from: Holder,
}

impl Family {
    /// Returns the token that the owner's app will present.
    pub(super) fn held(&self) -> &str {
        &self.held
    }

    /// Returns where the owner uses it.
    pub(super) const fn from(&self) -> Holder {
        self.from
    }
}

/// The owner, and what they have.
pub(super) struct Owner {
    password: String,
    devices: Vec<Device>,
    /// Devices that were listed since the last end of all devices, with those that the owner has lost.
    listed: usize,
    /// The account as the last answer showed it.
    pub(super) account: Option<AccountV4>,
    pub(super) families: Vec<Family>,
    /// When the owner's devices tried, within the last minute.
    tries: VecDeque<Timestamp>,
    /// Cookies of devices that the owner has lost, from before and after the last end of all devices.
    pub(super) lost: Vec<String>,
}

impl Owner {
    /// Signs up, proves the address and logs in on a first device.
    pub(super) async fn arrive(town: &mut Town) -> Result<Self, Broken> {
        let password = new_account(town, NAME, HOMES[0]).await?;
        let mut owner = Self {
            password,
            devices: Vec::new(),
            listed: 0,
            account: None,
            families: Vec::new(),
            tries: VecDeque::new(),
            lost: Vec::new(),
        };
        owner.log_in_anew(town, 0).await?;
        owner.lose(town, 8).await?;
        Ok(owner)
    }

    pub(super) async fn act(&mut self, town: &mut Town) -> Result<(), Broken> {
        match town.dice.below(100) {
            0..36 => self.log_in(town).await,
            36..44 => self.log_in_on_a_new_device(town).await,
            44..54 => self.lose_a_device(town).await,
            54..64 => self.hang_up(town).await,
            64..80 => self.refresh(town).await,
            80..88 => self.forget(town).await,
            88..92 => self.unlock(town).await,
            92..96 => self.change_password(town).await,
            96..98 => self.end_all(town).await,
            _ => self.look_at_sessions(town).await,
        }
    }

    /// Returns a try with the right password on a device of the owner's that has not failed, if there is one.
    pub(super) fn honest_try(&mut self, town: &mut Town) -> Option<(usize, Try)> {
        let good: Vec<usize> = (0..self.devices.len()).filter(|at| self.devices[*at].errs == 0).collect();
        let at = *good.get(town.dice.below(good.len() as u64) as usize)?;
        Some((at, self.try_on(at, town.now())))
    }

    /// Says whether the owner's devices have tried so often that a refusal is their own doing.
    fn is_hasty(&mut self, error: &FlowError, now: Timestamp) -> bool {
        self.tries.retain(|at| now.since(*at) < Duration::from_mins(1));
        let is_throttled = matches!(error, FlowError::Refused(Refusal::Throttled { .. }));
        is_throttled && self.tries.len() >= TRIES_OF_A_MINUTE
    }

    fn try_on(&mut self, at: usize, now: Timestamp) -> Try {
        self.tries.push_back(now);
        let Device { cookie, from, .. } = &self.devices[at];
        let (name, password) = (String::from(NAME), self.password.clone());
        Try { name, password, device: Some(cookie.clone()), from: *from }
    }

    /// Notes the answer to an [`Owner::honest_try`]: it must be a success.
    pub(super) fn note_honest(
        &mut self,
        town: &mut Town,
        at: usize,
        answer: Result<Opened, FlowError>,
    ) -> Result<(), Broken> {
        match answer {
            Ok(opened) => {
                town.ledger.owner_was_here();
                self.note_log_in(town, at, opened);
                Ok(())
            }
            Err(error) if self.is_hasty(&error, town.now()) => Ok(()),
            Err(error) => {
                let listed = self.listed;
                Promise::OwnerGetsIn.broken(format!("device {at} of {listed} was answered: {error}"))
            }
        }
    }

    /// Notes a log-in on the device `at`.
    fn note_log_in(&mut self, town: &mut Town, at: usize, opened: Opened) {
        let device = &mut self.devices[at];
        device.errs = 0;
        let from = device.from;
        if let Some(cookie) = opened.device {
            device.cookie = cookie;
        }
        self.account = Some(opened.account);
        if let Grant::Tokens { refresh, .. } = opened.grant {
            let held = refresh.to_string();
            let chain = Chain::opened(held.clone(), town.now());
            if self.families.len() == FAMILIES_MAX {
                self.families.remove(0);
            }
            self.families.push(Family { chain, held, from });
        }
    }

    /// Logs in on one of the devices, at times with typing errors before.
    async fn log_in(&mut self, town: &mut Town) -> Result<(), Broken> {
        if self.devices.is_empty() {
            return self.forget(town).await;
        }
        let at = town.dice.below(self.devices.len() as u64) as usize;
        let errors = if town.dice.once_in(6) { 1 + town.dice.below(3) } else { 0 };
        town.show(format!("the owner logs in on device {at} after {errors} typing errors"));
        for _ in 0..errors {
            let password = town.unlike("a typing error");
            let wrong = Try { password, ..self.try_on(at, town.now()) };
            match town.log_in(wrong).await {
                Err(FlowError::Refused(Refusal::InvalidCredentials)) => self.devices[at].errs += 1,
                Err(error) if is_closed(&error) || self.is_hasty(&error, town.now()) => {}
                Ok(_) => return Promise::OwnPasswordAlone.broken("a typing error was right"),
                Err(error) => return Promise::Serves.broken(format!("a typing error: {error}")),
            }
        }
        if self.devices[at].errs >= 5 {
            // It is known no longer. The owner notices and does not use it again.
            self.devices.remove(at);
            return Ok(());
        }
        let is_sure = self.devices[at].errs == 0;
        let tried = self.try_on(at, town.now());
        let answer = town.log_in(tried).await;
        if is_sure {
            return self.note_honest(town, at, answer);
        }
        match answer {
            Ok(opened) => {
                // A device that has failed may have come in like a stranger, which opens the name, and was listed anew.
                let now = town.now();
                town.ledger.opened(now);
                self.listed += 1;
                self.note_log_in(town, at, opened);
                Ok(())
            }
            Err(error) if is_closed(&error) || self.is_hasty(&error, town.now()) => Ok(()),
            Err(error) => Promise::Serves.broken(format!("a device that has failed: {error}")),
        }
    }

    /// Logs in on a device that is new, which may be locked out, and keeps it.
    async fn log_in_on_a_new_device(&mut self, town: &mut Town) -> Result<(), Broken> {
        let at = town.dice.below(HOMES.len() as u64) as usize;
        town.show(format!("the owner logs in on a new device in place of {at}"));
        self.log_in_anew(town, at).await.map(|_| ())
    }

    /// Logs in from the home `at` without a cookie. Returns whether the name was open.
    async fn log_in_anew(&mut self, town: &mut Town, at: usize) -> Result<bool, Broken> {
        if self.listed >= DEVICES_MAX {
            return Ok(false);
        }
        let from = HOMES[at];
        let tried = Try { name: NAME.into(), password: self.password.clone(), device: None, from };
        match town.log_in(tried).await {
            Ok(opened) => {
                let now = town.now();
                town.ledger.opened(now);
                self.listed += 1;
                self.devices.retain(|device| device.from != from);
                self.devices.push(Device { cookie: String::new(), from, errs: 0 });
                self.note_log_in(town, self.devices.len() - 1, opened);
                Ok(true)
            }
            // The owner's other new devices are in the same network.
            Err(FlowError::Refused(Refusal::Throttled { .. })) => Ok(false),
            Err(error) if is_closed(&error) => Ok(false),
            Err(error) => Promise::Serves.broken(format!("a new device: {error}")),
        }
    }

    /// Loses some devices that have just logged in, so that a thief has their cookies.
    async fn lose_a_device(&mut self, town: &mut Town) -> Result<(), Broken> {
        let count = 1 + town.dice.below(4);
        town.show(format!("the owner loses {count} devices"));
        self.lose(town, count).await
    }

    /// Logs in on up to `count` devices, as long as the name is open, and loses them.
    async fn lose(&mut self, town: &mut Town, count: u64) -> Result<(), Broken> {
        for _ in 0..count {
            // Room for those of the owner's own is kept.
            if self.listed + 4 >= DEVICES_MAX || !self.log_in_anew(town, 2).await? {
                return Ok(());
            }
            self.lost.extend(self.devices.pop().map(|device| device.cookie));
            if self.lost.len() > 40 {
                self.lost.remove(0);
            }
        }
        Ok(())
    }

    /// An app with a short time-out tries the right password and gives up, some times.
    async fn hang_up(&mut self, town: &mut Town) -> Result<(), Broken> {
        let Some((at, tried)) = self.honest_try(town) else { return Ok(()) };
        let times = 1 + town.dice.below(8);
        town.show(format!("the owner's app on device {at} gives up {times} times"));
        for _ in 0..times {
            self.tries.push_back(town.now());
            let answer = town.log_in_and_hang_up(tried.clone()).await;
            if !town.dice.once_in(4) {
                town.settle().await?;
            }
            match answer {
                // More than eight of one device wait.
                Some(Err(FlowError::Refused(Refusal::TooManyAtOnce))) | None => {}
                Some(answer) => self.note_honest(town, at, answer)?,
            }
        }
        town.settle().await
    }

    /// Presents a refresh token, at times one whose answer was lost.
    async fn refresh(&mut self, town: &mut Town) -> Result<(), Broken> {
        if self.families.is_empty() {
            return self.log_in(town).await;
        }
        let at = town.dice.below(self.families.len() as u64) as usize;
        let is_lost = town.dice.once_in(5);
        let (token, from) = (self.families[at].held.clone(), self.families[at].from);
        town.show(format!(
            "the owner refreshes family {at}{}",
            if is_lost { " and loses the answer" } else { "" }
        ));
        let new = present(town, &mut self.families[at].chain, &token, from).await?;
        match new {
            Some(new) if !is_lost => self.families[at].held = new,
            Some(_) => {}
            None => {
                self.families.remove(at);
            }
        }
        Ok(())
    }

    /// Asks for a link, which must work. At times sets a new password with it, or with an older one.
    async fn forget(&mut self, town: &mut Town) -> Result<(), Broken> {
        town.show("the owner forgets the password and asks for a link");
        let from = HOMES[town.dice.below(HOMES.len() as u64) as usize];
        match forgot(&town.engine, &client(from), NAME).await.result {
            Ok(()) => {}
            Err(FlowError::Refused(Refusal::Throttled { .. })) => return Ok(()),
            Err(error) => return Promise::Serves.broken(format!("a link was asked for: {error}")),
        }
        town.deliver().await?;
        let links = town.links(NAME, &[Kind::Reset], LINK_LIFE);
        let Some(newest) = links.last().cloned() else {
            return Promise::OwnerGetsALink.broken("no mail of the last half hour has one");
        };
        if !is_alive(town, &newest).await {
            return Promise::OwnerGetsALink.broken(format!("the one of {} does not work", newest.at));
        }
        if town.dice.once_in(3) {
            return Ok(());
        }
        let link = if town.dice.once_in(2) { links[0].clone() } else { newest };
        self.reset(town, &link, from).await
    }

    /// Sets a new password with a link that must work.
    async fn reset(&mut self, town: &mut Town, link: &Letter, from: Holder) -> Result<(), Broken> {
        town.note(&format!("resets with the link of {}", link.at));
        let password = town.unlike("plain weather over the wide river");
        let token = link.token.clone().unwrap_or_default();
        town.counts.passwords += 1;
        match reset(&town.engine, &client(from), &token, &password).await.result {
            Ok(cookie) => {
                self.password = password;
                self.forget_credentials(town);
                let cookie =
                    cookie.unwrap_or_else(|| panic!("the first use of a link gave no device cookie"));
                self.devices.push(Device { cookie, from, errs: 0 });
                self.listed = 1;
                let now = town.now();
                town.ledger.opened(now);
                if !town.dice.once_in(3) {
                    return Ok(());
                }
                town.note("loses many devices");
                self.lose(town, 12).await
            }
            Err(error) => Promise::LinksLive.broken(format!("the link of {} was answered: {error}", link.at)),
        }
    }

    /// Forgets what ends with the account's epoch.
    fn forget_credentials(&mut self, town: &mut Town) {
        self.devices.clear();
        self.listed = 0;
        self.families.iter_mut().for_each(|family| family.chain.end());
        let is_useless =
            |letter: &Letter| matches!(letter.kind, Kind::Reset | Kind::Lockout | Kind::AlreadyRegistered);
        town.throw_away(NAME, is_useless);
        let now = town.now();
        town.ledger.links_ended(now);
    }

    /// Opens the name with the link of the newest lockout mail, if there is one.
    async fn unlock(&mut self, town: &mut Town) -> Result<(), Broken> {
        let Some(link) = town.links(NAME, &[Kind::Lockout], LINK_LIFE).pop() else { return Ok(()) };
        town.show("the owner opens the name by mail");
        let token = link.token.clone().unwrap_or_default();
        match unlock(&town.engine, &client(HOMES[0]), &token).await.result {
            Ok(()) => {
                let now = town.now();
                town.ledger.opened(now);
                town.throw_away(NAME, |letter| letter.token == link.token);
                Ok(())
            }
            Err(error) => Promise::LinksLive.broken(format!("the unlock of {}: {error}", link.at)),
        }
    }

    /// Logs in on a device and changes the password there.
    async fn change_password(&mut self, town: &mut Town) -> Result<(), Broken> {
        let Some((at, tried)) = self.honest_try(town) else { return Ok(()) };
        let from = self.devices[at].from;
        town.show(format!("the owner changes the password on device {at}"));
        let answer = town.log_in(tried).await;
        let access = access_of(&answer);
        self.note_honest(town, at, answer)?;
        let Ok(identity) = bearer(&town.engine, &access, None).await else { return Ok(()) };
        let new = town.unlike("calm evening beside the old harbour");
        town.counts.passwords += 2;
        match change(&town.engine, &client(from), &identity, &self.password, &new).await.result {
            Ok(opened) => {
                self.password = new;
                self.forget_credentials(town);
                self.listed = 1;
                self.devices.push(Device { cookie: String::new(), from, errs: 0 });
                self.note_log_in(town, 0, opened);
                Ok(())
            }
            // Thieves of cookies have used up what all devices and sessions share.
            Err(error) if is_closed(&error) => Ok(()),
            Err(error) => Promise::Serves.broken(format!("a change of the password: {error}")),
        }
    }

    /// Logs out everywhere, or makes all devices strangers.
    async fn end_all(&mut self, town: &mut Town) -> Result<(), Broken> {
        let Some((at, tried)) = self.honest_try(town) else { return Ok(()) };
        let asker = client(tried.from);
        let is_log_out = town.dice.once_in(2);
        town.show(if is_log_out { "the owner logs out everywhere" } else { "the owner ends all devices" });
        let answer = town.log_in(tried).await;
        let access = access_of(&answer);
        self.note_honest(town, at, answer)?;
        let Ok(identity) = bearer(&town.engine, &access, None).await else { return Ok(()) };
        let ended = if is_log_out {
            log_out(&town.engine, &asker, &identity, Scope::Global).await
        } else {
            devices::end(&town.engine, &asker, &identity).await
        };
        if let Err(error) = ended {
            return Promise::Serves.broken(format!("an end of all: {error}"));
        }
        if is_log_out {
            self.forget_credentials(town);
        } else {
            self.devices.clear();
            self.listed = 0;
        }
        Ok(())
    }

    /// Logs in and reads the list of sessions.
    async fn look_at_sessions(&mut self, town: &mut Town) -> Result<(), Broken> {
        let Some((at, tried)) = self.honest_try(town) else { return Ok(()) };
        town.show("the owner looks at the sessions");
        let answer = town.log_in(tried).await;
        let is_in = answer.is_ok();
        self.note_honest(town, at, answer)?;
        if !is_in {
            return Ok(());
        }
        let Some(account) = self.account.clone() else { return Ok(()) };
        town.check_open(&account).await?;
        let open = open_sessions(&town.engine, &account, None, 1000).await.unwrap();
        Promise::Serves.unless(!open.items.is_empty(), || String::from("the new session is not in the list"))
    }
}

/// Presents `token` of the family `chain`, and checks the answer. Returns the token that came.
pub(super) async fn present(
    town: &mut Town,
    chain: &mut Chain,
    token: &str,
    by: Holder,
) -> Result<Option<String>, Broken> {
    let due = chain.due(token, by, town.now());
    let answer = refresh(&town.engine, &client(by), token).await.result;
    let new = match answer {
        Ok(Opened { grant: Grant::Tokens { refresh, .. }, .. }) => Some(refresh.to_string()),
        Ok(_) => return Promise::OneHolder.broken("a refresh was answered with a cookie"),
        Err(FlowError::Refused(Refusal::Throttled { .. })) => return Ok(Some(token.to_owned())),
        Err(FlowError::Refused(_)) => None,
        Err(error) => return Promise::Serves.broken(format!("a refresh: {error}")),
    };
    let is_kept = match (&due, &new) {
        (Due::New, Some(new)) => new != token,
        (Due::Again(successor), Some(new)) => new == successor,
        (Due::Nothing, None) => true,
        _ => false,
    };
    let is_new = new.is_some();
    Promise::OneHolder.unless(is_kept, || {
        let what = if is_new { "a token" } else { "nothing" };
        format!("{due:?} was due, {what} came")
    })?;
    let now = town.now();
    chain.presented(&due, new.clone(), by, now);
    Ok(new)
}

/// Says whether a link to set a password works. A password that is too weak does not use it up.
async fn is_alive(town: &mut Town, link: &Letter) -> bool {
    town.counts.passwords += 1;
    let token = link.token.clone().unwrap_or_default();
    let answer = reset(&town.engine, &client(ELSEWHERE), &token, "short").await.result;
    !matches!(answer, Err(FlowError::Refused(Refusal::InvalidMailedToken)))
}

/// Checks that a link in the owner's mailbox still works, after what a stranger has done.
pub(super) async fn check_a_link(town: &mut Town) -> Result<(), Broken> {
    let links = town.links(NAME, &[Kind::Reset], LINK_LIFE);
    let Some(link) = links.get(town.dice.below(links.len() as u64) as usize) else { return Ok(()) };
    let is_alive = is_alive(town, link).await;
    Promise::LinksLive.unless(is_alive, || format!("the link of {} is dead", link.at))
}

/// Signs up, proves the address with both halves, and returns the password.
pub(super) async fn new_account(town: &mut Town, name: &str, from: Holder) -> Result<String, Broken> {
    let password = town.unlike("quiet meadow behind the northern wall");
    town.counts.passwords += 1;
    let signed_up = sign_up(&town.engine, &client(from), form(name, &password), TOKENS).await.result;
    let Ok(Done::Mailed(half)) = signed_up else { return Promise::Serves.broken("a sign-up") };
    town.deliver().await?;
    let link = town.links(name, &[Kind::Verify], LINK_LIFE).pop().and_then(|letter| letter.token);
    let link = link.unwrap_or_default();
    match verify(&town.engine, &client(from), &link, Some(&half)).await.result {
        Ok(Verified::Done) => Ok(password),
        _ => Promise::Serves.broken("the proof of an address"),
    }
}

/// Returns the access token of an answer.
pub(super) fn access_of(answer: &Result<Opened, FlowError>) -> String {
    match answer {
        Ok(Opened { grant: Grant::Tokens { access, .. }, .. }) => access.clone(),
        _ => String::new(),
    }
}
