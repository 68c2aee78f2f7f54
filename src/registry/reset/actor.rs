//! The mailbox around [`MailedTokens`].

use super::quotas::Wish;
use super::state::{Invalid, Minted};
pub use super::state::{Mint, Redeem};
use super::{MailedTokens, MailedV2, Purpose};
use crate::registry::{handles, reads, registry};
use crate::value::id::{AccountId, MailedId};

registry!(MailedTokens, MailedV2, "reset");

/// Reads a token without redeeming it.
#[derive(Clone, Copy, Debug)]
pub struct Peek {
    /// The token, as it would be redeemed.
    pub redeem: Redeem,
}

/// Mints a token that an answer hands out.
#[derive(Clone, Debug)]
pub struct HandOut {
    /// The token. Nothing is mailed.
    pub mint: Mint,
}

/// Ends all tokens of an account.
#[derive(Clone, Copy, Debug)]
pub struct EndAll {
    /// The account.
    pub account: AccountId,
}

/// Counts a mail without a token against the quotas, and says whether it may be sent.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// The mail.
    pub wish: Wish,
}

/// Reads the token of a mail that is about to leave: `None` if it is dead.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    /// The token.
    pub id: MailedId,
    /// Whether its life begins anew, because the mail has waited.
    pub restart: bool,
}

handles!(MailedTokens {
    Mint => Minted, Ordinary, |mailed, mint, now| mailed.mint(&mint, now), after |mailed, mint, minted, now| {
        mailed.count(&mint.wish(), *minted != Minted::NotSent, now);
    };
    HandOut => (), Ordinary, |mailed, hand_out, now| mailed.hand_out(&hand_out.mint, now);
    Charge => bool, Ordinary, |mailed, charge, now| {
        super::state::Decision::unchanged(mailed.admits(&charge.wish, now))
    }, after |mailed, charge, is_sent, now| mailed.count(&charge.wish, *is_sent, now);
    Redeem => Result<MailedV2, Invalid>, Ordinary, |mailed, redeem, now| mailed.redeem(redeem, now);
    Release => Option<MailedV2>, Ordinary, |mailed, release, now| mailed.release(release.id, release.restart, now);
    EndAll => (), Essential, |mailed, end_all, _| mailed.end_all(end_all.account);
});

/// Asks whether an account has a live token for a purpose.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    /// The account.
    pub account: AccountId,
    /// The purpose of the token.
    pub purpose: Purpose,
    /// The global epoch. A token of another one is invalid.
    pub global_epoch: u64,
}

reads!(MailedTokens {
    Live => bool, |mailed, live, now| mailed.has_live(live.account, live.purpose, live.global_epoch, now);
    Peek => Result<MailedV2, Invalid>, |mailed, peek, now| mailed.peek(peek.redeem, now).cloned();
});
