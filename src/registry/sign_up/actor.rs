//! The mailbox around [`SignUps`].

pub use super::state::{Begin, Confirm, Half, Prove};
use super::{Proof, SignUpV1, SignUps};
use crate::registry::{handles, reads, registry};
use crate::system::clock::Timestamp;
use crate::value::account_name::NameKey;
use crate::value::id::AccountId;

registry!(SignUps, SignUpV1, "sign-up");

/// Notes that the account of a sign-up exists.
#[derive(Clone, Copy, Debug)]
pub struct Settle {
    /// The sign-up.
    pub id: AccountId,
}

/// Ends a sign-up.
#[derive(Clone, Copy, Debug)]
pub struct Discard {
    /// The sign-up.
    pub id: AccountId,
}

/// Ends all sign-ups of an address.
#[derive(Clone, Copy, Debug)]
pub struct EndSignUps {
    /// The key of the address.
    pub name: NameKey,
}

/// Finds the sign-up of an address whose link is to be mailed again.
#[derive(Clone, Copy, Debug)]
pub struct FindWaiting {
    /// The key of the address.
    pub name: NameKey,
    /// The half that the browser shows, if it shows one.
    pub half: Option<Half>,
    /// The global epoch. A sign-up of another one is invalid.
    pub global_epoch: u64,
}

/// Asks when a sign-up ends: `None` if it is over.
#[derive(Clone, Copy, Debug)]
pub struct EndOf {
    /// The sign-up.
    pub id: AccountId,
    /// The global epoch. A sign-up of another one is invalid.
    pub global_epoch: u64,
}

handles!(SignUps {
    Begin => Option<SignUpV1>, Ordinary, |sign_ups, begin, now| sign_ups.begin(begin, now);
    Prove => Proof, Ordinary, |sign_ups, prove, now| sign_ups.prove(prove, now);
    Settle => (), Ordinary, |sign_ups, settle, _| sign_ups.settle(settle.id);
    Discard => (), Ordinary, |sign_ups, discard, _| sign_ups.discard(discard.id);
    Confirm => (), Ordinary, |sign_ups, confirm, now| sign_ups.confirm(confirm, now);
    EndSignUps => (), Essential, |sign_ups, end, _| sign_ups.end_all(end.name);
});

reads!(SignUps {
    EndOf => Option<Timestamp>, |sign_ups, asked, now| sign_ups.end_of(asked.id, asked.global_epoch, now);
    FindWaiting => Option<SignUpV1>, |sign_ups, find, now| {
        sign_ups.waiting(find.name, find.half, find.global_epoch, now).cloned()
    };
});
