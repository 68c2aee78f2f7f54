//! One alert: an event that happened more often than its threshold, with whom and whence, and what there is to do.

use serde::Serialize;

use crate::audit::tops::Tops;

/// An event that happened too often.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Alert {
    /// Name of the event.
    #[serde(rename = "alert")]
    pub event: &'static str,
    /// How often it happened within the window.
    pub count: u64,
    /// From how many on it is too often.
    pub threshold: u64,
    /// Length of the window in seconds.
    pub window_secs: u64,
    /// The accounts that it named most often, lately.
    pub accounts: Vec<TopAccount>,
    /// The networks that it came from most often, lately: an IPv4 /24 or an IPv6 /48 each.
    pub networks: Vec<TopNetwork>,
    /// One sentence for the operator.
    pub advice: &'static str,
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
}

impl Alert {
    /// Says whom and whence: `tops` of the event.
    #[must_use]
    pub fn with(mut self, tops: Tops) -> Self {
        let accounts = tops.accounts.into_iter();
        self.accounts = accounts
            .map(|(account, count)| TopAccount { id: account.id, email: account.email, count })
            .collect();
        let networks = tops.networks.into_iter();
        self.networks = networks
            .map(|(network, count)| TopNetwork { network: network.to_net().to_string(), count })
            .collect();
        self
    }

    /// Writes the alert to the log, on one line.
    pub(super) fn log(&self) {
        let accounts = self.accounts.iter().map(|top| format!("{} {} ({})", top.id, top.email, top.count));
        let networks = self.networks.iter().map(|top| format!("{} ({})", top.network, top.count));
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
             --type device.new`."
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
            "Refresh tokens were copied, or a client stores them wrongly: see `portcullis session list ID`, and end what is \
             not the owner's."
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
        _ => "See `portcullis audit tail`.",
    }
}
