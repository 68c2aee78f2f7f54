//! Why a request cannot be served now, although nothing is wrong with it.

use crate::audit::log::Unwritable;
use crate::journal::append::handle::NoRoom;
use crate::password::Shed;
use crate::system::random::NoRandomness;

/// A promise that cannot be kept now. The client sees 503 and is asked to come back.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The journal has no room, or is stopping.
    #[error("cannot write to the journal: {0}")]
    NoRoom(#[from] NoRoom),
    /// The queue of the hash pool is full.
    #[error(transparent)]
    Shed(#[from] Shed),
    /// The operating system gave no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// An administrator asks for a change whose line in the log of security events could not be written. Nothing has
    /// changed.
    #[error("nothing was changed: {0}")]
    Unwritable(#[source] Unwritable),
    /// An administrator has made a change whose line is not on disk yet.
    #[error("the change was made, but it is not recorded yet: {0}")]
    Unrecorded(#[source] Unwritable),
    /// The client hung up before the work began. Nobody sees this answer.
    #[error("the client has hung up")]
    HungUp,
    /// An actor is gone: the engine is ending.
    #[error("the engine is ending")]
    Ending,
    /// A backup could not be taken.
    #[error("cannot take a backup: {0}")]
    Backup(#[source] std::io::Error),
    /// A hook gave no answer, and `hook.on_error` refuses then.
    #[error("a hook has failed")]
    Hook,
    /// An access token could not be signed.
    #[error("cannot sign an access token")]
    Sign(#[from] crate::token::KeyError),
}
