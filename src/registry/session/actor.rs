//! The mailbox around [`Sessions`].

use actix::{Context, Handler, Message, MessageResult};

use super::state::OpenedSession;
pub use super::state::{End, EndOthers, EndThese, OpenSession, PageOf, Replace, Touch};
use super::{SessionV2, Sessions};
use crate::journal::append::handle::{Class, NoRoom};
use crate::registry::record::LastUse;
use crate::registry::{Answer, Owner, handles, reads, registry};
use crate::value::id::{AccountId, SessionId};

registry!(Sessions, SessionV2, "session", revokes Sessions::revoked_by, tells Sessions::events_of);

/// Reads a session, if it is alive.
#[derive(Clone, Copy, Debug)]
pub struct Alive {
    /// The session.
    pub id: SessionId,
}

/// Counts the sessions that are open for an account.
#[derive(Clone, Copy, Debug)]
pub struct OpenCount {
    /// The account.
    pub account: AccountId,
}

/// Reads when each open session of an account was used last.
#[derive(Clone, Copy, Debug)]
pub struct LastUses {
    /// The account.
    pub account: AccountId,
}

handles!(Sessions {
    OpenSession => OpenedSession, by(class_of_open), |sessions, open, now| sessions.open(open, now);
    Replace => Option<SessionV2>, Essential, |sessions, replace, now| sessions.replace(replace, now);
    End => (), Essential, |sessions, end, _| sessions.end(end.id);
    EndThese => (), Essential, |sessions, these, _| sessions.end_these(&these);
    EndOthers => Option<[u8; 16]>, Essential, |sessions, end_others, now| sessions.end_others(end_others, now);
});

impl Message for Touch {
    type Result = Answer<Option<SessionV2>>;
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
    Alive, of |alive| alive.id.to_bytes() => Option<SessionV2>, |sessions, alive, now| {
        sessions.alive(alive.id, now).cloned()
    };
    PageOf => Vec<SessionV2>, |sessions, page, now| sessions.page(page, now);
    OpenCount => usize, |sessions, of, now| sessions.open_count(of.account, now);
    LastUses => Vec<LastUse>, |sessions, of, now| sessions.last_uses(of.account, now);
});

/// Returns the class of journal space for a new session. One that replaces another must be written: the password, the
/// address or the proof that it comes with is.
const fn class_of_open(open: &OpenSession) -> Class {
    if open.root.is_some() { Class::Essential } else { Class::Ordinary }
}
