//! The URL by which browsers reach this server: an origin, and a path if the server is mounted below one.

use std::fmt;
use std::str::FromStr;

use super::origin::Origin;

/// The longest path below which a server is mounted, in bytes.
const PATH_BYTES_MAX: usize = 200;

/// An origin such as `https://example.org`, perhaps with a path such as `/auth`. It never ends with a slash, so that the path
/// of an endpoint or a page follows at once.
///
/// Security: whatever is compared with an `Origin` header is [`PublicUrl::origin`], which has no path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicUrl {
    text: String,
    origin: Origin,
}

impl PublicUrl {
    /// Returns the URL as text, for links and identifiers: issuer, audience, types of problems.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the part that browsers send as `Origin`.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the path: empty, or a slash and at least one character.
    pub fn path(&self) -> &str {
        self.text.get(self.origin.as_str().len()..).unwrap_or_default()
    }

    /// Says whether browsers use TLS to reach it.
    pub fn is_https(&self) -> bool {
        self.origin.is_https()
    }

    /// Says whether only browsers on this machine reach it.
    pub fn is_local(&self) -> bool {
        self.origin.is_local()
    }

    /// Returns the URL that `text` means, with its origin as browsers spell it and without a slash at the end.
    pub(super) fn respelled(text: &str) -> Option<Self> {
        let text = text.trim();
        let origin = Origin::respelled(text)?;
        let (_, rest) = text.split_once("://")?;
        let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default();
        let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        format!("{origin}{path}").parse().ok()
    }
}

impl From<Origin> for PublicUrl {
    fn from(origin: Origin) -> Self {
        Self { text: origin.to_string(), origin }
    }
}

impl FromStr for PublicUrl {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let host = text.find("://").ok_or(())? + 3;
        let end = text.get(host..).and_then(|rest| rest.find('/')).map_or(text.len(), |at| host + at);
        let (origin, path) = text.split_at_checked(end).ok_or(())?;
        if is_path(path) { Ok(Self { text: text.to_owned(), origin: origin.parse()? }) } else { Err(()) }
    }
}

/// Says whether browsers and routers agree on `path` without decoding anything: whole segments of unreserved characters
/// (RFC 3986 §2.3), or nothing.
fn is_path(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain);
    path.len() <= PATH_BYTES_MAX
        && path.strip_prefix('/').map_or(path.is_empty(), |path| path.split('/').all(is_segment))
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;
    use super::*;

    #[test]
    fn a_path_follows_the_origin_and_is_no_part_of_it() {
        for (text, origin, path) in [
            ("https://example.org", "https://example.org", ""),
            ("https://example.org/auth", "https://example.org", "/auth"),
            ("http://[::1]:8080/a/b-c_d.e~f", "http://[::1]:8080", "/a/b-c_d.e~f"),
        ] {
            let url: PublicUrl = text.parse().unwrap();
            assert_eq!(url.as_str(), text);
            assert_eq!(url.origin().as_str(), origin);
            assert_eq!(url.path(), path);
        }
        let long = |bytes: usize| format!("https://example.org/{}", "a".repeat(bytes));
        assert!(long(PATH_BYTES_MAX - 1).parse::<PublicUrl>().is_ok());
        for text in [
            &*long(PATH_BYTES_MAX),
            "https://example.org/",
            "https://example.org/auth/",
            "https://example.org//auth",
            "https://example.org/a//b",
            "https://example.org/../auth",
            "https://example.org/./auth",
            "https://example.org/a%2fb",
            "https://example.org/a b",
            "https://example.org/{id}",
            "https://example.org/a?b",
            "https://example.org/a#b",
            "https://example.org/a\\b",
            "https://example.org/\"",
            "/auth",
            "example.org/auth",
        ] {
            assert!(text.parse::<PublicUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_public_origin_is_spelled_without_a_slash_at_the_end() {
        for (typed, right) in [
            ("https://example.org/", "https://example.org"),
            ("HTTPS://Example.org:443/Auth/", "https://example.org/Auth"),
            ("https://example.org/auth?x", "https://example.org/auth"),
        ] {
            let said = load(&format!("[http]\npublic_origin = \"{typed}\"\n"), &[]).unwrap_err();
            let expected = format!("must be spelled as browsers spell it: \"{right}\", not");
            assert!(said[0].contains(&expected), "{typed}: {said:?}");
        }
        let said = load("[http]\npublic_origin = \"https://example.org/a%2fb\"\n", &[]).unwrap_err();
        assert!(said[0].contains("must be an origin such as https://login.example.org, perhaps with a path"));
        let config = load("[http]\npublic_origin = \"https://example.org/auth\"\n", &[]).unwrap();
        assert_eq!(config.token.audience, "https://example.org/auth");
    }
}
