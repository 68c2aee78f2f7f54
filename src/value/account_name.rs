//! What people type to say who they are: one function brings it to its one form, for looking up and for counting.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

use super::id::{Slot, keyed_digest};

/// The most bytes of an address (RFC 5321 §4.5.3.1.3, less the brackets).
pub const NAME_BYTES_MAX: usize = 254;

/// An e-mail address in its one form: NFKC, lower case, the domain in ASCII.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct AccountName(String);

/// Text that is no address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an e-mail address")]
pub struct NameError;

impl AccountName {
    /// Reads what was typed. Blanks around it are not part of it.
    pub fn parse(typed: &str) -> Result<Self, NameError> {
        let typed = typed.trim();
        if typed.len() > NAME_BYTES_MAX || typed.chars().any(char::is_control) {
            return Err(NameError);
        }
        let (local, domain) = typed.rsplit_once('@').ok_or(NameError)?;
        let local: String = local.nfkc().flat_map(char::to_lowercase).collect();
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| NameError)?;
        let name = format!("{local}@{domain}");
        let plain = !local.contains(['"', ' ', '<', '>', '(', ')', ',', ';', ':', '\\']);
        let sound = plain && name.len() <= NAME_BYTES_MAX && email_address::EmailAddress::is_valid(&name);
        if sound { Ok(Self(name)) } else { Err(NameError) }
    }

    /// The address in its one form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Under what the address is known to the registries: never text that a client chose.
    pub fn key(&self, directory_key: &[u8; 32]) -> NameKey {
        let slot = Slot::of_name(directory_key, &self.0).to_bytes();
        let digest = keyed_digest(directory_key, &[b"name", self.0.as_bytes()]);
        NameKey(std::array::from_fn(|at| match at {
            0 | 1 => slot.get(at).copied().unwrap_or_default(),
            _ => digest.get(at).copied().unwrap_or_default(),
        }))
    }

    /// For logs: `a***@example.org`.
    pub fn masked(&self) -> String {
        masked(&self.0)
    }
}

/// An address as logs may show it: `a***@example.org`.
pub fn masked(email: &str) -> String {
    let (local, domain) = email.rsplit_once('@').unwrap_or(("", ""));
    format!("{}***@{domain}", local.chars().next().unwrap_or('*'))
}

impl fmt::Debug for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountName({})", self.masked())
    }
}

/// An account name's slot and 14 bytes of its HMAC.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NameKey(pub [u8; 16]);

impl NameKey {
    /// The slot of the account of that name.
    pub fn slot(self) -> Slot {
        let [high, low, ..] = self.0;
        // Made from a slot, so it names one.
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
    fn text_that_is_no_address_is_refused() {
        let long = format!("{}@example.org", "a".repeat(250));
        for typed in
            ["", "ada", "@example.org", "ada@", "a b@example.org", "a\r\nb@example.org", "a@b@c,d", &long]
        {
            assert_eq!(AccountName::parse(typed).err(), Some(NameError), "{typed}");
        }
    }
}
