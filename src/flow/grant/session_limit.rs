//! The most sessions and token families that one account has open. A further log-in ends the one unused longest.
//!
//! **The attack:** an account logs in over and over, which costs it nothing, until the memory is full of its sessions and
//! every list and every log-out everywhere takes seconds.

use crate::audit::event::Event;
use crate::engine::Engine;
use crate::flow::client::Client;
use crate::flow::refusal::FlowError;
use crate::journal::append::handle::Sealed;
use crate::registry::record::{ENDED_AT_ONCE, LastUse};
use crate::registry::{refresh, session};
use crate::system::seeded_bug::{Bug, seeded};
use crate::value::id::{AccountId, hex};

/// The most sessions and families that an account has open together.
pub const OPEN_MAX: usize = 100;

impl Engine {
    /// Makes room for the session or family `new`, if its account now has `open` and that is too many.
    pub(super) async fn make_room(
        &self,
        account: AccountId,
        new: [u8; 16],
        open: usize,
        client: &Client,
    ) -> Result<Sealed<()>, FlowError> {
        if open <= OPEN_MAX || seeded(Bug::SessionsWithoutNumber) {
            return Ok(Sealed::new((), 0));
        }
        // Boxed, like all that is seldom done: a log-in's future has no room for it.
        Box::pin(self.end_longest_unused(account, new, client)).await
    }

    async fn end_longest_unused(
        &self,
        account: AccountId,
        new: [u8; 16],
        client: &Client,
    ) -> Result<Sealed<()>, FlowError> {
        let families = self.refresh.ask_sealed(refresh::actor::LastUses { account }).await?;
        let sessions = self.sessions.ask_sealed(session::actor::LastUses { account }).await?;
        let ended = families.join(sessions).then(async |(families, sessions)| {
            let (families, sessions) = longest_unused(families, sessions, new);
            let mut ended = Sealed::new((), 0);
            for ids in families.chunks(ENDED_AT_ONCE) {
                let end = refresh::actor::EndThese { ids: ids.to_vec() };
                ended = ended.join(self.refresh.ask_sealed(end).await?).map(|_| ());
            }
            for ids in sessions.chunks(ENDED_AT_ONCE) {
                let end = session::actor::EndThese { ids: ids.to_vec() };
                ended = ended.join(self.sessions.ask_sealed(end).await?).map(|_| ());
            }
            for id in families.iter().chain(&sessions) {
                self.record(client.note(Event::SessionGaveWay).about(&hex(id)));
            }
            Ok::<_, FlowError>(ended)
        });
        Ok(ended.await?.map(|_| ()))
    }
}

/// Returns the families and the sessions that must end so that [`OPEN_MAX`] are left: those unused longest, never `new`.
fn longest_unused(
    families: &[LastUse],
    sessions: &[LastUse],
    new: [u8; 16],
) -> (Vec<[u8; 16]>, Vec<[u8; 16]>) {
    let families = families.iter().map(|last_use| (*last_use, true));
    let mut all: Vec<_> = families.chain(sessions.iter().map(|last_use| (*last_use, false))).collect();
    let excess = all.len().saturating_sub(OPEN_MAX);
    all.retain(|(last_use, _)| last_use.id != new);
    all.sort_unstable();
    let (families, sessions): (Vec<_>, Vec<_>) =
        all.into_iter().take(excess).partition(|(_, is_family)| *is_family);
    let id = |(last_use, _): (LastUse, bool)| last_use.id;
    (families.into_iter().map(id).collect(), sessions.into_iter().map(id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ones_unused_longest_give_way_and_never_the_new_one() {
        let last_use = |number: u8| LastUse { ms: number.into(), id: [number; 16] };
        let families: Vec<_> = (0..60).map(last_use).collect();
        let sessions: Vec<_> =
            (30..72).map(|number| LastUse { id: [number + 100; 16], ..last_use(number) }).collect();
        let (ended_families, ended_sessions) = longest_unused(&families, &sessions, [0; 16]);
        assert_eq!((ended_families, ended_sessions), (vec![[1; 16], [2; 16]], vec![]));
        let (ended_families, ended_sessions) = longest_unused(&families[58..], &sessions, [0; 16]);
        assert_eq!((ended_families, ended_sessions), (vec![], vec![]));
    }
}
