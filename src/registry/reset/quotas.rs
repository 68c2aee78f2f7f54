//! Quotas of mails: how many may go to one recipient, be caused by one network, and go to one domain in an hour.
//!
//! Kept in memory alone: a restart forgives at most one hour's quota. Known and unknown names are counted alike.

use std::collections::HashMap;
use std::time::Duration;

use super::first_asks::{Asker, FirstAsks};
use super::record::Purpose;
use crate::journal::append::handle::Class;
use crate::system::clock::Timestamp;
use crate::value::network::Network;

const HOUR: Duration = Duration::from_hours(1);
/// The time of one of the entries of [`DECOYS_A_SECOND`].
const DECOY: Duration = Duration::from_millis(1000 / DECOYS_A_SECOND as u64);
/// The most links for one account, of one purpose, that operators may send in an hour.
pub const MAILS_OF_OPERATORS: usize = 10;
/// The number of mails in an hour after which only the first mail to each account is sent.
pub const MAILS_IN_ALL: usize = 1000;
/// The most networks that are remembered, wider ones with them. Beyond it others are not counted: the rate limit has let
/// tens of thousands of networks through within the hour, and the quota of each recipient still holds.
pub const NETWORKS_MAX: usize = 100_000;
/// The most domains that are remembered. Beyond it others are not counted.
pub const DOMAINS_MAX: usize = 100_000;
/// The most recipients that are remembered. Beyond it, a mail to an account that is not remembered yet is not sent.
pub const RECIPIENTS_MAX: usize = 200_000;
/// The most recipients without an account that are remembered. Beyond it others are not counted.
pub const NOBODYS_MAX: usize = 100_000;

/// Entries in a second that are written for strangers' requests that send nothing, and how many more at once.
pub const DECOYS_A_SECOND: u32 = 100;
pub const DECOYS_AT_ONCE: u32 = 1_000;

/// Who causes a mail. Each has quotas of its own, so that none can use up those of another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// A client that has proved nothing asks for it. `None` for a network that is exempt from the rate limit.
    Stranger(Option<Network>),
    /// A client that has proved nothing has typed wrong passwords.
    Warning(Option<Network>),
    /// A client that has proved to own the account asks for a mail to an address which it may not own.
    Asker(Option<Network>),
    /// The owner of the account, who has proved it with a mailed link.
    Owner,
    /// An administrator, or an operator on the command line.
    Operator,
}

/// A mail, as the quotas count it.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// The account; for an unknown name, an id that no account has.
    pub recipient: [u8; 16],
    /// The purpose of the mail.
    pub purpose: Purpose,
    /// Who causes it.
    pub cause: Cause,
    /// A digest of the domain that it goes to.
    pub domain: [u8; 8],
    /// The key of the address, if it is not the account's own: it has a quota too, whoever asks.
    pub address: Option<[u8; 16]>,
    /// The account that asks for `address`.
    pub asker: Option<Asker>,
    /// Whether the name is unknown.
    pub for_nobody: bool,
    /// Whether the account would be without a link if this mail were not sent: none that was mailed is live any more.
    pub lacks_link: bool,
}

/// The quotas that are settings.
#[derive(Clone, Copy, Debug)]
pub struct MailLimits {
    /// The most mails to one account in an hour, for each purpose.
    pub recipient: u32,
    /// The most mails that one network may ask for in an hour; and the most warnings that it may cause by wrong passwords,
    /// which are counted apart, so that it cannot use them up first.
    pub network: u32,
    /// The most mails to one domain in an hour. Beyond it only the first mail to each account is sent.
    pub domain: u32,
}

/// What a counter of recipients is kept for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Counter {
    Strangers,
    Warnings,
    Asker,
    Address,
    Owner,
    Operators,
}

impl Cause {
    const fn counter(self) -> Counter {
        match self {
            Self::Stranger(_) => Counter::Strangers,
            Self::Warning(_) => Counter::Warnings,
            Self::Asker(_) => Counter::Asker,
            Self::Owner => Counter::Owner,
            Self::Operator => Counter::Operators,
        }
    }

    /// Returns the class of journal space for a mail and its link. What tells of a change that is done, or undoes it, must be
    /// written, also where an administrator has made it; what tells of guesses must leave room for a revocation.
    pub const fn class(self) -> Class {
        match self {
            Self::Owner | Self::Operator => Class::Essential,
            Self::Warning(_) => Class::Lockout,
            Self::Stranger(_) | Self::Asker(_) => Class::Ordinary,
        }
    }

    /// Returns the network that is charged.
    const fn network(self) -> Option<Network> {
        match self {
            Self::Stranger(network) | Self::Warning(network) | Self::Asker(network) => network,
            Self::Owner | Self::Operator => None,
        }
    }

    /// Returns the counters of the network that is charged and of the wider ones around it, each with its share of the
    /// limit: the owner of a /48 has 65,536 networks of /64. Warnings have counters of their own.
    fn network_counters(self, limits: MailLimits) -> impl Iterator<Item = ((Network, bool), usize)> {
        let is_warning = matches!(self, Self::Warning(_));
        let around = self.network().into_iter().flat_map(Network::around);
        around.map(move |network| {
            let most = limits.network.saturating_mul(network.width.multiple());
            ((network, is_warning), most as usize)
        })
    }

    pub(super) const fn is_stranger(self) -> bool {
        matches!(self, Self::Stranger(_) | Self::Warning(_) | Self::Asker(_))
    }
}

/// A mail of the last hour: when it was sent, and the widest network around the one that caused it.
type Sent = (Timestamp, Option<Network>);

/// The mails of the last hour to one recipient.
#[derive(Debug, Default)]
struct Mails {
    sent: Vec<Sent>,
    for_nobody: bool,
}

/// The counts of the last hour.
#[derive(Debug, Default)]
pub struct Quotas {
    recipients: HashMap<([u8; 16], Purpose, Counter), Mails>,
    first_asks: FirstAsks,
    /// How many of `recipients` have no account.
    nobodys: usize,
    networks: HashMap<(Network, bool), Vec<Timestamp>>,
    /// When the hour of a domain began, and the mails since.
    domains: HashMap<[u8; 8], (Timestamp, u32)>,
    /// When the hour began in which mails of all accounts are counted.
    hour_began: Timestamp,
    /// Mails to all accounts since then.
    in_hour: usize,
    /// When the entries that were written for nothing would all be due, one after the other.
    decoys_until: Timestamp,
}

impl Quotas {
    /// Says whether a mail may be sent.
    ///
    /// One slot of a recipient's hour is kept for a network that has not had a mail in that hour: a stranger never uses
    /// up what the owner asks for from another place. So it is with an address that accounts ask for, which has [some more a
    /// day](FirstAsks) for accounts that ask for the first time. If all slots are
    /// used up and no link is live any more, one mail is sent all the same, after which a link is live again: one more for
    /// each link that runs out or is used. Neither the bound of a domain nor that of all mails holds back such a mail, or
    /// the first one to an account. Nor does the bound of a network hold back the first warning of the hour to an account:
    /// a guesser who has used it up on other names would guess unnoticed.
    pub fn admits(&self, wish: &Wish, limits: MailLimits, now: Timestamp) -> bool {
        let sent = self.sent_to(wish.recipient, wish, wish.cause.counter());
        let sent: Vec<&Sent> = sent.filter(|(at, _)| is_lately(*at, now)).collect();
        let per_recipient = limits.recipient as usize;
        let has_slot = match wish.cause {
            Cause::Operator => return sent.len() < MAILS_OF_OPERATORS,
            Cause::Owner => return sent.len() < per_recipient,
            Cause::Stranger(_) if wish.lacks_link => true,
            Cause::Stranger(network) => has_slot_for(network, &sent, per_recipient),
            Cause::Warning(_) | Cause::Asker(_) => sent.len() < per_recipient,
        };
        let address_has_slot = wish.address.is_none_or(|address| {
            let keeps_one = |asker| self.first_asks.has_one_for(address, asker, now);
            self.has_common_slot(address, wish, limits, now) || wish.asker.is_some_and(keeps_one)
        });
        let is_first_warning = sent.is_empty() && matches!(wish.cause, Cause::Warning(_));
        let is_first = (sent.is_empty() || wish.lacks_link) && !wish.for_nobody;
        let is_remembered = !sent.is_empty() || wish.for_nobody || self.recipients.len() < RECIPIENTS_MAX;
        has_slot
            && address_has_slot
            && is_remembered
            && (is_first_warning || self.admits_network(wish.cause, limits, now))
            && (is_first || !self.is_domain_full(wish.domain, limits, now))
            && (sent.is_empty() || wish.lacks_link || self.in_all(now) < MAILS_IN_ALL)
    }

    /// Counts a mail that is sent, or would be if the name were known.
    pub fn count_sent(&mut self, wish: &Wish, limits: MailLimits, now: Timestamp) {
        let sent = (now, wish.cause.network().map(Network::widest));
        self.remember((wish.recipient, wish.purpose, wish.cause.counter()), wish.for_nobody, sent);
        if let Some(address) = wish.address {
            if self.has_common_slot(address, wish, limits, now) {
                self.remember((address, wish.purpose, Counter::Address), true, sent);
            } else if let Some(asker) = wish.asker {
                self.first_asks.count(address, asker, now);
            }
        }
        if !wish.cause.is_stranger() {
            return;
        }
        if self.domains.len() < DOMAINS_MAX || self.domains.contains_key(&wish.domain) {
            let (began, count) = self.domains.entry(wish.domain).or_insert((now, 0));
            if !is_lately(*began, now) {
                *began = now;
                *count = 0;
            }
            *count += 1;
        }
        if wish.for_nobody {
            // Unknown names must not use up the quota of all mails.
            return;
        }
        if !is_lately(self.hour_began, now) {
            self.hour_began = now;
            self.in_hour = 0;
        }
        self.in_hour += 1;
    }

    /// Counts a mail that was refused. If it was for an address that an account asks for, it counts for the account like one
    /// that was sent.
    ///
    /// Security: otherwise what the account is sent next would tell whether others have asked for the address.
    pub fn count_refused(&mut self, wish: &Wish, limits: MailLimits, now: Timestamp) {
        if wish.address.is_none() {
            return;
        }
        let key = (wish.recipient, wish.purpose, wish.cause.counter());
        let counted = self.sent_to(wish.recipient, wish, wish.cause.counter());
        let counted = counted.filter(|(at, _)| is_lately(*at, now)).count();
        let has_place = self.recipients.contains_key(&key) || self.recipients.len() < RECIPIENTS_MAX;
        if counted < limits.recipient as usize && has_place {
            self.remember(key, wish.for_nobody, (now, wish.cause.network().map(Network::widest)));
        }
    }

    /// Counts a request of the network in `cause`, whether or not there was an account and a mail.
    pub fn count_asked(&mut self, cause: Cause, limits: MailLimits, now: Timestamp) {
        for (key, most) in cause.network_counters(limits) {
            if self.networks.len() >= NETWORKS_MAX && !self.networks.contains_key(&key) {
                // The sweep makes room. Making room here would cost each request a scan of all networks.
                continue;
            }
            let asked = self.networks.entry(key).or_default();
            asked.retain(|at| is_lately(*at, now));
            if asked.len() >= most {
                // Its share is used up. More of it must not use up what the wider network is left with.
                return;
            }
            asked.push(now);
        }
    }

    /// Says whether an entry may be written for a request that sends nothing.
    pub fn admits_decoy(&self, now: Timestamp) -> bool {
        self.decoys_until.since(now) < DECOY * DECOYS_AT_ONCE
    }

    /// Counts an entry that was written for a request that sends nothing.
    pub fn count_decoy(&mut self, now: Timestamp) {
        self.decoys_until = self.decoys_until.max(now) + DECOY;
    }

    /// Forgets what is older than an hour.
    pub fn sweep(&mut self, now: Timestamp) {
        self.recipients.retain(|_, mails| mails.sent.iter().any(|(at, _)| is_lately(*at, now)));
        self.nobodys = self.recipients.values().filter(|mails| mails.for_nobody).count();
        self.networks.retain(|_, asked| asked.iter().any(|at| is_lately(*at, now)));
        self.domains.retain(|_, (began, _)| is_lately(*began, now));
        self.first_asks.sweep(now);
    }

    /// Says whether one of the hour's mails to an address that accounts ask for is left, whichever account asks.
    fn has_common_slot(&self, address: [u8; 16], wish: &Wish, limits: MailLimits, now: Timestamp) -> bool {
        let sent = self.sent_to(address, wish, Counter::Address);
        let sent: Vec<&Sent> = sent.filter(|(at, _)| is_lately(*at, now)).collect();
        has_slot_for(wish.cause.network(), &sent, limits.recipient as usize)
    }

    fn sent_to(&self, recipient: [u8; 16], wish: &Wish, counter: Counter) -> impl Iterator<Item = &Sent> {
        let mails = self.recipients.get(&(recipient, wish.purpose, counter));
        mails.map_or(&[][..], |mails| &mails.sent).iter()
    }

    fn remember(&mut self, key: ([u8; 16], Purpose, Counter), for_nobody: bool, sent: Sent) {
        if !self.recipients.contains_key(&key) {
            if for_nobody && self.nobodys >= NOBODYS_MAX {
                return;
            }
            self.nobodys += usize::from(for_nobody);
        }
        let mails = self.recipients.entry(key).or_default();
        mails.for_nobody = for_nobody;
        mails.sent.retain(|(at, _)| is_lately(*at, sent.0));
        mails.sent.push(sent);
    }

    fn admits_network(&self, cause: Cause, limits: MailLimits, now: Timestamp) -> bool {
        cause.network_counters(limits).all(|(key, most)| {
            let asked = self.networks.get(&key).into_iter().flatten();
            asked.filter(|at| is_lately(**at, now)).count() < most
        })
    }

    fn is_domain_full(&self, domain: [u8; 8], limits: MailLimits, now: Timestamp) -> bool {
        self.domains
            .get(&domain)
            .is_some_and(|(began, count)| is_lately(*began, now) && *count >= limits.domain)
    }

    fn in_all(&self, now: Timestamp) -> usize {
        if is_lately(self.hour_began, now) { self.in_hour } else { 0 }
    }

    /// Returns how many recipients, networks and domains are remembered.
    #[cfg(test)]
    pub fn sizes(&self) -> [usize; 3] {
        [self.recipients.len(), self.networks.len(), self.domains.len()]
    }

    /// Returns the mails to all accounts in the present hour.
    #[cfg(test)]
    pub fn counted_in_all(&self) -> usize {
        self.in_hour
    }
}

/// Says whether `network` may cause one more of `most` mails of an hour, of which `sent` have left: the last slot is kept
/// for a network that has caused none. A network that is exempt from the rate limit stands for many clients.
fn has_slot_for(network: Option<Network>, sent: &[&Sent], most: usize) -> bool {
    let is_reserved = network.is_some_and(|network| {
        let network = Some(network.widest());
        sent.iter().any(|(_, other)| *other == network)
    });
    sent.len() + usize::from(is_reserved) < most
}

fn is_lately(at: Timestamp, now: Timestamp) -> bool {
    now.since(at) < HOUR
}
