//! Web origins: the one that this server is reached by, and others that may call it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Scheme, host and port, spelled as an `Origin` header spells them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin(String);

impl Origin {
    /// Returns the origin as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether browsers use TLS to reach it.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Says whether only browsers on this machine reach it: over plain HTTP, at a loopback address or `localhost`.
    pub fn is_local(&self) -> bool {
        if self.is_https() {
            return false;
        }
        let host = self.host();
        host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }

    /// Says whether browsers count it to the same site as `other`, so that pages of one send the `SameSite` cookies of the
    /// other: the same scheme, and the same domain below a public suffix.
    ///
    /// Source: HTML (WHATWG) §7.1.1.1, "schemelessly same site"; the Public Suffix List.
    pub fn is_same_site(&self, other: &Self) -> bool {
        let site = |origin: &Self| {
            let host = origin.host();
            // An address is a site of its own.
            let registered = if host.parse::<IpAddr>().is_ok() { None } else { psl::domain_str(host) };
            registered.unwrap_or(host).to_owned()
        };
        self.is_https() == other.is_https() && site(self) == site(other)
    }

    /// Returns the name or address, an IPv6 address without its brackets.
    fn host(&self) -> &str {
        let host = self.0.split_once("://").map_or(&*self.0, |(_, host)| host);
        match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            Some((address, _)) => address,
            None => host.split(':').next().unwrap_or(host),
        }
    }

    /// Returns the origin without its default port, if it names one. Browsers omit that port, so their `Origin` would
    /// never match.
    pub(super) fn without_default_port(&self) -> Option<&str> {
        let port = if self.is_https() { ":443" } else { ":80" };
        self.0.strip_suffix(port)
    }

    /// Returns the origin of a server that listens on `listen` without TLS.
    pub(super) fn of(listen: SocketAddr) -> Self {
        let origin = Self(format!("http://{listen}"));
        Self(origin.without_default_port().unwrap_or(&origin.0).to_owned())
    }
}

impl FromStr for Origin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or(())?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() && !c.is_ascii_uppercase() || ".-:[]".contains(c);
        if host.is_empty() || !host.chars().all(is_plain) { Err(()) } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;
    use super::Origin;

    #[test]
    fn only_plain_http_to_this_machine_is_local() {
        for (origin, is_local) in [
            ("http://127.0.0.1:8080", true),
            ("http://127.9.9.9", true),
            ("http://localhost", true),
            ("http://app.localhost:3000", true),
            ("http://[::1]:8080", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("https://localhost", false),
            ("https://127.0.0.1", false),
            ("http://login.example.org", false),
            ("http://localhost.example.org", false),
            ("http://127.0.0.1.example.org", false),
            ("http://10.0.0.1", false),
            ("http://0.0.0.0:8080", false),
            ("http://[2001:db8::1]", false),
        ] {
            assert_eq!(origin.parse::<Origin>().unwrap().is_local(), is_local, "{origin}");
        }
    }

    #[test]
    fn a_site_is_what_one_registers() {
        for (one, other, is_same) in [
            ("https://login.example.org", "https://app.example.org", true),
            ("https://login.example.org", "https://example.org", true),
            ("https://login.example.org", "https://example.org:8443", true),
            ("https://login.example.org", "http://app.example.org", false),
            ("https://login.example.org", "https://example.com", false),
            ("https://login.example.co.uk", "https://other.co.uk", false),
            ("https://ada.github.io", "https://bob.github.io", false),
            ("http://localhost:8080", "http://localhost:3000", true),
            ("http://localhost:8080", "http://127.0.0.1:3000", false),
            ("http://127.0.0.1:8080", "http://127.0.0.1:3000", true),
            ("http://127.0.0.1", "http://10.0.0.1", false),
            ("http://[::1]:8080", "http://[::1]:3000", true),
        ] {
            let parse = |origin: &str| origin.parse::<Origin>().unwrap();
            assert_eq!(parse(one).is_same_site(&parse(other)), is_same, "{one} {other}");
        }
    }

    #[test]
    fn an_origin_is_spelled_as_browsers_spell_it() {
        let text = "[http]\npublic_origin = \"https://login.example.org:443\"\nallowed_origins = [\"http://a.test:80\", \
            \"https://b.test:80\", \"http://[::1]:8080\"]\n";
        assert_eq!(
            load(text, &[]).unwrap_err(),
            [
                "p.toml:2: `http.public_origin` must leave out the port that browsers leave out: \
                 \"https://login.example.org\"",
                "p.toml:3: `http.allowed_origins` must leave out the port that browsers leave out: \"http://a.test\"",
            ]
        );
        let config = load("[http]\nlisten = \"127.0.0.1:80\"\n", &[]).unwrap();
        assert_eq!(config.http.public_origin.as_str(), "http://127.0.0.1");
        assert_eq!(config.token.audience, "http://127.0.0.1");
    }
}
