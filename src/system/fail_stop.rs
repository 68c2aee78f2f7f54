//! The one way down: what cannot go on in order ends the process, and recovery is the only way up.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// Ends the process with a last line, or in tests only the engine. Clones end the same thing.
#[derive(Clone)]
pub struct FailStop {
    end: Arc<dyn Fn(&str) + Send + Sync>,
    #[cfg(debug_assertions)]
    planned: Option<Arc<str>>,
}

impl FailStop {
    /// With what is to be done; given the last line.
    pub fn new(end: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            end: Arc::new(end),
            #[cfg(debug_assertions)]
            planned: None,
        }
    }

    /// Whose next step is to panic: for tests of the real binary. A release has no such switch.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn planning(self, who: Option<String>) -> Self {
        Self { planned: who.map(Into::into), ..self }
    }

    /// Ends it.
    pub fn stop(&self, why: &str) {
        (self.end)(why);
    }

    /// Runs `act`; a panic in it ends the process before anything else of its owner is done.
    pub fn guard<T>(&self, who: &str, act: impl FnOnce() -> T) -> T {
        let act = || {
            #[cfg(debug_assertions)]
            assert!(self.planned.as_deref() != Some(who), "planned by a test");
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

impl fmt::Debug for FailStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FailStop(..)")
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
