//! Known mistakes that the simulator must find, each behind a switch that exists only in tests.
//!
//! In any other build [`seeded`] is always false and the mistakes are not compiled in. The journal's page has a table
//! of them.

/// One known mistake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is explained in the table of the journal's page")]
pub enum Bug {
    AnswerBeforeSync,
    RefusalNotSealed,
    ReadNotSealed,
    ApplyBeforeReserve,
    NoDirectorySync,
    RenameBeforeSync,
    StartReadLate,
    EndNotChecked,
    NamedBeforeEndIsDurable,
    BucketSkipped,
    RemovalNotReplayed,
    CarryLeftOut,
    UnprovenFrameCounted,
    StopAtFirstBadFrame,
    BodyNotChecked,
    ChainNotChecked,
    BatchCutInsideEntry,
    SyncTriedAgain,
    ShortWriteTaken,
    TwoFramesInFlight,
    FloorNotRaised,
    EvictionNotWritten,
    SnapshotNotReadBack,
    SwitchWithoutIdentity,
    ReserveOpenToAll,
    ReplayOneLate,
    OneSnapshotKept,
    SegmentsDroppedEarly,
    OlderSnapshotNotTried,
    IdentityInOneSlot,
    BornTakenForTorn,
    WaiterLetOutEarly,
    RoomFreedEarly,
}

#[cfg(any(test, feature = "sim"))]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static SEEDED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Says whether this thread makes the mistake.
    pub fn seeded(bug: Bug) -> bool {
        SEEDED.get() == Some(bug)
    }

    /// Runs `act` on this thread with the mistake.
    pub fn with<T>(bug: Option<Bug>, act: impl FnOnce() -> T) -> T {
        SEEDED.set(bug);
        let done = act();
        SEEDED.set(None);
        done
    }
}

#[cfg(any(test, feature = "sim"))]
pub use switch::{seeded, with};

/// Returns false: outside tests no thread makes a mistake on purpose.
#[cfg(not(any(test, feature = "sim")))]
#[inline]
pub const fn seeded(_: Bug) -> bool {
    false
}
