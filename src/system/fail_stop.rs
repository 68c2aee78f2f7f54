//! The one way down: a fault ends what it happened in, and recovery is the only way up.
//!
//! There is one [`FailStop`] for each engine and one for the process. With a single engine nothing could go on after it, so
//! its fail-stop ends the process.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends an engine or the process. Clones end the same thing.
#[derive(Clone)]
pub struct FailStop {
    end: Arc<dyn Fn(&str) + Send + Sync>,
    has_ended: Arc<AtomicBool>,
    #[cfg(debug_assertions)]
    planned: Arc<super::lock::Mutex<Option<String>>>,
}

impl FailStop {
    /// Calls `end` once, with the reason, when something fails that must not go on.
    pub fn new(end: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            end: Arc::new(end),
            has_ended: Arc::default(),
            #[cfg(debug_assertions)]
            planned: Arc::default(),
        }
    }

    /// Makes the next step of `who` panic: for tests. A release has no such switch.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn planning(self, who: Option<String>) -> Self {
        *self.planned.lock() = who;
        self
    }

    /// Ends it, for the reason `why`. Later calls do nothing.
    pub fn stop(&self, why: &str) {
        if !self.has_ended.swap(true, Ordering::SeqCst) {
            (self.end)(why);
        }
    }

    /// Returns whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// Runs `act` for `who`. A panic in it ends the engine before `who` does anything else.
    ///
    /// Once the engine has ended, `act` does not run: the caller unwinds, so that no actor of the engine decides anything
    /// after one of them has failed.
    pub fn guard<T>(&self, who: &str, act: impl FnOnce() -> T) -> T {
        if self.has_ended() {
            resume_unwind(Box::new(Ended));
        }
        let act = || {
            #[cfg(debug_assertions)]
            assert!(self.planned.lock().as_deref() != Some(who), "planned by a test");
            act()
        };
        match catch_unwind(AssertUnwindSafe(act)) {
            Ok(value) => value,
            Err(panic) => {
                self.stop(&format!("{who} panicked: {}", message(&*panic)));
                resume_unwind(panic)
            }
        }
    }
}

/// The payload with which an actor of an ended engine unwinds.
struct Ended;

impl fmt::Debug for FailStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FailStop(..)")
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn a_panic_ends_it_once_and_nothing_runs_afterwards() {
        let ends = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&ends);
        let fail_stop = FailStop::new(move |why| {
            assert_eq!(why, "the first panicked: broken");
            counted.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(fail_stop.guard("the first", || 7), 7);
        let panicked = catch_unwind(AssertUnwindSafe(|| fail_stop.guard("the first", || panic!("broken"))));
        assert!(panicked.is_err());
        assert!(fail_stop.has_ended());
        let clone = fail_stop.clone();
        let refused =
            catch_unwind(AssertUnwindSafe(|| clone.guard("the second", || unreachable!("it has ended"))));
        assert!(refused.is_err_and(|payload| payload.is::<Ended>()));
        fail_stop.stop("again");
        assert_eq!(ends.load(Ordering::SeqCst), 1);
    }
}
