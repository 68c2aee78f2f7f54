//! The mailbox around [`Lockouts`].

use actix::{Context, Handler, Message, MessageResult};

use super::record::CountV1;
use super::state::{Attempt, Begin, Finish, Locked, Lockouts, Outcome, Settled};
use crate::journal::append::handle::Class;
use crate::registry::{Answer, Owner, handles, registry};
use crate::value::account_name::NameKey;

registry!(Lockouts, CountV1, "lockout");

/// Lifts the lock of a name.
#[derive(Clone, Copy, Debug)]
pub struct Clear(pub NameKey);

handles!(Lockouts {
    Begin => Result<Attempt, Locked>, Lockout, |names, command, now| names.begin(&command, now);
    Clear => (), Essential, |names, command, now| names.clear(command.0, now);
});

impl Message for Finish {
    type Result = Answer<Settled>;
}

impl Handler<Finish> for Owner<Lockouts> {
    type Result = MessageResult<Finish>;

    fn handle(&mut self, finish: Finish, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.decide_and(
            Class::Essential,
            |names, now| names.finish(finish, now),
            |names, _, now| {
                if matches!(finish.1, Outcome::Failed { .. }) {
                    names.note_failure(&finish.0, now);
                }
            },
        ))
    }
}
