//! `[signup]`: whether and how new accounts are made. The lifetime of a sign-up is that of its link, which is one of the
//! limits of mailed tokens and is read by [`super::reset`] too.

use crate::config::key::{Key, choice, flag, list, secs};
use crate::config::reader::Reader;
use crate::registry::sign_up::Limits;
use crate::value::account_name::{AccountName, DomainPattern};

pub(in crate::config) const KEYS: &[Key] = &[
    flag("signup.enabled", "true", "Whether anyone may sign up."),
    choice(
        "signup.verify_email",
        "\"required\"",
        &["required", "off"],
        "\"required\": an address must be proved by a mailed link before it can log in; or \"off\".",
    ),
    secs(
        "signup.verify_ttl_secs",
        "86400",
        "Lifetime of a sign-up, and of the link that proves its address.",
    ),
    flag(
        "signup.allow_local_domains",
        "false",
        "Whether new accounts may have addresses of this machine or network, such as ada@localhost, \
         ada@printer.local or ada@192.0.2.1.",
    ),
    list(
        "signup.allow_domains",
        "Domains whose addresses may sign up, such as [\"example.org\", \"*.example.org\"], where *. stands for every domain \
         below; [] for all. Accounts that administrators make or invite are not bound by it.",
    ),
    flag("signup.invite_only", "false", "Whether only those sign up whom an administrator has invited."),
];

/// The settings of `[signup]`.
#[derive(Clone, Debug)]
pub struct Signup {
    /// Whether anyone may sign up.
    pub enabled: bool,
    /// Whether an address must be proved before it can log in.
    pub verify_email: bool,
    /// Whether new accounts may have addresses whose domain is no public one.
    pub allow_local_domains: bool,
    /// The domains whose addresses may sign up; empty for all.
    pub allow_domains: Vec<DomainPattern>,
    /// Whether only those sign up who were invited.
    pub invite_only: bool,
    /// The lifetime of a sign-up.
    pub limits: Limits,
}

impl Signup {
    pub(in crate::config) fn read(reader: &mut Reader) -> Self {
        Self {
            enabled: reader.flag("signup.enabled").unwrap_or(true),
            verify_email: reader.choice("signup.verify_email") != "off",
            allow_local_domains: reader.flag("signup.allow_local_domains").unwrap_or(false),
            allow_domains: reader
                .list("signup.allow_domains", "a domain such as example.org, or *. and a domain"),
            invite_only: reader.flag("signup.invite_only").unwrap_or(false),
            limits: Limits { ttl: reader.secs("signup.verify_ttl_secs") },
        }
    }

    /// Says whether the address may sign up, as far as its domain goes.
    pub fn allows(&self, name: &AccountName) -> bool {
        self.allow_domains.is_empty()
            || self.allow_domains.iter().any(|pattern| pattern.matches(name.domain()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::load;

    #[test]
    fn a_list_of_domains_lets_in_those_and_none_that_look_like_them() {
        let text = "[signup]\nallow_domains = [\"Example.org\", \"*.bücher.example\"]\ninvite_only = true\n";
        let signup = load(text, &[]).unwrap().signup;
        assert!(signup.invite_only);
        for (address, is_allowed) in [
            ("ada@example.org", true),
            ("ADA@EXAMPLE.ORG", true),
            ("ada@sub.example.org", false),
            ("ada@notexample.org", false),
            ("ada@example.org.evil.test", false),
            ("example.org@evil.test", false),
            ("ada@a.bücher.example", true),
            ("ada@a.b.xn--bcher-kva.example", true),
            ("ada@bücher.example", false),
            ("ada@xbücher.example", false),
        ] {
            let name = AccountName::parse(address).unwrap();
            assert_eq!(signup.allows(&name), is_allowed, "{address}");
            assert!(load("", &[]).unwrap().signup.allows(&name));
        }
        for wrong in
            ["", "*.", "*", "a@example.org", "exa mple.org", "*.*.example.org", "https://example.org"]
        {
            let text = format!("[signup]\nallow_domains = [\"{wrong}\"]\n");
            let said = load(&text, &[]).unwrap_err();
            assert!(said[0].contains("is not a domain such as example.org"), "{wrong}: {said:?}");
        }
    }
}
