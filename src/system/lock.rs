//! The lock of what event loops share with each other, with the owners and with the journal.
//!
//! Locks of `parking_lot` ask the system to run somebody else (`sched_yield`) before they sleep. Linux 6.6 and later takes
//! that at its word: a hashing thread of the idle class then has the core until the next tick, up to 4 ms, while a request
//! waits for a lock that was free again after a microsecond. Those of the standard library spin, then sleep.
//!
//! A panic in the hands of a lock's owner is not for others to find: what owners and the journal may have left half done ends
//! the process, and what requests share is whole between any two steps that can panic.

use std::sync::{self, MutexGuard, PoisonError};
use std::time::Duration;

/// As [`std::sync::Mutex`], without poison.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it holds, unless somebody has it now.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(sync::TryLockError::WouldBlock) => None,
        }
    }
}

/// As [`std::sync::Condvar`], without poison.
#[derive(Debug, Default)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(sync::Condvar::new())
    }

    /// Sleeps until it is called, or so long. May wake up for nothing.
    pub(crate) fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, time: Duration) -> MutexGuard<'a, T> {
        self.0.wait_timeout(guard, time).unwrap_or_else(PoisonError::into_inner).0
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_panic_with_the_lock_in_hand_leaves_it_to_others() {
        let lock = Mutex::new(1);
        let result = thread::scope(|scope| {
            scope
                .spawn(|| {
                    let mut held = lock.lock();
                    assert!(lock.try_lock().is_none());
                    *held = 2;
                    panic!("with the lock in hand");
                })
                .join()
        });
        assert!(result.is_err());
        assert_eq!(*lock.lock(), 2);
        assert_eq!(lock.try_lock().map(|value| *value), Some(2));
        let called = Condvar::new();
        assert_eq!(*called.wait_for(lock.lock(), Duration::ZERO), 2);
    }
}
