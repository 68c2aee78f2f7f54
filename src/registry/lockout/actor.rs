//! The mailbox around [`Lockouts`].

use super::record::CountV1;
use super::state::{Attempt, AttemptOutcome, Locked, Lockouts, Settled};
pub use super::state::{Begin, Finish};
use crate::registry::{handles, registry};
use crate::value::account_name::NameKey;

registry!(Lockouts, CountV1, "lockout");

/// Lifts the lock of a name and clears its count.
#[derive(Clone, Copy, Debug)]
pub struct Clear {
    /// The name.
    pub name: NameKey,
}

handles!(Lockouts {
    Begin => Result<Attempt, Locked>, Lockout, |lockouts, begin, now| lockouts.begin(&begin, now);
    Finish => Settled, Essential, |lockouts, finish, now| lockouts.finish(finish, now),
        after |lockouts, finish, _, now| {
            if matches!(finish.outcome, AttemptOutcome::Failed { .. }) {
                lockouts.note_failure(&finish.attempt, now);
            }
        };
    Clear => (), Essential, |lockouts, clear, now| lockouts.clear(clear.name, now);
});
