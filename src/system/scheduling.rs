//! How the system shares cores among the threads of this process.
//!
//! - Hashing threads run below everything else ([`lower`]): in the idle class, which gives way at once and gets next to
//!   nothing beside another program that is busy, and where they starve there, at nice 19.
//! - On a machine of our own the owners and the journal's writer are of the batch class ([`gather`]): woken, they do not
//!   interrupt whoever runs, so that more has gathered for them by the time they do. What they answer with one wake-up is then
//!   more, and the syncs are fewer. Beside others they would wait for the others' slices.
//!
//! On Linux by `sched(7)`; elsewhere nothing is done.

use std::io;

/// Who else is busy on the cores.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Machine {
    /// Other programs may be.
    Shared,
    /// Nobody.
    Dedicated,
}

/// How far below everything else a thread has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Low {
    /// The idle class: whatever else wakes up runs at once.
    Idle,
    /// Nice 19: something is left to it beside other busy programs, and a woken thread may wait for some milliseconds.
    Nice,
}

/// Puts this thread below everything else, and says how far down it came. It cannot come up again.
pub fn background(wanted: Low) -> io::Result<Low> {
    if wanted == Low::Idle && set::idle().is_ok() {
        return Ok(Low::Idle);
    }
    set::nice(19).map(|()| Low::Nice)
}

/// On a machine of our own puts this thread among those which interrupt nobody when they are woken. Where that is refused it
/// stays as it is.
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
        // Setting the class sets a nice value as well. One below zero, which an operator gave, could not be given back.
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

    /// Scheduling class and nice value of this thread, as the system shows them: fields 41 and 19 of `proc_pid_stat(5)`.
    fn shown() -> (String, String) {
        let text = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields: Vec<_> = text.rsplit_once(") ").unwrap().1.split(' ').collect();
        (fields[41 - 3].to_owned(), fields[19 - 3].to_owned())
    }

    fn on_a_thread<T: Send>(act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(act).join().unwrap())
    }

    #[test]
    fn a_hashing_thread_comes_down_as_far_as_it_is_told() {
        let (idle, class) = on_a_thread(|| (background(Low::Idle).unwrap(), shown().0));
        assert_eq!(class == "5", idle == Low::Idle);
        assert_eq!(
            on_a_thread(|| (background(Low::Nice).unwrap(), shown())),
            (Low::Nice, ("0".into(), "19".into()))
        );
    }

    #[test]
    fn who_gathers_keeps_the_nice_value_it_had() {
        let shown = on_a_thread(|| {
            set::nice(7).unwrap();
            batch(Machine::Dedicated);
            shown()
        });
        assert!(["0", "3"].contains(&shown.0.as_str()));
        assert_eq!(shown.1, "7");
    }
}
