//! What an outsider may count on: the promises of the defences, and the counts by which they are judged. Shares no code
//! with the registries.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::registry::outbox::Kind;
use crate::system::clock::Timestamp;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Wrong passwords of strangers that are judged in a day, and those of known devices and sessions.
const GUESSES_OF_A_KIND: usize = 20;
/// Wrong passwords that are judged without an act of the owner.
const GUESSES_EVER: u32 = 100;

/// Something that the server promises to everybody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Promise {
    /// Forty guesses a day at one name, and those that strangers had before, up to twenty, each time the owner opens it.
    GuessesOfADay,
    /// A hundred guesses at one name without an act of the owner.
    GuessesEver,
    /// The right password on a device of the owner's that has not failed is accepted, whatever others do.
    OwnerGetsIn,
    /// An owner who asks for a link has a link that works.
    OwnerGetsALink,
    /// A link that was mailed works for its whole life, unless it was used or the account's credentials changed.
    LinksLive,
    /// A mailbox gets no more mails of a kind than the quotas say.
    MailsAreFew,
    /// An account has a hundred sessions and families open.
    SessionsAreFew,
    /// A request hashes one password, and few of one name are hashed at once.
    HashesAreFew,
    /// A request that was refused leaves next to nothing on the disk.
    RefusalsAreSmall,
    /// What arrives in one's own mailbox does not reveal who has an account.
    NoOracle,
    /// A family of refresh tokens has one holder: it follows the rules of rotation, grace and reuse.
    OneHolder,
    /// A password that a stranger typed opens no account at the address of another person.
    OwnPasswordAlone,
    /// A returning user is not delayed by the number of another account's log-ins.
    TurnsAreFair,
    /// Requests that nothing speaks against are served.
    Serves,
}

/// A promise that was not kept, and what happened.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) promise: Promise,
    pub(super) what: String,
}

impl Promise {
    /// Says how the promise was broken.
    pub(super) fn broken<T>(self, what: impl Into<String>) -> Result<T, Broken> {
        Err(Broken { promise: self, what: what.into() })
    }

    /// Breaks the promise unless `is_kept`.
    pub(super) fn unless(self, is_kept: bool, what: impl FnOnce() -> String) -> Result<(), Broken> {
        if is_kept { Ok(()) } else { self.broken(what()) }
    }
}

/// The counts of what has happened to the owner's name and to every mailbox.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Guesses that were judged within the last day.
    guesses: VecDeque<Timestamp>,
    /// When the owner opened the name to strangers again, within the last day, and the guesses that this has forgiven at
    /// most.
    openings: VecDeque<(Timestamp, usize)>,
    /// Guesses since the name was last opened.
    since_opening: usize,
    /// Guesses since the owner was last here.
    since_owner: u32,
    /// When the owner used or ended all links, within the last day.
    links_ended: VecDeque<Timestamp>,
    mails: HashMap<(Box<str>, &'static str), VecDeque<Timestamp>>,
}

impl Ledger {
    /// Counts a wrong password of anybody but the owner, whose answer said that it was compared.
    pub(super) fn judged(&mut self, now: Timestamp) -> Result<(), Broken> {
        self.guesses.push_back(now);
        self.since_owner += 1;
        self.since_opening += 1;
        forget(&mut self.guesses, DAY, now);
        self.openings.retain(|(at, _)| now.since(*at) < DAY);
        let forgiven: usize = self.openings.iter().map(|(_, forgiven)| forgiven).sum();
        Promise::GuessesOfADay.unless(self.guesses.len() <= 2 * GUESSES_OF_A_KIND + forgiven, || {
            format!("{} guesses in 24 hours, {forgiven} were forgiven", self.guesses.len())
        })?;
        Promise::GuessesEver.unless(self.since_owner <= GUESSES_EVER, || {
            format!("{} guesses without an act of the owner", self.since_owner)
        })
    }

    /// Notes that the owner was here: the right password, or a link from the mailbox.
    pub(super) fn owner_was_here(&mut self) {
        self.since_owner = 0;
    }

    /// Notes that the owner opened the name to strangers: by a link, or by a log-in as one of them.
    pub(super) fn opened(&mut self, now: Timestamp) {
        self.owner_was_here();
        self.openings.push_back((now, self.since_opening.min(GUESSES_OF_A_KIND)));
        self.since_opening = 0;
    }

    /// Notes that the owner's links are of no use any more: the owner has used one, or changed the credentials.
    pub(super) fn links_ended(&mut self, now: Timestamp) {
        self.links_ended.push_back(now);
        forget(&mut self.links_ended, DAY, now);
    }

    /// Counts a mail that has arrived.
    pub(super) fn mailed(&mut self, to: &str, kind: Kind, now: Timestamp) -> Result<(), Broken> {
        let Some((name, of_hour, of_day, is_renewed)) = quota(kind) else { return Ok(()) };
        // An account without a live link gets one, so that each end of all links is worth one mail.
        let ended = |life: Duration| self.links_ended.iter().filter(|at| now.since(**at) < life).count();
        let more = if is_renewed { (ended(HOUR), ended(DAY)) } else { (0, 0) };
        let sent = self.mails.entry((to.into(), name)).or_default();
        sent.push_back(now);
        forget(sent, DAY, now);
        let lately = sent.iter().filter(|at| now.since(**at) < HOUR).count();
        Promise::MailsAreFew.unless(lately <= of_hour + more.0 && sent.len() <= of_day + more.1, || {
            format!("{lately} mails {name} to {to} in an hour, {} in a day, {more:?}", sent.len())
        })
    }
}

/// Drops the times that are `life` ago or more.
fn forget(times: &mut VecDeque<Timestamp>, life: Duration, now: Timestamp) {
    while times.front().is_some_and(|at| now.since(*at) >= life) {
        times.pop_front();
    }
}

/// Returns the name under which mails of `kind` are counted, the most that one mailbox gets in an hour and in a day, and
/// whether there is one more for each end of all links. `None` for mails about what its owner has done.
fn quota(kind: Kind) -> Option<(&'static str, usize, usize, bool)> {
    match kind {
        // Three, and one for each link that has run out: it lives for half an hour.
        Kind::Reset => Some(("with a link to set a password", 5, 120, true)),
        Kind::Verify => Some(("that proves the address", 3, 72, false)),
        Kind::AlreadyRegistered => Some(("about a sign-up", 3, 72, true)),
        // Three for all, and twelve a day for accounts that ask for the first time.
        Kind::EmailChange | Kind::AddressWanted => Some(("about a wanted address", 15, 84, false)),
        Kind::AddressKept => Some(("about a kept address", 15, 84, false)),
        Kind::UndoAgain => Some(("that undoes a change again", 3, 72, false)),
        Kind::NoticesOff => Some(("about mails of new devices", 3, 72, false)),
        // Three a day. A period of 24 hours may touch two days.
        Kind::Lockout => Some(("about a lock", 3, 6, false)),
        Kind::Targeted => Some(("about many networks", 1, 2, false)),
        // One for each family of browsers.
        Kind::NewDevice => Some(("about a new device", 5, 5, false)),
        // Each needs one of the twenty failures that all devices have in a day: it may have had four on the days before.
        Kind::DeviceDemoted => Some(("about a device that guesses", 21, 21, false)),
        Kind::ResetDone
        | Kind::PasswordChanged
        | Kind::RefreshReused
        | Kind::EmailUndo
        | Kind::AccountDeleted
        | Kind::Invitation
        | Kind::AccountInvitation
        | Kind::AdminKeyMade
        | Kind::AdminMade
        | Kind::UndoEnded
        | Kind::EmailMended => None,
    }
}

/// A family of refresh tokens, as its holders know it.
#[derive(Debug)]
pub(super) struct Chain {
    /// The token that has not been used.
    pub(super) live: String,
    /// The one used last.
    spent: Option<Spent>,
    /// Whether it has ended, for whatever reason.
    is_dead: bool,
    opened: Timestamp,
    used: Timestamp,
}

#[derive(Debug)]
struct Spent {
    token: String,
    at: Timestamp,
    by: Holder,
}

/// Where a token is presented from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Holder {
    /// The number of the network.
    pub(super) network: u32,
    /// The program.
    pub(super) agent: &'static str,
}

/// What a refresh token must be answered with.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Due {
    /// A token that was never there before.
    New,
    /// This token, once more.
    Again(String),
    /// A refusal.
    Nothing,
}

impl Chain {
    const GRACE: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_hours(30 * 24);
    const ABSOLUTE: Duration = Duration::from_hours(90 * 24);

    pub(super) const fn opened(live: String, now: Timestamp) -> Self {
        Self { live, spent: None, is_dead: false, opened: now, used: now }
    }

    /// Ends the family: its account's credentials have changed.
    pub(super) const fn end(&mut self) {
        self.is_dead = true;
    }

    pub(super) fn is_alive(&self, now: Timestamp) -> bool {
        !self.is_dead && now.since(self.used) < Self::IDLE && now.since(self.opened) < Self::ABSOLUTE
    }

    /// Returns what `token` must be answered with, if `by` presents it.
    pub(super) fn due(&self, token: &str, by: Holder, now: Timestamp) -> Due {
        if !self.is_alive(now) {
            return Due::Nothing;
        }
        if token == self.live {
            return Due::New;
        }
        let may_come_back = |spent: &&Spent| {
            let is_same_client = spent.by.network == by.network || spent.by.agent == by.agent;
            spent.token == token && now.since(spent.at) < Self::GRACE && is_same_client
        };
        self.spent.as_ref().filter(may_come_back).map_or(Due::Nothing, |_| Due::Again(self.live.clone()))
    }

    /// Notes that `token` was presented, and answered as it was due: with `new` if that was a new token.
    pub(super) fn presented(&mut self, due: &Due, new: Option<String>, by: Holder, now: Timestamp) {
        match (due, new) {
            (Due::New, Some(new)) => {
                let token = std::mem::replace(&mut self.live, new);
                self.spent = Some(Spent { token, at: now, by });
                self.used = now;
            }
            (Due::New | Due::Again(_), _) => {}
            (Due::Nothing, _) => self.is_dead = true,
        }
    }
}
