//! The mailbox around [`Families`].

use super::state::{Opened, Refusal, Rotate, Rotated, alive};
use super::{Cause, Families, FamilyV1};
use crate::id::{AccountId, FamilyId};
use crate::registry::{handles, reads, registry};

registry!(Families, FamilyV1, "refresh");

/// Ends a family.
#[derive(Clone, Copy, Debug)]
pub struct End(pub FamilyId, pub Cause);

/// The family of that id, if it is alive.
#[derive(Clone, Copy, Debug)]
pub struct Alive(pub FamilyId);

/// The families of an account that may be alive.
#[derive(Clone, Copy, Debug)]
pub struct OfAccount(pub AccountId);

handles!(Families {
    Opened => FamilyV1, Ordinary, |families, command, now| families.open(&command, now);
    Rotate => Result<Rotated, Refusal>, Ordinary, |families, command, now| families.rotate(&command, now);
    End => (), Essential, |families, command, _| families.end(command.0, command.1);
});

reads!(Families {
    Alive => Option<FamilyV1>, |families, command, now| {
        families.get(command.0).filter(|family| alive(family, now).is_ok()).cloned()
    };
    OfAccount => Vec<FamilyV1>, |families, command, now| families.of_account(command.0, now);
});
