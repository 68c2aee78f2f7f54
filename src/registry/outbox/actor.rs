//! The mailbox around the [`Outbox`].

use actix::{Context, Handler, Message, MessageResult};

use super::record::MailV1;
use super::state::{Outbox, Post, Tried};
use crate::journal::append::handle::Class;
use crate::registry::{Answer, Owner, handles, reads, registry};

registry!(Outbox, MailV1, "mail");

/// Tells how a try ended.
#[derive(Clone, Copy, Debug)]
pub struct Settle(pub [u8; 16], pub Tried);

/// Mails to be tried now.
#[derive(Clone, Copy, Debug)]
pub struct Due(pub usize);

/// Writes an entry that changes nothing, so that the next snapshot has an end of its own.
#[derive(Clone, Copy, Debug)]
pub struct Blank;

/// How many wait.
#[derive(Clone, Copy, Debug)]
pub struct Waiting;

handles!(Outbox {
    Post => (), Ordinary, |outbox, command, _| outbox.post(command);
    Blank => (), Essential, |_, _, _| Outbox::blank();
});

impl Message for Settle {
    type Result = Answer<()>;
}

/// That a mail is gone must be written down, or it is sent again. When to try again may be forgotten.
impl Handler<Settle> for Owner<Outbox> {
    type Result = MessageResult<Settle>;

    fn handle(&mut self, Settle(id, tried): Settle, _: &mut Context<Self>) -> Self::Result {
        let class = if tried == Tried::Failed { Class::Ordinary } else { Class::Essential };
        MessageResult(self.decide(class, |outbox, now| outbox.tried(id, tried, now)))
    }
}

reads!(Outbox {
    Due => Vec<MailV1>, |outbox, command, now| outbox.due(command.0, now);
    Waiting => usize, |outbox, _, _| outbox.len();
});
