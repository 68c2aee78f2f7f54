//! Account names: e-mail addresses, brought by one function to the one form that look-up and counting share.

use std::fmt;

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

impl AccountName {
    /// Parses the address that a user typed. Surrounding white space is dropped.
    pub fn parse(typed: &str) -> Result<Self, NameError> {
        let typed = typed.trim();
        if typed.len() > NAME_BYTES_MAX || typed.chars().any(char::is_control) {
            return Err(NameError);
        }
        let (local, domain) = typed.rsplit_once('@').ok_or(NameError)?;
        let local: String = local.nfkc().flat_map(char::to_lowercase).collect();
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| NameError)?;
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
        for typed in [" Ada@Example.org ", "ADA@EXAMPLE.ORG", "\u{ff41}da@example.org"] {
            let name = AccountName::parse(typed).unwrap();
            assert_eq!(name.key(&key), ada.key(&key), "{typed}");
        }
        assert_eq!(AccountName::parse("j@b\u{fc}cher.example").unwrap().as_str(), "j@xn--bcher-kva.example");
        assert_eq!(ada.key(&key).slot(), Slot::of_name(&key, "ada@example.org"));
        assert_eq!(ada.masked(), "a***@example.org");
    }

    #[test]
    fn text_that_is_not_an_address_is_refused() {
        let long = format!("{}@example.org", "a".repeat(250));
        for typed in
            ["", "ada", "@example.org", "ada@", "a b@example.org", "a\r\nb@example.org", "a@b@c,d", &long]
        {
            assert_eq!(AccountName::parse(typed).err(), Some(NameError), "{typed}");
        }
    }
}
