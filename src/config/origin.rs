//! Origins: where this server is reached, and which others may call it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::read::Reader;

/// Scheme, host and port, as an `Origin` header says it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin(String);

impl Origin {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether browsers speak TLS to it.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// What it should say where it names the port that goes without saying: browsers leave that out, so that nothing they
    /// send would ever be equal to it.
    fn rightly_spelled(&self) -> Option<&str> {
        let port = if self.is_https() { ":443" } else { ":80" };
        self.0.strip_suffix(port)
    }

    /// Of an address that is listened on.
    pub(super) fn of(listen: SocketAddr) -> Self {
        let origin = Self(format!("http://{listen}"));
        Self(origin.rightly_spelled().unwrap_or(&origin.0).to_owned())
    }
}

impl FromStr for Origin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or(())?;
        let plain = |c: char| c.is_ascii_alphanumeric() && !c.is_ascii_uppercase() || ".-:[]".contains(c);
        if host.is_empty() || !host.chars().all(plain) { Err(()) } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) fn allowed(reader: &mut Reader) -> Vec<Origin> {
    let origins = reader.list("http.allowed_origins", "an origin");
    check(reader, "http.allowed_origins", &origins);
    origins
}

pub(super) fn check(reader: &mut Reader, key: &'static str, origins: &[Origin]) {
    for right in origins.iter().filter_map(Origin::rightly_spelled) {
        reader.wrong(key, format!("must leave out the port that browsers leave out: \"{right}\""));
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
        assert_eq!(
            (config.public_origin.as_str(), &*config.audience),
            ("http://127.0.0.1", "http://127.0.0.1")
        );
    }
}
