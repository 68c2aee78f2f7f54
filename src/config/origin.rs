//! Web origins: the one that this server is reached by, and others that may call it.

use std::fmt;
use std::net::SocketAddr;
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
