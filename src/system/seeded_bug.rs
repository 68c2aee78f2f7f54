//! Known mistakes, each behind a switch that exists only in tests: the simulator must find every one.
//!
//! In any other build [`seeded`] is constantly false and what stands behind it is not compiled in. The numbers are those
//! of the table in the page of the journal.

/// One known mistake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is explained in the table of the page")]
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

    /// Whether this thread makes the mistake.
    pub fn seeded(bug: Bug) -> bool {
        SEEDED.get() == Some(bug)
    }

    /// Does `act` with the mistake.
    pub fn with<T>(bug: Option<Bug>, act: impl FnOnce() -> T) -> T {
        SEEDED.set(bug);
        let done = act();
        SEEDED.set(None);
        done
    }
}

#[cfg(any(test, feature = "sim"))]
pub use switch::{seeded, with};

/// Whether this thread makes the mistake: never, outside tests.
#[cfg(not(any(test, feature = "sim")))]
#[inline]
pub const fn seeded(_: Bug) -> bool {
    false
}
