//! `[hook]`: URLs that the server asks before a sign-up, a log-in or a refresh.

use super::keys::secret_file;
use super::outbound::Outbound;
#[cfg(feature = "outbound")]
use super::outbound::receiver;
use crate::config::key::{Key, choice, text};
use crate::config::reader::Reader;
use crate::config::secret_file::SecretFile;

pub(in crate::config) const KEYS: &[Key] = &[
    text(
        "hook.sign_up",
        "",
        "URL that judges each sign-up: https://, or http:// to what outbound.allow lists.",
    ),
    text("hook.claims", "", "URL that judges each log-in and refresh, and may add claims to access tokens."),
    text(
        "hook.secret_file",
        "",
        "File whose first line is the secret that signs calls and answers (HMAC-SHA-256); or credential:NAME.",
    ),
    choice(
        "hook.on_error",
        "\"refuse\"",
        &["refuse", "allow"],
        "What follows if a hook gives no answer within two seconds: \"refuse\", or \"allow\", as if there were none.",
    ),
];

/// Decides about a request whose hook has failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnHookError {
    /// The request is refused.
    Refuse,
    /// The request goes on as if there were no hook.
    Allow,
}

impl OnHookError {
    /// Says what is done with a request.
    pub const fn done(self) -> &'static str {
        match self {
            Self::Refuse => "refused",
            Self::Allow => "let in",
        }
    }
}

/// The settings of `[hook]`.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The URL that judges sign-ups.
    pub sign_up: Option<String>,
    /// The URL that judges log-ins and refreshes, and gives claims.
    pub claims: Option<String>,
    /// The secret of both.
    pub secret_file: Option<SecretFile>,
    /// Decides about a request if either has failed.
    pub on_error: OnHookError,
}

impl Hook {
    pub(in crate::config) fn read(reader: &mut Reader, outbound: &Outbound) -> Self {
        let names = ["hook.sign_up", "hook.claims"];
        #[cfg(feature = "outbound")]
        let [sign_up, claims] = names.map(|name| receiver(reader, name, outbound, false));
        #[cfg(not(feature = "outbound"))]
        let [sign_up, claims] = names.map(|name| {
            let _ = outbound;
            reader.not_available(name, Some("outbound"));
            None::<String>
        });
        let is_set = reader.path("hook.secret_file").is_some();
        let secret_file = secret_file(reader, "hook.secret_file");
        for (name, url) in names.into_iter().zip([&sign_up, &claims]) {
            if url.is_some() && !is_set {
                reader.wrong(name, "needs `hook.secret_file`, whose first line signs calls and answers");
            }
        }
        let on_error = match &*reader.choice("hook.on_error") {
            "allow" => OnHookError::Allow,
            _ => OnHookError::Refuse,
        };
        Self { sign_up, claims, secret_file, on_error }
    }

    /// Returns the secret, if a hook is set.
    pub fn secret(&self) -> Option<&SecretFile> {
        self.secret_file.as_ref().filter(|_| self.sign_up.is_some() || self.claims.is_some())
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "outbound")]
    use super::*;
    #[cfg(feature = "outbound")]
    use crate::config::tests::load;

    #[cfg(feature = "outbound")]
    #[test]
    fn a_hook_needs_a_secret_and_a_place_that_may_be_called() {
        let hook = load("", &[]).unwrap().hook;
        assert_eq!(hook.on_error, OnHookError::Refuse);
        assert!(hook.secret().is_none());
        let text = "[hook]\nclaims = \"https://hooks.example.org/claims\"\nsecret_file = \"/etc/s\"\non_error = \"allow\"\n";
        let hook = load(text, &[]).unwrap().hook;
        assert_eq!(hook.on_error, OnHookError::Allow);
        assert!(hook.secret().is_some());
        for (text, said) in [
            ("[hook]\nsign_up = \"https://hooks.example.org/\"\n", "`hook.sign_up` needs `hook.secret_file`"),
            (
                "[hook]\nsign_up = \"http://127.0.0.1:9/\"\nsecret_file = \"/etc/s\"\n",
                "`hook.sign_up` leads to 127.0.0.1, which is not public",
            ),
            (
                "[hook]\nclaims = \"https://u:p@hooks.example.org/\"\nsecret_file = \"/etc/s\"\n",
                "`hook.claims` must not hold a user or a password",
            ),
            ("[hook]\non_error = \"ask\"\n", "`hook.on_error` must be one of"),
        ] {
            let faults = load(text, &[]).unwrap_err();
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].contains(said), "{faults:?}");
        }
        let listed = "[hook]\nsign_up = \"http://127.0.0.1:9/\"\nsecret_file = \"/etc/s\"\n[outbound]\nallow = [\"127.0.0.1\"]\n";
        assert!(load(listed, &[]).is_ok());
    }
}
