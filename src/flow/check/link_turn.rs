//! The turn of a request among those that use one mailed link: a page may post it twice at the same moment, and the second
//! request is told what the first has done.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use crate::engine::Engine;
use crate::value::id::MailedId;

/// A turn that a request has or waits for. Given back when it is dropped, wherever the flow ends.
pub(in crate::flow) struct LinkTurn<'a> {
    engine: &'a Engine,
    link: MailedId,
    held: Option<OwnedMutexGuard<()>>,
}

impl<'a> LinkTurn<'a> {
    /// Waits until no other request uses the link.
    pub(in crate::flow) async fn take(engine: &'a Engine, link: MailedId) -> Self {
        let mut turn = Self { engine, link, held: None };
        let lock = Arc::clone(engine.links.lock().entry(link).or_default());
        turn.held = Some(lock.lock_owned().await);
        turn
    }
}

impl Drop for LinkTurn<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut links = self.engine.links.lock();
        // Whoever waits has a share of it, too.
        if links.get(&self.link).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            links.remove(&self.link);
        }
    }
}
