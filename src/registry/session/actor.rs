//! The mailbox around [`Sessions`].

use actix::{Context, Handler, Message, MessageResult};

use super::{Opened, SessionV1, Sessions};
use crate::journal::append::handle::{Class, NoRoom};
use crate::registry::{Answer, Owner, handles, reads, registry};
use crate::token::opaque::SecretDigest;
use crate::value::id::{AccountId, SessionId};

registry!(Sessions, SessionV1, "session", ends super::state::ended_by);

/// The session of a cookie, if it is alive.
#[derive(Clone, Copy, Debug)]
pub struct Touch(pub SessionId, pub SecretDigest);

/// Lets a session go on under another epoch than it had.
#[derive(Clone, Copy, Debug)]
pub struct CarryOver(pub SessionId, pub u64, pub u64);

/// Ends a session.
#[derive(Clone, Copy, Debug)]
pub struct End(pub SessionId);

/// Ends the sessions of an account but one: so many of them that they fit into one entry. Says whether there are more.
#[derive(Clone, Copy, Debug)]
pub struct EndOthers(pub AccountId, pub Option<[u8; 16]>);

/// The session of that id, if it is alive.
#[derive(Clone, Copy, Debug)]
pub struct Alive(pub SessionId);

/// The sessions of an account that may be alive.
#[derive(Clone, Copy, Debug)]
pub struct OfAccount(pub AccountId);

handles!(Sessions {
    Opened => SessionV1, Ordinary, |sessions, command, now| sessions.open(command, now);
    CarryOver => (), Essential, |sessions, command, _| sessions.carry_over(command.0, command.1, command.2);
    End => (), Essential, |sessions, command, _| sessions.end(command.0);
    EndOthers => bool, Essential, |sessions, command, now| sessions.end_others(command.0, command.1, now);
});

impl Message for Touch {
    type Result = Answer<Option<SessionV1>>;
}

/// Where there is no room to write the use down, the session is alive all the same: what is kept back is for ending it.
impl Handler<Touch> for Owner<Sessions> {
    type Result = MessageResult<Touch>;

    fn handle(&mut self, Touch(id, digest): Touch, _: &mut Context<Self>) -> Self::Result {
        let touched = self.decide(Class::Ordinary, |sessions, now| sessions.touch(id, digest, now));
        MessageResult(match touched {
            Err(NoRoom::StorageFull | NoRoom::Busy) => {
                self.read(|sessions, now| sessions.touch(id, digest, now).verdict)
            }
            touched => touched,
        })
    }
}

reads!(Sessions {
    Alive, of |alive| alive.0.to_bytes() => Option<SessionV1>, |sessions, command, now| sessions.alive(command.0, now).cloned();
    OfAccount => Vec<SessionV1>, |sessions, command, now| sessions.of_account(command.0, now);
});
