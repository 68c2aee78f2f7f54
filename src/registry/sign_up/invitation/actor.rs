//! The mailbox around [`Invitations`].

pub use super::state::{Invite, Link, Refused};
use super::{InvitationV1, Invitations};
use crate::registry::{handles, reads, registry};
use crate::system::clock::Timestamp;
use crate::value::id::AccountId;

registry!(Invitations, InvitationV1, "invitation");

/// Uses the link of an invitation, which ends with it.
#[derive(Clone, Copy, Debug)]
pub struct Accept {
    /// The link.
    pub link: Link,
}

/// Ends an invitation.
#[derive(Clone, Copy, Debug)]
pub struct Withdraw {
    /// The invitation.
    pub id: AccountId,
    /// The global epoch. An invitation of another one is invalid.
    pub global_epoch: u64,
}

/// Reads the invitation of a link. It stays open.
#[derive(Clone, Copy, Debug)]
pub struct PeekInvitation {
    /// The link.
    pub link: Link,
}

/// Asks when an invitation ends: `None` if it is not open.
#[derive(Clone, Copy, Debug)]
pub struct EndOfInvitation {
    /// The invitation.
    pub id: AccountId,
    /// The global epoch. An invitation of another one is invalid.
    pub global_epoch: u64,
}

/// Reads a page of the open invitations, in the order of their ids.
#[derive(Clone, Copy, Debug)]
pub struct ListInvitations {
    /// The last one of the page before; `None` for the first page.
    pub after: Option<AccountId>,
    /// How many at most.
    pub limit: usize,
    /// The global epoch. An invitation of another one is invalid.
    pub global_epoch: u64,
}

handles!(Invitations {
    Invite => Result<InvitationV1, Refused>, Ordinary, |all, invite, now| all.invite(invite, now),
        after |all, invite, sent, now| {
            if sent.is_ok() {
                all.count_sent(invite.inviter, now);
            }
        };
    Accept => Option<InvitationV1>, Ordinary, |all, accept, now| {
        all.accept(accept.link, now)
    };
    Withdraw => Option<InvitationV1>, Essential, |all, withdraw, now| {
        all.withdraw(withdraw.id, withdraw.global_epoch, now)
    };
});

reads!(Invitations {
    PeekInvitation => Option<InvitationV1>, |all, peek, now| all.peek(peek.link, now).cloned();
    EndOfInvitation => Option<Timestamp>, |all, asked, now| {
        all.open(asked.id, asked.global_epoch, now).map(InvitationV1::end)
    };
    ListInvitations => Vec<InvitationV1>, |all, list, now| {
        all.list(list.after, list.limit, list.global_epoch, now)
    };
});
