//! An unsafe setting, as the security checklist reports it.

use std::net::IpAddr;

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
    /// Creates the finding that every request is forwarded by `proxy`, which is not trusted.
    pub fn forgotten_proxy(proxy: IpAddr) -> Self {
        Self {
            key: "http.trusted_proxies",
            why: format!("every request is forwarded by {proxy}, so all clients are throttled as one"),
            fix: format!("if it is your proxy, set http.trusted_proxies = [\"{proxy}\"]"),
        }
    }
}
