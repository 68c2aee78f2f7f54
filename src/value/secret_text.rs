//! A password or a token as a client typed or sent it.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// Text that is a secret. Wiped when it is dropped; `Debug` does not print it.
pub struct SecretText(Zeroizing<String>);

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Deref for SecretText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// For the command line, which sends a password to the server over its socket.
impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_and_sent_like_text_and_does_not_print() {
        let read: SecretText = serde_json::from_str("\"a \\u0070hrase\"").unwrap();
        assert_eq!(&*read, "a phrase");
        assert_eq!(serde_json::to_string(&read).unwrap(), "\"a phrase\"");
        assert_eq!(format!("{read:?}"), "SecretText(..)");
        assert!(serde_json::from_str::<SecretText>("7").is_err());
    }
}
