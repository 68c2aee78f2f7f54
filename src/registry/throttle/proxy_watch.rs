//! Tells a proxy that is missing from `http.trusted_proxies` from a client that sends a forwarding header of its own.
//!
//! Behind such a proxy all clients look like one network, and the rate limit would refuse all of them. The sign of it
//! is that one peer sends request after request, each with a forwarding header. One such request proves nothing, since
//! any client can send it.

use std::net::IpAddr;

/// Forwarded requests in a row from one peer that are no accident.
const STREAK: u32 = 20;

/// The streak of forwarded requests from one peer, and the proxy that was detected.
#[derive(Debug, Default)]
pub struct ProxyWatch {
    peer: Option<IpAddr>,
    streak: u32,
    /// The proxy that was detected.
    found: Option<IpAddr>,
}

impl ProxyWatch {
    /// Notes a request of an untrusted `peer`. Returns the peer when this request shows it to be a proxy.
    pub fn see(&mut self, peer: IpAddr, is_forwarded: bool) -> Option<IpAddr> {
        if !is_forwarded || self.peer != Some(peer) {
            self.peer = Some(peer);
            self.streak = u32::from(is_forwarded);
            return None;
        }
        self.streak = self.streak.saturating_add(1);
        if self.streak == STREAK && self.found != Some(peer) {
            self.found = Some(peer);
            return Some(peer);
        }
        None
    }

    /// Returns the missing proxy, if one was detected.
    pub const fn found(&self) -> Option<IpAddr> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_proxy_is_reported_once_and_a_client_with_a_header_never() {
        let [proxy, other] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let mut watch = ProxyWatch::default();
        for n in 0..1000 {
            assert_eq!(watch.see(proxy, n % 20 != 19), None);
        }
        for n in 0..1000 {
            assert_eq!(watch.see(if n % 20 == 0 { other } else { proxy }, true), None);
        }
        watch.see(other, false);
        let alarms = (0..1000).filter(|_| watch.see(proxy, true).is_some()).count();
        assert_eq!(alarms, 1);
        assert_eq!(watch.found(), Some(proxy));
    }
}
