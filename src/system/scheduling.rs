//! Scheduling policies of the threads of this process, by `sched(7)` on Linux. Elsewhere nothing is done.
//!
//! - Hashing threads run below all others ([`background`]): under `SCHED_IDLE`, which yields the core to any thread
//!   that wakes up but gets almost no time beside another busy program; where they starve there, at nice 19, and where they
//!   starve even there, like all others.
//! - On a dedicated machine the actors' thread and the journal's writer run under `SCHED_BATCH` ([`batch`]). When woken
//!   they do not preempt the running thread, so that more requests have arrived by the time they run: one wake-up
//!   answers more of them and there are fewer syncs. On a shared machine they would wait for the slices of other
//!   programs.

use std::io;

/// Whether other programs use the cores of this machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Machine {
    /// Other programs may use them.
    Shared,
    /// No other program uses them.
    Dedicated,
}

/// A scheduling policy for work that must not delay other threads.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum BackgroundPolicy {
    /// `SCHED_IDLE`: any other thread that wakes up runs at once.
    Idle,
    /// `SCHED_OTHER` at nice 19: it gets some time beside other busy programs, and a thread that wakes up may wait for
    /// some milliseconds.
    Nice,
    /// The policy of the thread that started it: it gets as much time as any other.
    Even,
}

/// Puts the current thread under `wanted`, or under [`BackgroundPolicy::Nice`] if the system refuses `SCHED_IDLE`, and
/// returns the policy it got. An unprivileged thread cannot go back.
///
/// Errors: the system refuses both.
pub fn background(wanted: BackgroundPolicy) -> io::Result<BackgroundPolicy> {
    if wanted == BackgroundPolicy::Even || wanted == BackgroundPolicy::Idle && set::idle().is_ok() {
        return Ok(wanted);
    }
    set::nice(19).map(|()| BackgroundPolicy::Nice)
}

/// Puts the current thread under `SCHED_BATCH` on a dedicated machine. If the system refuses, the thread stays as it
/// is.
pub fn batch(machine: Machine) {
    if machine == Machine::Dedicated {
        set::batch();
    }
}

#[cfg(target_os = "linux")]
mod set {
    use std::io;

    use thread_priority::unix::{
        NormalThreadSchedulePolicy as Policy, ThreadSchedulePolicy, set_thread_priority_and_policy,
        thread_native_id,
    };
    use thread_priority::{ThreadPriority, ThreadPriorityValue};

    fn set(priority: ThreadPriority, policy: Policy) -> Result<(), thread_priority::Error> {
        set_thread_priority_and_policy(thread_native_id(), priority, ThreadSchedulePolicy::Normal(policy))
    }

    pub(super) fn idle() -> Result<(), thread_priority::Error> {
        set(ThreadPriority::Min, Policy::Idle)
    }

    pub(super) fn nice(value: i32) -> io::Result<()> {
        Ok(rustix::process::setpriority_process(Some(rustix::thread::gettid()), value)?)
    }

    pub(super) fn batch() {
        let before = rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap_or(0);
        // Setting the policy also sets a nice value, which is restored below. A negative one, given by the operator,
        // could not be restored.
        if before < 0 {
            return;
        }
        let middle = ThreadPriorityValue::try_from(50).map(ThreadPriority::Crossplatform);
        if let Ok(middle) = middle {
            let _ = set(middle, Policy::Batch);
        }
        let _ = nice(before);
    }
}

#[cfg(not(target_os = "linux"))]
mod set {
    use std::io;

    pub(super) fn idle() -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn nice(_: i32) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn batch() {}
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    /// Returns the scheduling policy and nice value of this thread: fields 41 and 19 of `proc_pid_stat(5)`.
    fn policy_and_nice() -> (String, String) {
        let text = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields: Vec<_> = text.rsplit_once(") ").unwrap().1.split(' ').collect();
        (fields[41 - 3].to_owned(), fields[19 - 3].to_owned())
    }

    fn on_a_thread<T: Send>(act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(act).join().unwrap())
    }

    #[test]
    fn a_thread_gets_the_background_policy_that_it_asks_for() {
        let (got, policy) =
            on_a_thread(|| (background(BackgroundPolicy::Idle).unwrap(), policy_and_nice().0));
        assert_eq!(policy == "5", got == BackgroundPolicy::Idle);
        assert_eq!(
            on_a_thread(|| (background(BackgroundPolicy::Nice).unwrap(), policy_and_nice())),
            (BackgroundPolicy::Nice, ("0".into(), "19".into()))
        );
    }

    #[test]
    fn a_batch_thread_keeps_its_nice_value() {
        let (policy, nice) = on_a_thread(|| {
            set::nice(7).unwrap();
            batch(Machine::Dedicated);
            policy_and_nice()
        });
        assert!(["0", "3"].contains(&policy.as_str()));
        assert_eq!(nice, "7");
    }
}
