//! The mailbox around [`Families`].

use super::state::{Opened, Refusal, Rotate, Rotated, alive};
use super::{Cause, Families, FamilyV1};
use crate::registry::{handles, reads, registry};
use crate::value::id::{AccountId, FamilyId};

registry!(Families, FamilyV1, "refresh", ends super::state::ended_by);

/// Ends a family.
#[derive(Clone, Copy, Debug)]
pub struct End(pub FamilyId, pub Cause);

/// Ends the families of an account but one: so many of them that they fit into one entry. Says whether there are more.
#[derive(Clone, Copy, Debug)]
pub struct EndOthers(pub AccountId, pub Option<[u8; 16]>, pub Cause);

/// Lets a family go on under another epoch than it had.
#[derive(Clone, Copy, Debug)]
pub struct CarryOver(pub FamilyId, pub u64, pub u64);

/// The family of that id, if it is alive.
#[derive(Clone, Copy, Debug)]
pub struct Alive(pub FamilyId);

/// The family of that id, alive or not.
#[derive(Clone, Copy, Debug)]
pub struct Get(pub FamilyId);

/// The families of an account that may be alive.
#[derive(Clone, Copy, Debug)]
pub struct OfAccount(pub AccountId);

handles!(Families {
    Opened => FamilyV1, Ordinary, |families, command, now| families.open(&command, now);
    Rotate => Result<Rotated, Refusal>, Ordinary, |families, command, now| families.rotate(&command, now);
    CarryOver => (), Essential, |families, command, _| families.carry_over(command.0, command.1, command.2);
    End => (), Essential, |families, command, _| families.end(command.0, command.1);
    EndOthers => bool, Essential, |families, command, now| {
        families.end_others(command.0, command.1, command.2, now)
    };
});

reads!(Families {
    Alive, of |alive| alive.0.to_bytes() => Option<FamilyV1>, |families, command, now| {
        families.get(command.0).filter(|family| alive(family, now).is_ok()).cloned()
    };
    Get, of |get| get.0.to_bytes() => Option<FamilyV1>, |families, command, _| families.get(command.0).cloned();
    OfAccount => Vec<FamilyV1>, |families, command, now| families.of_account(command.0, now);
});
