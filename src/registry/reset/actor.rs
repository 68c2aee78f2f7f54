//! The mailbox around [`MailedTokens`].

use super::quotas::Wish;
use super::state::{Invalid, LinkUse, Minted};
pub use super::state::{Mint, Redeem, RememberUse};
use super::{MailedTokens, MailedV2, Purpose};
use crate::journal::append::handle::Class;
use crate::registry::{handles, reads, registry};
use crate::system::clock::Timestamp;
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

/// Ends the token by which the last change of an account's address could be undone.
#[derive(Clone, Copy, Debug)]
pub struct EndUndo {
    /// The account.
    pub account: AccountId,
}

/// Counts a mail without a token against the quotas, and says whether it may be sent.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// The mail.
    pub wish: Wish,
}

/// Finds the token of a mail that is about to leave: `None` if it is dead.
#[derive(Clone, Copy, Debug)]
pub struct FindLive {
    /// The token.
    pub id: MailedId,
}

/// Lets the life of a token begin anew, because its mail has waited.
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    /// The token.
    pub id: MailedId,
    /// The end of what it belongs to, if that has one.
    pub end_max: Option<Timestamp>,
}

/// Asks for the use of a token that was redeemed a short while ago.
#[derive(Clone, Copy, Debug)]
pub struct UsedLately {
    /// The token, as it would be redeemed.
    pub redeem: Redeem,
}

handles!(MailedTokens {
    Mint => Minted, by(|mint| mint.cause.class()), |mailed, mint, now| mailed.mint(&mint, now), after |mailed, mint, minted, now| {
        mailed.count_mint(mint, *minted, now);
    };
    HandOut => (), Ordinary, |mailed, hand_out, now| mailed.hand_out(&hand_out.mint, now);
    Charge => bool, Ordinary, |mailed, charge, now| {
        super::state::Decision::unchanged(mailed.admits(&charge.wish, now))
    }, after |mailed, charge, is_sent, now| mailed.count(&charge.wish, *is_sent, now);
    Redeem => Result<MailedV2, Invalid>, by(class_of), |mailed, redeem, now| mailed.redeem(redeem, now);
    RememberUse => (), Ordinary, |_mailed, _use, _now| super::state::Decision::unchanged(()),
        after |mailed, used, _done, now| mailed.remember_use(*used, now);
    Restart => (), Ordinary, |mailed, restart, now| mailed.restart(restart.id, restart.end_max, now);
    EndAll => (), Essential, |mailed, end_all, _| mailed.end_all(end_all.account), after |mailed, end_all, (), _now| {
        mailed.forget_uses(end_all.account);
    };
    EndUndo => (), Essential, |mailed, end_undo, _| mailed.end_undo(end_undo.account);
});

/// Returns the class of journal space for the use of a link. Others are used before the change that they allow, so without
/// room nothing has changed. One that undoes a change of address is used after it.
fn class_of(redeem: &Redeem) -> Class {
    if redeem.purpose == Purpose::EmailUndo { Class::Essential } else { Class::Ordinary }
}

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

/// Reads which mailed links of an account are good.
#[derive(Clone, Copy, Debug)]
pub struct LinksOf {
    /// The account.
    pub account: AccountId,
    /// Its epoch. A link of another one is dead, unless it undoes a change of address.
    pub auth_epoch: u64,
    /// The global epoch. A token of another one is invalid.
    pub global_epoch: u64,
}

reads!(MailedTokens {
    LinksOf => Vec<(Purpose, Timestamp)>, |mailed, of, now| {
        mailed.links_of(of.account, of.auth_epoch, of.global_epoch, now)
    };
    Live => bool, |mailed, live, now| mailed.has_live(live.account, live.purpose, live.global_epoch, now);
    FindLive => Option<MailedV2>, |mailed, find, now| mailed.find_live(find.id, now).cloned();
    UsedLately => Option<LinkUse>, |mailed, used, now| mailed.used_lately(used.redeem, now);
    Peek => Result<MailedV2, Invalid>, |mailed, peek, now| mailed.peek(peek.redeem, now).cloned();
});
