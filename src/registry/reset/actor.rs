//! The mailbox around [`MailedTokens`].

use super::state::Invalid;
pub use super::state::{Mint, Redeem};
use super::{MailedTokens, MailedV1, Purpose};
use crate::registry::{handles, reads, registry};
use crate::value::id::AccountId;

registry!(MailedTokens, MailedV1, "reset");

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

handles!(MailedTokens {
    Mint => bool, Ordinary, |mailed, mint, now| mailed.mint(&mint, now), after |mailed, mint, is_sent, now| {
        if *is_sent {
            mailed.count_mail(mint, now);
        }
        if let Some(network) = mint.network {
            mailed.count_asked(network, now);
        }
    };
    HandOut => (), Ordinary, |mailed, hand_out, now| mailed.hand_out(&hand_out.mint, now);
    Redeem => Result<MailedV1, Invalid>, Ordinary, |mailed, redeem, now| mailed.redeem(redeem, now);
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
    Peek => Result<MailedV1, Invalid>, |mailed, peek, now| mailed.peek(peek.redeem, now).cloned();
});
