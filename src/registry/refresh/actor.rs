//! The mailbox around [`Families`].

pub use super::state::{CarryOver, End, EndOthers, OpenFamily, Rotate};
use super::state::{Refusal, Rotated, alive};
use super::{Families, FamilyV1};
use crate::registry::{handles, reads, registry};
use crate::value::id::{AccountId, FamilyId};

registry!(Families, FamilyV1, "refresh", ends super::state::ended_by);

/// Reads a family, if it is alive.
#[derive(Clone, Copy, Debug)]
pub struct Alive {
    /// The family.
    pub id: FamilyId,
}

/// Reads a family, alive or not.
#[derive(Clone, Copy, Debug)]
pub struct Get {
    /// The family.
    pub id: FamilyId,
}

/// Reads the families of an account that may be alive.
#[derive(Clone, Copy, Debug)]
pub struct OfAccount {
    /// The account.
    pub account: AccountId,
}

handles!(Families {
    OpenFamily => FamilyV1, Ordinary, |families, open, now| families.open(&open, now);
    Rotate => Result<Rotated, Refusal>, Ordinary, |families, rotate, now| families.rotate(&rotate, now);
    CarryOver => (), Essential, |families, carry_over, _| families.carry_over(carry_over);
    End => (), Essential, |families, end, _| families.end(end);
    EndOthers => bool, Essential, |families, end_others, now| families.end_others(end_others, now);
});

reads!(Families {
    Alive, of |alive| alive.id.to_bytes() => Option<FamilyV1>, |families, message, now| {
        families.get(message.id).filter(|family| alive(family, now).is_ok()).cloned()
    };
    Get, of |get| get.id.to_bytes() => Option<FamilyV1>, |families, get, _| families.get(get.id).cloned();
    OfAccount => Vec<FamilyV1>, |families, of, now| families.of_account(of.account, now);
});
