//! The types of events, and patterns for them.

use super::record::What;

/// The types of events.
pub const TYPES: [&str; 14] = [
    "account.created",
    "account.verified",
    "account.email_changed",
    "account.name_changed",
    "account.roles_changed",
    "account.disabled",
    "account.enabled",
    "account.deleted",
    "account.password_changed",
    "account.metadata_changed",
    "session.opened",
    "session.ended",
    "lockout.started",
    "refresh.reused",
];

/// The types of events that somebody wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wanted(u32);

impl Wanted {
    /// All of them.
    pub const ALL: Self = Self(u32::MAX);

    /// Reads patterns, each a type or the first word of some: `account.*`, or `account`. None: all of them.
    ///
    /// Errors: the pattern that no type has.
    pub fn parse<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let mut wanted = 0;
        for pattern in patterns {
            let word = pattern.strip_suffix(".*").unwrap_or(pattern);
            let is_meant = |name: &str| {
                let of_word = name.strip_prefix(word).is_some_and(|rest| rest.starts_with('.'));
                name == pattern || pattern == "*" || of_word
            };
            let meant = TYPES.iter().enumerate().filter(|(_, name)| is_meant(name));
            let bits = meant.fold(0, |bits, (at, _)| bits | 1 << at);
            if bits == 0 {
                return Err(pattern);
            }
            wanted |= bits;
        }
        Ok(if wanted == 0 { Self::ALL } else { Self(wanted) })
    }

    /// Says whether a type is wanted.
    pub fn has(self, name: &str) -> bool {
        TYPES.iter().position(|known| *known == name).is_none_or(|at| self.0 & 1 << at != 0)
    }
}

impl What {
    /// Returns the type of the event.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "account.created",
            Self::Verified => "account.verified",
            Self::EmailChanged { .. } => "account.email_changed",
            Self::NameChanged { .. } => "account.name_changed",
            Self::RolesChanged { .. } => "account.roles_changed",
            Self::Disabled => "account.disabled",
            Self::Enabled => "account.enabled",
            Self::Deleted => "account.deleted",
            Self::PasswordChanged => "account.password_changed",
            Self::MetadataChanged(_) => "account.metadata_changed",
            Self::SessionOpened { .. } => "session.opened",
            Self::SessionEnded { .. } => "session.ended",
            Self::LockoutStarted { .. } | Self::LockoutOfNobody { .. } => "lockout.started",
            Self::RefreshReused { .. } => "refresh.reused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_a_type_or_all_with_its_first_word() {
        let names = |patterns: &[&str]| {
            let wanted = Wanted::parse(patterns.iter().copied()).unwrap();
            TYPES.into_iter().filter(|name| wanted.has(name)).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), TYPES);
        assert_eq!(names(&["*"]), TYPES);
        assert_eq!(names(&["session.*"]), ["session.opened", "session.ended"]);
        assert_eq!(
            names(&["session", "refresh.reused"]),
            ["session.opened", "session.ended", "refresh.reused"]
        );
        assert_eq!(names(&["account.created"]), ["account.created"]);
        for unknown in ["", "acc", "account.*.*", "account.cre", "ACCOUNT"] {
            assert_eq!(Wanted::parse([unknown]), Err(unknown));
        }
    }
}
