//! The mutex and condition variable of state that event loops share with each other, with the actors and with the
//! journal.
//!
//! They wrap the standard library's. `parking_lot` calls `sched_yield` before it sleeps, and from Linux 6.6 on that
//! gives the core to a hashing thread of the idle class until the next tick, up to 4 ms, while a request waits for a
//! lock that was free again after a microsecond. The standard library's locks spin and then sleep.
//!
//! Poisoning is ignored. A panic in an actor or in the journal ends the process, so no thread sees a half-done change;
//! and state shared by requests is consistent between any two steps that can panic.

use std::sync::{self, MutexGuard, PoisonError};
use std::time::Duration;

/// A [`std::sync::Mutex`] without poisoning.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a guard, or `None` if another thread holds the lock.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(sync::TryLockError::WouldBlock) => None,
        }
    }
}

/// A [`std::sync::Condvar`] without poisoning.
#[derive(Debug, Default)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(sync::Condvar::new())
    }

    /// Sleeps until a notification, or for `time`. May wake up without either.
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
    fn a_panic_under_the_lock_releases_it() {
        let lock = Mutex::new(1);
        let result = thread::scope(|scope| {
            scope
                .spawn(|| {
                    let mut held = lock.lock();
                    assert!(lock.try_lock().is_none());
                    *held = 2;
                    panic!("under the lock");
                })
                .join()
        });
        assert!(result.is_err());
        assert_eq!(*lock.lock(), 2);
        assert_eq!(lock.try_lock().map(|value| *value), Some(2));
        let notified = Condvar::new();
        assert_eq!(*notified.wait_for(lock.lock(), Duration::ZERO), 2);
    }
}
