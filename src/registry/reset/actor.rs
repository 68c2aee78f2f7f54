//! The mailbox around [`MailedTokens`].

use actix::{Context, Handler, Message, MessageResult};

use super::state::{Invalid, Mint, Redeem};
use super::{MailedTokens, MailedV1, Purpose};
use crate::journal::append::handle::Class;
use crate::registry::{Answer, Owner, handles, reads, registry};
use crate::value::id::AccountId;

registry!(MailedTokens, MailedV1, "reset");

/// Looks at a token without redeeming it.
#[derive(Clone, Copy, Debug)]
pub struct Look(pub Redeem);

/// Ends all tokens of an account.
#[derive(Clone, Copy, Debug)]
pub struct EndAll(pub AccountId);

handles!(MailedTokens {
    Redeem => Result<MailedV1, Invalid>, Ordinary, |mailed, command, now| mailed.redeem(command, now);
    EndAll => (), Essential, |mailed, command, _| mailed.end_all(command.0);
});

/// Whether an account has a live token of a purpose.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    /// Whose.
    pub account: AccountId,
    /// What it is good for.
    pub purpose: Purpose,
    /// Of which global epoch: one of another is dead.
    pub global_epoch: u64,
}

reads!(MailedTokens {
    Live => bool, |mailed, live, now| mailed.has_live(live.account, live.purpose, live.global_epoch, now);
    Look => Result<MailedV1, Invalid>, |mailed, command, now| mailed.look(command.0, now).cloned();
});

impl Message for Mint {
    type Result = Answer<bool>;
}

impl Handler<Mint> for Owner<MailedTokens> {
    type Result = MessageResult<Mint>;

    fn handle(&mut self, mint: Mint, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.decide_and(
            Class::Ordinary,
            |mailed, now| mailed.mint(&mint, now),
            |mailed, sent, now| {
                if *sent {
                    mailed.count_mail(&mint, now);
                }
                if let Some(network) = mint.network {
                    mailed.count_asked(network, now);
                }
            },
        ))
    }
}
