//! The turn of an attempt among those at one name that are in flight. Given back when it is dropped, wherever the flow
//! ends.

use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::flow::refusal::Refusal;
use crate::registry::lockout::turns::{Arrival, Party};
use crate::value::account_name::NameKey;

/// A turn that an attempt has or waits for.
pub(in crate::flow) struct Turn<'a> {
    engine: &'a Engine,
    name: NameKey,
    party: Party,
    held: Held,
}

enum Held {
    /// The attempt is in flight.
    Turn,
    /// It is woken by this channel, which then holds the turn.
    Wait(oneshot::Receiver<()>),
    Nothing,
}

impl<'a> Turn<'a> {
    /// Waits for a turn.
    ///
    /// Errors: [`Refusal::TooManyAtOnce`] if too many attempts of the party wait already.
    pub(in crate::flow) async fn take(
        engine: &'a Engine,
        name: NameKey,
        party: Party,
    ) -> Result<Self, Refusal> {
        let (waker, woken) = oneshot::channel();
        let arrival =
            engine.turns.lock().arrive(name, party, || waker).map_err(|_| Refusal::TooManyAtOnce)?;
        let held = match arrival {
            Arrival::Goes => Held::Turn,
            Arrival::Waits => Held::Wait(woken),
        };
        let mut turn = Self { engine, name, party, held };
        turn.wait().await;
        Ok(turn)
    }

    /// Waits until another attempt at the name is settled, if one is in flight, and takes a turn again.
    pub(in crate::flow) async fn step_back(&mut self) {
        let (waker, woken) = oneshot::channel();
        if self.engine.turns.lock().step_back(self.name, self.party, || waker) {
            self.held = Held::Wait(woken);
            self.wait().await;
        }
    }

    /// Returns how many other attempts at the name are in flight, and how many of them are of the same device.
    pub(in crate::flow) fn others(&self) -> (usize, usize) {
        self.engine.turns.lock().others(self.name, self.party)
    }

    async fn wait(&mut self) {
        if let Held::Wait(woken) = &mut self.held {
            // The attempt in front wakes this one before it leaves, so the channel is never closed.
            let _ = woken.await;
            self.held = Held::Turn;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let has_turn = match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Turn => true,
            Held::Wait(mut woken) => {
                // It may have been woken after its client had gone.
                woken.close();
                woken.try_recv().is_ok()
            }
            Held::Nothing => false,
        };
        if has_turn {
            self.engine.turns.lock().leave(self.name, self.party, |waker| waker.send(()).is_ok());
        }
    }
}

/// Ends when the client of a request is gone. Held by work that goes on without it.
pub(in crate::flow) struct HangUp(Option<oneshot::Receiver<()>>);

impl HangUp {
    /// Returns what the request holds for as long as it waits, and what notices its end.
    pub(in crate::flow) fn watch() -> (oneshot::Sender<()>, Self) {
        let (waits, gone) = oneshot::channel();
        (waits, Self(Some(gone)))
    }

    /// Waits until the client is gone.
    pub(in crate::flow) async fn happens(&mut self) {
        if let Some(gone) = &mut self.0 {
            let _ = gone.await;
            self.0 = None;
        }
    }

    /// Says whether the client is known to be gone.
    pub(in crate::flow) fn has_happened(&mut self) -> bool {
        use oneshot::error::TryRecvError;
        self.0.as_mut().is_none_or(|gone| !matches!(gone.try_recv(), Err(TryRecvError::Empty)))
    }
}
