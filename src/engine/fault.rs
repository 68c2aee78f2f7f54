//! Promises that cannot be kept now.

use crate::journal::append::handle::NoRoom;
use crate::password::Shed;
use crate::system::random::NoRandomness;

/// A promise that cannot be kept now. The client is told to come back.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The journal takes nothing.
    #[error("nothing can be written down: {0}")]
    NoRoom(#[from] NoRoom),
    /// Too many passwords wait.
    #[error(transparent)]
    Shed(#[from] Shed),
    /// No randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// Whoever asked hung up: nobody hears of it.
    #[error("nobody waits for it any more")]
    HungUp,
    /// An actor is gone: the engine is ending.
    #[error("the engine is ending")]
    Ending,
    /// A copy could not be taken.
    #[error("no backup: {0}")]
    Backup(#[source] std::io::Error),
    /// A token could not be signed.
    #[error("cannot sign")]
    Sign(#[from] crate::token::KeyError),
}
