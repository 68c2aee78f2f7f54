//! An unsafe setting, as the security checklist reports it.

use std::net::IpAddr;
use std::time::Duration;

use crate::value::counted::counted;

/// An unsafe setting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The key of the setting.
    pub key: &'static str,
    /// Why it is unsafe.
    pub why: String,
    /// The remedy.
    pub fix: String,
}

impl Finding {
    /// Creates the finding that `count` passwords could not be checked because their pepper is not there.
    pub fn missing_pepper(count: u64) -> Self {
        Self {
            key: "password.pepper_file",
            why: format!(
                "{} could not be checked: a pepper that went into their hashes is not there",
                counted(count, "password", "passwords")
            ),
            fix: String::from("put its line back into password.pepper_file, and start the server again"),
        }
    }

    /// Creates the finding that a key file is not what the running server has in memory. `what` names the file.
    pub fn changed_key(what: &str) -> Self {
        Self {
            key: "keys.dir",
            why: format!("{what}, so the next start is refused"),
            fix: String::from("put the keys of this installation back into keys.dir before the server stops"),
        }
    }

    /// Creates the finding that the time of the journal is `ahead` of the system's clock.
    pub fn clock_ahead(ahead: Duration) -> Self {
        let secs = ahead.as_secs();
        Self {
            key: "clock",
            why: format!(
                "the data has seen a time that is {secs} s ahead of the system's clock, so sessions, links and locks last \
                 longer until it has caught up"
            ),
            fix: String::from(
                "keep the clock right (NTP); it catches up in twice that time; if that is too long, stop the server and \
                 make a new directory with portcullis data reset-clock-floor",
            ),
        }
    }

    /// Creates the finding that the webhook at `host` is called no more.
    pub fn disabled_webhook(host: &str, why: &str) -> Self {
        Self {
            key: "webhook.url",
            why: format!("the webhook at {host} is not called any more: {why}"),
            fix: format!("mend the receiver, then run: portcullis webhook resume {host}"),
        }
    }

    /// Creates the finding that every request is forwarded by `proxy`, which is not trusted.
    pub fn forgotten_proxy(proxy: IpAddr) -> Self {
        Self {
            key: "http.trusted_proxies",
            why: format!("every request is forwarded by {proxy}, so all clients are throttled as one"),
            fix: format!("if it is your proxy, set [http] trusted_proxies = [\"{proxy}\"]"),
        }
    }
}
