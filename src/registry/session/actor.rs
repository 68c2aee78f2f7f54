//! The mailbox around [`Sessions`].

use actix::{Context, Handler, Message, MessageResult};

pub use super::state::{CarryOver, End, EndOthers, OpenSession, Touch};
use super::{SessionV1, Sessions};
use crate::journal::append::handle::{Class, NoRoom};
use crate::registry::{Answer, Owner, handles, reads, registry};
use crate::value::id::{AccountId, SessionId};

registry!(Sessions, SessionV1, "session", ends super::state::ended_by);

/// Reads a session, if it is alive.
#[derive(Clone, Copy, Debug)]
pub struct Alive {
    /// The session.
    pub id: SessionId,
}

/// Reads the sessions of an account that may be alive.
#[derive(Clone, Copy, Debug)]
pub struct OfAccount {
    /// The account.
    pub account: AccountId,
}

handles!(Sessions {
    OpenSession => SessionV1, Ordinary, |sessions, open, now| sessions.open(open, now);
    CarryOver => (), Essential, |sessions, carry_over, _| sessions.carry_over(carry_over);
    End => (), Essential, |sessions, end, _| sessions.end(end.id);
    EndOthers => bool, Essential, |sessions, end_others, now| sessions.end_others(end_others, now);
});

impl Message for Touch {
    type Result = Answer<Option<SessionV1>>;
}

/// Without journal space for the use, the session is valid all the same: the space that is kept back is for ending it.
impl Handler<Touch> for Owner<Sessions> {
    type Result = MessageResult<Touch>;

    fn handle(&mut self, touch: Touch, _: &mut Context<Self>) -> Self::Result {
        let touched = self.decide(Class::Ordinary, |sessions, now| sessions.touch(touch, now));
        MessageResult(match touched {
            Err(NoRoom::StorageFull | NoRoom::Busy) => {
                self.read(|sessions, now| sessions.touch(touch, now).verdict)
            }
            touched => touched,
        })
    }
}

reads!(Sessions {
    Alive, of |alive| alive.id.to_bytes() => Option<SessionV1>, |sessions, alive, now| {
        sessions.alive(alive.id, now).cloned()
    };
    OfAccount => Vec<SessionV1>, |sessions, of, now| sessions.of_account(of.account, now);
});
