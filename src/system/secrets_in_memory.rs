//! Keeps the memory of the process, which holds keys and passwords, out of core dumps and away from debuggers.
//!
//! **The attack:** the attacker makes the process crash and reads its core file, or attaches a debugger as the same user.
//!
//! **The rule:** from its first line on, the program writes no core file (`RLIMIT_CORE` is 0) and is not dumpable
//! (`PR_SET_DUMPABLE` is 0), so that other processes of its user cannot trace it or read `/proc/<pid>/mem`. Only root
//! still can.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Refuses core dumps and debuggers for the rest of the life of this process.
///
/// Errors: the system does not allow it.
pub fn refuse_dumps() -> io::Result<()> {
    // Where the system refuses one of them, the other one still helps.
    let no_core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(no_core?)
}
