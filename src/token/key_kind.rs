//! The kinds of keys: each has one use.

/// What a key is used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyKind {
    /// Signs access tokens.
    Signing,
    /// Tags opaque tokens.
    Edge,
    /// Signs device cookies.
    Device,
    /// Signs CSRF tokens.
    Csrf,
    /// Seals tokens of mails in the outbox.
    Outbox,
    /// Derives the slot and the look-up key of an account name.
    Directory,
    /// Seals lines of the audit log.
    Audit,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Signing, Self::Edge, Self::Device, Self::Csrf, Self::Outbox, Self::Directory, Self::Audit];

    /// Returns the name of the kind in files, commands and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signing => "signing",
            Self::Edge => "edge",
            Self::Device => "device",
            Self::Csrf => "csrf",
            Self::Outbox => "outbox",
            Self::Directory => "directory",
            Self::Audit => "audit",
        }
    }

    /// Returns the kind of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Returns why keys of this kind cannot change; `None` if they can.
    pub const fn fixed(self) -> Option<&'static str> {
        match self {
            Self::Directory => Some(
                "the directory key cannot change: the id of every account, and the place of every record, was derived \
                 with it; if it has leaked, move the accounts to a new installation",
            ),
            Self::Audit => Some(
                "the audit key cannot change: it is derived from the directory key, and every line of the log is \
                 verified with it; if it has leaked, keep a copy of audit.dir where the server cannot write",
            ),
            _ => None,
        }
    }
}
