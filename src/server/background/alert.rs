//! One alert: an event that happened more often than its threshold, with whom and whence, and what there is to do.

use serde::Serialize;

use crate::audit::tops::Tops;

/// An event that happened too often.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Alert {
    /// Name of the event.
    #[serde(rename = "alert")]
    pub event: &'static str,
    /// How often the event happened within the window: a suspicion, for `stuffing.suspected`, and not each of its log-ins.
    pub count: u64,
    /// From how many on it is too often.
    pub threshold: u64,
    /// Length of the window in seconds.
    pub window_secs: u64,
    /// The accounts that it named most often, lately.
    pub accounts: Vec<TopAccount>,
    /// The networks that it came from most often, lately: an IPv4 /24 or an IPv6 /48 each.
    pub networks: Vec<TopNetwork>,
    /// The event that `accounts` and `networks` count: failed log-ins for a suspicion, otherwise that of the alert.
    pub counted: &'static str,
    /// One sentence for the operator.
    pub advice: &'static str,
}

/// The name of the alert that requests are refused since the disk is full. No event has it: the log of events may be on the
/// same disk.
pub const STORAGE_FULL: &str = "storage.full";
/// The name of an alert that `portcullis alert test` sends.
pub const TEST: &str = "alert.test";

/// Returns the event that the accounts and networks of an alert about `event` count.
pub(super) fn counted_for(event: &'static str) -> &'static str {
    if event == "stuffing.suspected" { "login.failed" } else { event }
}

/// An account that an event named, and how often at least.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct TopAccount {
    /// Its id.
    pub id: String,
    /// Its address, masked.
    pub email: String,
    /// How often at least.
    pub count: u64,
}

/// A network that an event came from, and how often at least.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct TopNetwork {
    /// The network, as a prefix.
    pub network: String,
    /// How often at least.
    pub count: u64,
    /// Its share in all of them, in percent.
    pub share_percent: u64,
}

/// The smallest share that makes a network worth naming, in percent, and the smallest count.
const SHARE_MIN_PERCENT: u64 = 10;
const COUNT_MIN: u64 = 2;

impl Alert {
    /// Says whom and whence: `tops` of the event. A network is named if it carries a share worth blocking; if none does, the
    /// advice is not to block any.
    #[must_use]
    pub fn with(mut self, tops: Tops) -> Self {
        let accounts = tops.accounts.into_iter();
        self.accounts = accounts
            .map(|(account, count)| TopAccount { id: account.id, email: account.email, count })
            .collect();
        let networks = tops.networks.into_iter();
        self.networks = networks
            .map(|(network, count)| TopNetwork {
                network: network.to_net().to_string(),
                count,
                share_percent: count * 100 / tops.from_networks.max(count).max(1),
            })
            .filter(|top| top.count >= COUNT_MIN && top.share_percent >= SHARE_MIN_PERCENT)
            .collect();
        if self.networks.is_empty() {
            self.advice = advice_without_networks(self.event).unwrap_or(self.advice);
        }
        if self.accounts.is_empty() && matches!(self.event, "login.locked" | "lockout.started") {
            self.advice = NO_ACCOUNTS;
        }
        self
    }

    /// Returns an alert that says that nothing has happened.
    #[must_use]
    pub fn test() -> Self {
        Self {
            event: TEST,
            count: 0,
            threshold: 0,
            window_secs: 0,
            accounts: Vec::new(),
            networks: Vec::new(),
            counted: TEST,
            advice: advice(TEST),
        }
    }

    /// Writes the alert to the log, on one line.
    pub(super) fn log(&self) {
        let accounts = self.accounts.iter().map(|top| format!("{} {} ({})", top.id, top.email, top.count));
        let networks = self
            .networks
            .iter()
            .map(|top| format!("{} ({}, {} %)", top.network, top.count, top.share_percent));
        tracing::error!(
            target: "portcullis::alert",
            alert = self.event,
            count = self.count,
            threshold = self.threshold,
            window_secs = self.window_secs,
            accounts = accounts.collect::<Vec<_>>().join(", "),
            networks = networks.collect::<Vec<_>>().join(", "),
            advice = self.advice,
            "happens more often than its threshold"
        );
    }
}

/// Returns what an operator does about too many of an event, in one sentence with one command.
pub fn advice(event: &str) -> &'static str {
    match event {
        "stuffing.suspected" => {
            "Block these networks in front of the server, then look for passwords that fitted: `portcullis audit tail \
             --since 1d --type login.succeeded`, with --network and each of these."
        }
        "login.failed" => {
            "Block these networks in front of the server; if one account is meant, its owner chooses a new password with \
             `portcullis user reset-password ID`."
        }
        "login.locked" | "lockout.started" => {
            "Guesses at these accounts are held off; if an owner is shut out, `portcullis user unlock ID` lets the owner in."
        }
        "device.demoted" => {
            "A device cookie may be stolen: ask the owners, and end what is open with `portcullis session revoke ID`."
        }
        "login.shed" => {
            "More log-ins come than can be hashed: block these networks in front of the server, or add cores; `portcullis \
             doctor` says how many it can take."
        }
        "refresh.reused" => {
            "Refresh tokens were copied, or a client stores them wrongly or repeats a lost refresh too late: see `portcullis \
             session list ID`, and end what is not the owner's."
        }
        "token.rejected" => {
            "Forged or old access tokens: block these networks in front of the server, or mend the client; see `portcullis \
             audit tail --type token.rejected`."
        }
        "csrf.rejected" => {
            "Another site sends requests, or http.allowed_origins lacks a page of yours: see `portcullis config show`."
        }
        "request.throttled" => {
            "Block these networks in front of the server; if one of them is your own proxy, `portcullis doctor` says so."
        }
        "email.change_undone" => {
            "An account was taken over and taken back: ask its owner, and see `portcullis audit tail --account ID`."
        }
        "key.retired" => {
            "If none of you retired a signing key, an operator's credential is stolen: see `portcullis audit tail --type key.`."
        }
        "hook.failed" => {
            "A hook gave no answer that counts, and hook.on_error decides meanwhile who gets in: the server's log says why; see \
             also `portcullis audit tail --type hook.`."
        }
        "events.lost" => {
            "Programs that keep rows beside the accounts have missed some: make room on the disk of data_dir, see `portcullis \
             doctor`, and have them compare all accounts."
        }
        "webhook.disabled" => {
            "A program is not told of events any more: mend it, then run `portcullis webhook resume`, which goes on where it was."
        }
        STORAGE_FULL => {
            "Requests are refused: make room on the disk of data_dir; `portcullis doctor` says how much."
        }
        TEST => "Nothing has happened: somebody ran `portcullis alert test`.",
        _ => "See `portcullis audit tail`.",
    }
}

/// What an operator does where the locked names have no account.
const NO_ACCOUNTS: &str = "None of these names has an account, so nobody is shut out: see where it comes from with `portcullis \
                           audit top --by network --type login`.";

/// Returns what an operator does about too many of an event where no network carries a share worth blocking; `None` if that
/// is no other advice.
pub fn advice_without_networks(event: &str) -> Option<&'static str> {
    match event {
        "stuffing.suspected" => Some(
            "It comes from everywhere, so blocking networks does not help: the server slows it down by itself. Look for \
             passwords that fitted: `portcullis audit tail --since 1d --type login.succeeded`.",
        ),
        "login.failed" => Some(
            "It comes from everywhere, so blocking networks does not help: see which accounts are meant with `portcullis audit \
             top --by account --type login.failed`.",
        ),
        "login.shed" => Some(
            "More log-ins come than can be hashed, and from everywhere: add cores, or put a limit in front of the server; \
             `portcullis doctor` says how many it can take.",
        ),
        "token.rejected" => Some(
            "Forged or old access tokens from everywhere: a client of yours may be broken, or a key was retired; see \
             `portcullis audit tail --type token.rejected`.",
        ),
        "request.throttled" => Some(
            "No network stands out: the limits may be too low for this site, or a flood comes from everywhere; `portcullis \
             doctor` says what is set.",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::network::Network;

    fn alert(event: &'static str) -> Alert {
        Alert {
            event,
            count: 400,
            threshold: 100,
            window_secs: 600,
            accounts: Vec::new(),
            networks: Vec::new(),
            counted: counted_for(event),
            advice: advice(event),
        }
    }

    /// Kind: an operator blocks three neighbours of the attacker for one request each.
    #[test]
    fn a_network_is_named_with_its_share_if_that_is_worth_blocking() {
        let network = |text: &str| Network::of(text.parse().unwrap()).widest();
        let of = |counts: &[(&str, u64)], from_networks| {
            let networks = counts.iter().map(|(text, count)| (network(text), *count)).collect();
            alert("login.failed").with(Tops { networks, from_networks, ..Tops::default() })
        };
        let loud = of(&[("192.0.2.1", 300), ("198.51.100.1", 39), ("203.0.113.1", 1)], 400);
        let named: Vec<_> = loud.networks.iter().map(|top| (top.count, top.share_percent)).collect();
        assert_eq!(named, [(300, 75)]);
        assert_eq!(loud.advice, advice("login.failed"));
        for even in [of(&[("192.0.2.1", 3), ("198.51.100.1", 3)], 400), of(&[("192.0.2.1", 1)], 3)] {
            assert_eq!(even.networks, []);
            assert_eq!(Some(even.advice), advice_without_networks("login.failed"));
        }
    }
}
