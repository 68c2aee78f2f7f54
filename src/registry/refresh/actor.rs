//! The mailbox around [`Families`].

pub use super::state::{End, EndOthers, EndThese, Issue, LogOut, OpenFamily, PageOf, Rotate};
use super::state::{LoggedOut, OpenedFamily, Refusal, Rotated, alive};
use super::{Families, FamilyV3};
use crate::journal::append::handle::Class;
use crate::registry::record::LastUse;
use crate::registry::{handles, reads, registry};
use crate::value::id::{AccountId, FamilyId};

registry!(
    Families, FamilyV3, "refresh",
    revokes Families::revoked_by, tells Families::events_of, pauses Families::note_pause
);

/// Reads a family, if it is alive.
#[derive(Clone, Copy, Debug)]
pub struct Alive {
    /// The family.
    pub id: FamilyId,
}

/// Reads whose a family is, if it is alive.
#[derive(Clone, Copy, Debug)]
pub struct AccountOf {
    /// The family.
    pub id: FamilyId,
}

/// Reads a family, alive or not.
#[derive(Clone, Copy, Debug)]
pub struct Get {
    /// The family.
    pub id: FamilyId,
}

/// Counts the families that are open for an account.
#[derive(Clone, Copy, Debug)]
pub struct OpenCount {
    /// The account.
    pub account: AccountId,
}

/// Reads when each open family of an account was used last.
#[derive(Clone, Copy, Debug)]
pub struct LastUses {
    /// The account.
    pub account: AccountId,
}

handles!(Families {
    OpenFamily => OpenedFamily, by(class_of_open), |families, open, now| families.open(&open, now);
    Rotate => Result<Rotated, Refusal>, Ordinary, |families, rotate, now| families.rotate(&rotate, now);
    Issue => Option<FamilyV3>, Ordinary, |families, issue, now| families.issue(issue, now);
    LogOut => LoggedOut, Essential, |families, log_out, now| families.log_out(log_out, now);
    End => (), Essential, |families, end, now| families.end(end, now);
    EndThese => (), Essential, |families, these, now| families.end_these(&these, now);
    EndOthers => Option<[u8; 16]>, Essential, |families, end_others, now| families.end_others(end_others, now);
});

reads!(Families {
    Alive, of |alive| alive.id.to_bytes() => Option<FamilyV3>, |families, message, now| {
        families.get(message.id).filter(|family| alive(family, now).is_ok()).cloned()
    };
    AccountOf, of |of| of.id.to_bytes() => Option<AccountId>, |families, of, now| {
        families.get(of.id).filter(|family| alive(family, now).is_ok()).map(|family| family.account)
    };
    Get, of |get| get.id.to_bytes() => Option<FamilyV3>, |families, get, _| families.get(get.id).cloned();
    PageOf => Vec<FamilyV3>, |families, page, now| families.page(page, now);
    OpenCount => usize, |families, of, now| families.open_count(of.account, now);
    LastUses => Vec<LastUse>, |families, of, now| families.last_uses(of.account, now);
});

/// Returns the class of journal space for a new family. One that replaces another must be written: the password or the
/// address that it comes with is.
const fn class_of_open(open: &OpenFamily) -> Class {
    if open.replaces { Class::Essential } else { Class::Ordinary }
}
