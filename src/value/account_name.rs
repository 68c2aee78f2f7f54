//! Account names: e-mail addresses, brought by one function to the one form that look-up and counting share.
//!
//! A log-in takes every address that an account may have. An address that an account is to have is judged more strictly:
//! mail to it must be able to leave this machine, and no mail server may take it for a route.

use std::fmt;
use std::str::FromStr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use unicode_normalization::UnicodeNormalization;

use super::id::{Slot, keyed_digest};

/// Maximum length of an address in bytes (RFC 5321 §4.5.3.1.3, without the brackets).
pub const NAME_BYTES_MAX: usize = 254;

/// An e-mail address in canonical form: local part in NFKC and lower case, domain in ASCII.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct AccountName(String);

/// The text is not an e-mail address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an e-mail address")]
pub struct NameError;

/// Which addresses an account may get.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddressRules {
    /// Whether the domain may be one of this machine or network.
    pub allow_local_domains: bool,
    /// Whether letters beyond ASCII may stand before the @.
    pub allow_utf8: bool,
}

/// The reason why an account may not get an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NewNameError {
    /// It is no address.
    #[error(transparent)]
    NotAnAddress(#[from] NameError),
    /// A host name of one label, a name of this machine or network, or an IP address.
    #[error("the domain is not a public one")]
    LocalDomain,
    /// Mail servers took `%` and `!` for a route to another server once, and some still do.
    #[error("% and ! may not stand before the @")]
    Route,
    /// The mail server takes ASCII alone.
    #[error("only letters of the English alphabet may stand before the @ here")]
    NotAscii,
    /// A word as headers of mails encode it, which a mail program would show as something else.
    #[error("an encoded word may not stand before the @")]
    EncodedWord,
    /// A letter that shows nothing.
    #[error("a letter before the @ is invisible")]
    Invisible,
}

/// The @ of East Asian keyboards, in its two widths.
const WIDE_AT: [char; 2] = ['\u{ff20}', '\u{fe6b}'];

/// Letters of which nothing is seen. All other invisible characters are no letters, and so are refused in any case.
const INVISIBLE_LETTERS: [char; 4] = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}'];

impl AccountName {
    /// Parses an address that an account is to have, such as one typed at sign-up.
    pub fn parse_new(typed: &str, rules: AddressRules) -> Result<Self, NewNameError> {
        let is_ascii = |typed: &str| typed.rsplit_once('@').is_none_or(|(local, _)| local.is_ascii());
        let name = Self::parse(typed).map_err(|error| match error {
            // Some letters cannot stand in an address at all, but the reason to tell is the nearer one.
            NameError if !rules.allow_utf8 && !is_ascii(typed) => NewNameError::NotAscii,
            NameError => NewNameError::NotAnAddress(error),
        })?;
        let (local, domain) = name.0.rsplit_once('@').ok_or(NameError)?;
        if local.contains(['%', '!']) {
            return Err(NewNameError::Route);
        }
        // RFC 2047 §2. What the program shows in its place is what its owner has chosen.
        if local.contains("=?") && local.contains("?=") {
            return Err(NewNameError::EncodedWord);
        }
        if !rules.allow_utf8 && !local.is_ascii() {
            return Err(NewNameError::NotAscii);
        }
        let is_seen = |c: char| c.is_ascii() || (c.is_alphanumeric() && !INVISIBLE_LETTERS.contains(&c));
        if !local.chars().all(is_seen) {
            return Err(NewNameError::Invisible);
        }
        if !rules.allow_local_domains && !is_public(domain) {
            return Err(NewNameError::LocalDomain);
        }
        Ok(name)
    }

    /// Parses the address that a user typed. Surrounding white space is dropped, and the wide @ of East Asian keyboards
    /// is one, as the wide full stop is.
    pub fn parse(typed: &str) -> Result<Self, NameError> {
        let typed = &*typed.trim().replace(WIDE_AT, "@");
        if typed.len() > NAME_BYTES_MAX || typed.chars().any(char::is_control) {
            return Err(NameError);
        }
        let (local, domain) = typed.rsplit_once('@').ok_or(NameError)?;
        let local: String = local.nfkc().flat_map(char::to_lowercase).collect();
        let domain = Uts46::new()
            // Registered names have no hyphens in the third and fourth place, but hosts below them do.
            .to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
            .map_err(|_| NameError)?;
        let name = format!("{local}@{domain}");
        // The domain grows when it is brought to ASCII, so the length is checked again.
        let is_unquoted = !local.contains(['"', ' ', '<', '>', '(', ')', ',', ';', ':', '\\']);
        let is_valid =
            is_unquoted && name.len() <= NAME_BYTES_MAX && email_address::EmailAddress::is_valid(&name);
        if is_valid { Ok(Self(name)) } else { Err(NameError) }
    }

    /// Returns the address in canonical form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the domain in canonical form.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// Returns the key by which registries look the address up.
    ///
    /// Security: it is an HMAC, so that no client chooses the keys of a table.
    pub fn key(&self, directory_key: &[u8; 32]) -> NameKey {
        let slot = Slot::of_name(directory_key, &self.0).to_bytes();
        let digest = keyed_digest(directory_key, &[b"name", self.0.as_bytes()]);
        NameKey(std::array::from_fn(|at| match at {
            0 | 1 => slot.get(at).copied().unwrap_or_default(),
            _ => digest.get(at).copied().unwrap_or_default(),
        }))
    }

    /// Returns the address as logs may show it: `a***@example.org`.
    pub fn masked(&self) -> String {
        masked(&self.0)
    }
}

/// A domain, or all domains below one: `example.org`, or `*.example.org`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DomainPattern {
    /// The domain in canonical form.
    domain: String,
    /// Whether the domains below it are meant, and not itself.
    is_below: bool,
}

impl DomainPattern {
    /// Says whether `domain`, which is in canonical form, is meant.
    pub fn matches(&self, domain: &str) -> bool {
        if !self.is_below {
            return domain == self.domain;
        }
        let above = domain.strip_suffix(self.domain.as_str());
        above.and_then(|above| above.strip_suffix('.')).is_some_and(|above| !above.is_empty())
    }
}

impl FromStr for DomainPattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (is_below, domain) = text.strip_prefix("*.").map_or((false, text), |domain| (true, domain));
        // By the function that reads addresses, so that both have the same canonical form.
        let name = AccountName::parse(&format!("a@{domain}"))?;
        if domain.contains('@') {
            Err(NameError)
        } else {
            Ok(Self { domain: name.domain().to_owned(), is_below })
        }
    }
}

/// Domains that never are public, nor is any name below them. The rest of the special names (such as `.test` and
/// `.example`) reach no machine at all, and `.lan` or `.corp` are reserved by nobody.
///
/// Source: RFC 6761 §6.3 and §6.4 (`localhost`, `invalid`); RFC 6762 §3 (`local`); RFC 8375 (`home.arpa`); ICANN SAC113
/// and the Board's resolution of 29 July 2024 (`internal`). `localdomain` is reserved by nobody, but the hosts file of
/// many systems has `localhost.localdomain`.
const LOCAL_DOMAINS: [&str; 6] = ["localhost", "localdomain", "local", "internal", "home.arpa", "invalid"];

/// Says whether a domain looks public: of two labels at least, no IP address, and none of [`LOCAL_DOMAINS`].
fn is_public(domain: &str) -> bool {
    // The last label of a public name has a letter (RFC 3696 §2); that of an IPv4 address has none.
    let has_name = |last: &str| last.chars().any(|c| c.is_ascii_alphabetic());
    let is_in = |zone: &&str| {
        domain.strip_suffix(*zone).is_some_and(|above| above.is_empty() || above.ends_with('.'))
    };
    !LOCAL_DOMAINS.iter().any(is_in)
        && !domain.contains(['[', ']', ':'])
        && !domain.split('.').any(str::is_empty)
        && domain.rsplit_once('.').is_some_and(|(_, last)| has_name(last))
}

/// Returns `email` as logs may show it: `a***@example.org`.
pub fn masked(email: &str) -> String {
    let (local, domain) = email.rsplit_once('@').unwrap_or(("", ""));
    format!("{}***@{domain}", local.chars().next().unwrap_or('*'))
}

impl fmt::Debug for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountName({})", self.masked())
    }
}

/// The slot of an account name, followed by 14 bytes of its HMAC.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NameKey(pub [u8; 16]);

impl NameKey {
    /// Returns the slot of the account of that name.
    pub fn slot(self) -> Slot {
        let [high, low, ..] = self.0;
        // The key was made from an existing slot, so the fallback is never taken.
        Slot::new(u16::from_be_bytes([high, low])).unwrap_or(Slot::FIRST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_address_are_one_name() {
        let key = [5; 32];
        let ada = AccountName::parse("ada@example.org").unwrap();
        for typed in [
            " Ada@Example.org ",
            "ADA@EXAMPLE.ORG",
            "\u{ff41}da@example.org",
            "ada\u{ff20}example.org",
            "ada\u{fe6b}example\u{3002}org",
            "ada@example\u{ff0e}org\r\n",
        ] {
            let name = AccountName::parse(typed).unwrap();
            assert_eq!(name.key(&key), ada.key(&key), "{typed}");
        }
        assert_eq!(AccountName::parse("j@b\u{fc}cher.example").unwrap().as_str(), "j@xn--bcher-kva.example");
        assert_eq!(ada.key(&key).slot(), Slot::of_name(&key, "ada@example.org"));
        assert_eq!(ada.masked(), "a***@example.org");
    }

    #[test]
    fn an_account_gets_an_address_that_mail_can_reach() {
        let check = |typed: &str, strict: Result<(), NewNameError>, rules: AddressRules| {
            // It is an address all the same: an account that has it may log in.
            assert!(AccountName::parse(typed).is_ok(), "{typed}");
            let parsed = AccountName::parse_new(typed, AddressRules::default());
            assert_eq!(parsed.map(|_| ()), strict, "{typed}");
            let is_never = matches!(strict, Err(NewNameError::Route | NewNameError::EncodedWord));
            assert!(AccountName::parse_new(typed, rules).is_ok() || is_never);
        };
        let local = AddressRules { allow_local_domains: true, ..AddressRules::default() };
        let utf8 = AddressRules { allow_utf8: true, ..AddressRules::default() };
        for typed in [
            "ada@example.org",
            "a.b+c@mail.example.co.uk",
            "j@b\u{fc}cher.example",
            "a@1and1.com",
            "a@r3---sn.example.org",
        ] {
            check(typed, Ok(()), local);
        }
        for typed in ["root@localhost", "a@127.0.0.1", "x@1.2", "ada@gmail", "a@0x7f.1"] {
            check(typed, Err(NewNameError::LocalDomain), local);
        }
        for typed in [
            "a@localhost.localdomain",
            "a@host.localdomain",
            "a@Mail.LOCALHOST",
            "a@printer.local",
            "a@api.internal",
            "a@home.arpa",
            "a@nas.home.arpa",
            "a@x.invalid",
        ] {
            check(typed, Err(NewNameError::LocalDomain), local);
        }
        for typed in [
            "a@mylocalhost.org",
            "a@notlocal.net",
            "a@x.arpa",
            "a@internal.org",
            "a@x.lan",
            "a@x.corp",
            "a@x.test",
        ] {
            check(typed, Ok(()), local);
        }
        for typed in ["a%b@c.org", "a!b@c.org", "relay.org!ada@c.org"] {
            check(typed, Err(NewNameError::Route), local);
        }
        for typed in ["=?utf-8?q?security?=@c.org", "=?utf-8?b?c2VjdXJpdHk=?=@c.org"] {
            check(typed, Err(NewNameError::EncodedWord), local);
        }
        for typed in ["j\u{fc}rgen@example.org", "\u{7528}\u{6237}@example.org"] {
            check(typed, Err(NewNameError::NotAscii), utf8);
        }
        // A letter whose small form is no address: what is told is still that it is beyond ASCII.
        let parsed = AccountName::parse_new("\u{130}leti\u{15f}im@example.org", AddressRules::default());
        assert_eq!(parsed.map(|_| ()), Err(NewNameError::NotAscii));
        let hidden = AccountName::parse_new("a\u{3164}@example.org", utf8);
        assert_eq!(hidden.map(|_| ()), Err(NewNameError::Invisible));
        for typed in ["ada@[127.0.0.1]", "ada@example.org.", "ada@.org", "ada@[IPv6:::1]"] {
            assert!(AccountName::parse_new(typed, AddressRules::default()).is_err(), "{typed}");
        }
    }

    #[test]
    fn text_that_is_not_an_address_is_refused() {
        let long = format!("{}@example.org", "a".repeat(250));
        for typed in [
            "",
            "ada",
            "@example.org",
            "ada@",
            "a b@example.org",
            "a\r\nb@example.org",
            "a@b@c,d",
            "a\u{ff20}b@c.org",
            &long,
        ] {
            assert_eq!(AccountName::parse(typed).err(), Some(NameError), "{typed}");
        }
    }
}
