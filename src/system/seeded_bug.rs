//! Known mistakes that the simulator must find, each behind a switch that exists only in tests.
//!
//! In any other build [`seeded`] is always false and the mistakes are not compiled in. The page of the journal has a table
//! of its own, and the page of the simulator one of those that switch off a defence against people.

/// One known mistake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is explained in a table: the journal's page, the simulator's page")]
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
    DevicePushedOut,
    KnownLaneByNetwork,
    SessionsWithoutNumber,
    LiveLinkReplaced,
    HolderCharged,
    HangUpStaysCharged,
}

impl Bug {
    /// Mistakes that switch off a defence of the registries or the flows, which run on many threads.
    pub const OF_DEFENCES: [Self; 6] = [
        Self::DevicePushedOut,
        Self::KnownLaneByNetwork,
        Self::SessionsWithoutNumber,
        Self::LiveLinkReplaced,
        Self::HolderCharged,
        Self::HangUpStaysCharged,
    ];
}

#[cfg(any(test, feature = "sim"))]
mod switch {
    use std::cell::Cell;
    use std::sync::OnceLock;

    use super::Bug;

    /// The variable that names the mistake of a whole process.
    pub const VARIABLE: &str = "PORTCULLIS_SEEDED_BUG";

    thread_local! {
        static SEEDED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Says whether this thread makes the mistake, or the whole process.
    pub fn seeded(bug: Bug) -> bool {
        SEEDED.get() == Some(bug) || of_process() == Some(bug)
    }

    /// Returns the mistake that every thread of this process makes, if [`VARIABLE`] names one.
    fn of_process() -> Option<Bug> {
        static OF_PROCESS: OnceLock<Option<Bug>> = OnceLock::new();
        *OF_PROCESS.get_or_init(|| {
            let name = std::env::var(VARIABLE).ok()?;
            let bug = Bug::OF_DEFENCES.into_iter().find(|bug| format!("{bug:?}") == name);
            assert!(bug.is_some(), "{VARIABLE} names no mistake: {name}");
            bug
        })
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
pub use switch::{VARIABLE, seeded, with};

/// Returns false: outside tests no thread makes a mistake on purpose.
#[cfg(not(any(test, feature = "sim")))]
#[inline]
pub const fn seeded(_: Bug) -> bool {
    false
}
