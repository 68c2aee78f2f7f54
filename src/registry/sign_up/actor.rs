//! The mailbox around [`SignUps`].

pub use super::state::{Begin, Confirm, Half, Prove};
use super::{Proof, SignUpV2, SignUps};
use crate::registry::{handles, reads, registry};
use crate::system::clock::Timestamp;
use crate::value::account_name::NameKey;
use crate::value::id::AccountId;
use crate::value::search::Search;

registry!(SignUps, SignUpV2, "sign-up");

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

/// Finds out of many addresses those for which a sign-up waits.
#[derive(Clone, Debug)]
pub struct NamesWaiting {
    /// The keys of the addresses.
    pub names: Vec<NameKey>,
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

/// Reads a page of the sign-ups that wait for the proof of their address, in the order of their ids.
#[derive(Clone, Debug)]
pub struct ListWaiting {
    /// The last one of the page before; `None` for the first page.
    pub after: Option<AccountId>,
    /// How many at most.
    pub limit: usize,
    /// Text that the address or name must contain.
    pub q: Option<Search>,
    /// The global epoch. A sign-up of another one is invalid.
    pub global_epoch: u64,
}

/// Reads the sign-ups of an address that wait for its proof.
#[derive(Clone, Copy, Debug)]
pub struct WaitingOf {
    /// The key of the address.
    pub name: NameKey,
    /// The global epoch. A sign-up of another one is invalid.
    pub global_epoch: u64,
}

/// Reads a sign-up that waits for the proof of its address.
#[derive(Clone, Copy, Debug)]
pub struct WaitingById {
    /// The sign-up.
    pub id: AccountId,
    /// The global epoch. A sign-up of another one is invalid.
    pub global_epoch: u64,
}

handles!(SignUps {
    Begin => Option<SignUpV2>, Ordinary, |sign_ups, begin, now| sign_ups.begin(begin, now);
    Prove => Proof, Ordinary, |sign_ups, prove, now| sign_ups.prove(prove, now);
    Settle => (), Ordinary, |sign_ups, settle, _| sign_ups.settle(settle.id);
    Discard => (), Ordinary, |sign_ups, discard, _| sign_ups.discard(discard.id);
    Confirm => (), Ordinary, |sign_ups, confirm, now| sign_ups.confirm(confirm, now);
    EndSignUps => (), Essential, |sign_ups, end, _| sign_ups.end_all(end.name);
});

reads!(SignUps {
    NamesWaiting => Vec<NameKey>, |sign_ups, waiting, _| {
        let mut names = waiting.names;
        names.retain(|name| sign_ups.has_any(*name));
        names
    };
    ListWaiting => Vec<SignUpV2>, |sign_ups, list, now| {
        let is_wanted = |sign_up: &SignUpV2| list.q.as_ref().is_none_or(|q| {
            q.finds_address(&sign_up.email) || sign_up.name.as_deref().is_some_and(|name| q.finds_name(name))
        });
        sign_ups.list_waiting(list.after, list.limit, list.global_epoch, now, is_wanted)
    };
    WaitingOf => Vec<SignUpV2>, |sign_ups, of, now| {
        sign_ups.all_waiting(of.name, of.global_epoch, now).cloned().collect()
    };
    WaitingById => Option<SignUpV2>, |sign_ups, by_id, now| {
        sign_ups.waiting_by_id(by_id.id, by_id.global_epoch, now).cloned()
    };
    EndOf => Option<Timestamp>, |sign_ups, asked, now| sign_ups.end_of(asked.id, asked.global_epoch, now);
    FindWaiting => Option<SignUpV2>, |sign_ups, find, now| {
        sign_ups.waiting(find.name, find.half, find.global_epoch, now).cloned()
    };
});
