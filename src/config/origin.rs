//! Web origins: the one that this server is reached by, and others that may call it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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

    /// Says whether its pages come from a web server. Others come with an application, and have no cookie of ours.
    pub fn is_web(&self) -> bool {
        self.is_https() || self.0.starts_with("http://")
    }

    /// Returns the origin that `text` means, as browsers spell it: letters beyond ASCII in Punycode, small letters, no
    /// default port, and nothing behind the port.
    pub(super) fn respelled(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, format!(":{port}")),
            _ => (authority, String::new()),
        };
        let host = if host.starts_with('[') { host.to_owned() } else { idna::domain_to_ascii(host).ok()? };
        let right: Self = format!("{}://{host}{port}", scheme.to_ascii_lowercase()).parse().ok()?;
        Some(Self(right.without_default_port().unwrap_or(&right.0).to_owned()))
    }

    /// Returns the origin without its default port, if it names one. Browsers omit that port, so their `Origin` would
    /// never match.
    pub(super) fn without_default_port(&self) -> Option<&str> {
        let port = if self.is_https() { ":443" } else { ":80" };
        self.0.strip_suffix(port).filter(|_| self.is_web())
    }

    /// Returns the origin of a server that listens on `listen` without TLS.
    pub(super) fn of(listen: SocketAddr) -> Self {
        let origin = Self(format!("http://{listen}"));
        Self(origin.without_default_port().unwrap_or(&origin.0).to_owned())
    }
}

/// Schemes of the pages that applications carry with them: desktop and mobile frameworks, and extensions of browsers.
const OF_APPLICATIONS: [&str; 7] =
    ["app", "capacitor", "chrome-extension", "ionic", "moz-extension", "tauri", "vscode-webview"];

impl FromStr for Origin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (scheme, rest) = text.split_once("://").ok_or(())?;
        if !["https", "http"].contains(&scheme) && !OF_APPLICATIONS.contains(&scheme) {
            return Err(());
        }
        // The address of IPv6 ends with a bracket; the colons in it are no ports.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (rest, None),
        };
        let is_port =
            |port: &str| port.parse().is_ok_and(|number: u16| number > 0 && number.to_string() == port);
        if is_host(host) && port.is_none_or(is_port) { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

/// Says whether browsers spell a host so in an origin: an address in its shortest form, or a name in lower case.
///
/// Source: the host parser and serialiser of the WHATWG URL standard; labels as RFC 1123 §2.1 and RFC 1035 §2.3.4.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse().is_ok_and(|parsed: Ipv6Addr| spelled(parsed) == address);
    }
    // Browsers take an underscore, too, and some hosts have one.
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(is_plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    // A name whose last label is a number is an address, or nothing.
    if last.chars().all(|c| c.is_ascii_digit()) {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    host.len() <= 253 && host.split('.').all(is_label)
}

/// Spells an address as browsers do, which write no IPv4 address inside.
fn spelled(address: Ipv6Addr) -> String {
    match address.to_ipv4_mapped() {
        Some(_) => {
            let [.., high, low] = address.segments();
            format!("::ffff:{high:x}:{low:x}")
        }
        None => address.to_string(),
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
            ("http://[::ffff:7f00:1]", true),
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

    /// Kind: a setting that nothing can ever match, taken without a word.
    #[test]
    fn only_what_a_browser_can_send_is_an_origin() {
        for origin in [
            "https://login.example.org",
            "https://a",
            "https://a:8443",
            "http://192.0.2.7:1",
            "https://[2001:db8::1]",
            "https://[2001:db8::1]:65535",
            "https://xn--bcher-kva.example",
            "https://3com.example",
        ] {
            assert!(origin.parse::<Origin>().is_ok(), "{origin}");
        }
        for origin in [
            "https://",
            "https://-",
            "https://-a.example",
            "https://a-.example",
            "https://a..example",
            "https://.example",
            "https://a.example.",
            "https://a:99999",
            "https://a:0",
            "https://a:08443",
            "https://a:",
            "https://a:b",
            "https://a:1:2",
            "https://[:::]",
            "https://[2001:db8:0:0::1]",
            "https://[2001:DB8::1]",
            "https://[::1",
            "https://::1",
            "https://192.0.2",
            "https://192.0.2.256",
            "https://192.0.2.07",
            "https://1",
            "https://Login.example.org",
            "https://a/b",
            "https://a?",
            "https://a@b",
            "https://a b",
            "https://b\u{fc}cher.example",
            "ftp://a",
            "a",
        ] {
            assert!(origin.parse::<Origin>().is_err(), "{origin}");
        }
        let long = |labels: usize| format!("https://{}", vec!["a".repeat(63); labels].join("."));
        assert!(long(3).parse::<Origin>().is_ok());
        assert!(long(4).parse::<Origin>().is_err());
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
                "p.toml:2: `http.public_origin` must be spelled as browsers spell it: \
                 \"https://login.example.org\", not \"https://login.example.org:443\"",
                "p.toml:3: `http.allowed_origins` must be spelled as browsers spell it: \"http://a.test\", not \
                 \"http://a.test:80\"",
            ]
        );
        for (typed, right) in [
            ("https://b\u{fc}cher.example", "https://xn--bcher-kva.example"),
            ("HTTPS://Login.Example.ORG/", "https://login.example.org"),
            ("https://login.example.org/auth?x", "https://login.example.org"),
            (" http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(Origin::respelled(typed).map(|right| right.0), Some(right.to_owned()), "{typed}");
        }
        for origin in [
            "capacitor://localhost",
            "tauri://localhost",
            "chrome-extension://abcdefghij",
            "https://my_auth.a.org",
        ] {
            let text = format!("[http]\nallowed_origins = [\"{origin}\"]\n");
            let config = load(&text, &[]).unwrap();
            assert_eq!(config.http.allowed_origins[0].as_str(), origin);
        }
        for origin in ["*", "null", "file://", "https://*.example.org", "login.example.org", "ftp://a.test"] {
            let text = format!("[http]\nallowed_origins = [\"{origin}\"]\n");
            let said = load(&text, &[]).unwrap_err();
            assert!(said[0].contains("must be an origin such as"), "{origin}: {said:?}");
        }
        let said = load("[http]\npublic_origin = \"capacitor://localhost\"\n", &[]).unwrap_err();
        assert!(said[0].ends_with("must begin with https:// or http://"), "{said:?}");
        let config = load("[http]\nlisten = \"127.0.0.1:80\"\n", &[]).unwrap();
        assert_eq!(config.http.public_origin.as_str(), "http://127.0.0.1");
        assert_eq!(config.token.audience, "http://127.0.0.1");
    }
}
