//! File descriptors: how many the process has, and how many of them connections may use.
//!
//! **The attack:** the attacker opens connections and holds them until the process can open nothing more: no segment,
//! no snapshot, no audit file, and no way in for the operator.
//!
//! **The rule:** the process raises its limit to the maximum. Some descriptors are reserved for everything except
//! connections, and the number of connections is bounded by the rest. Further clients wait in the kernel's accept queue
//! until a connection ends.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors reserved for files, mails, alerts and operators. A server that takes a snapshot holds about 50.
const RESERVED: u64 = 256;
/// Descriptors reserved for each event loop.
const RESERVED_PER_WORKER: u64 = 8;
/// Maximum connections of an event loop, whatever the limit is. Each connection also takes memory.
const CONNECTIONS_PER_WORKER_MAX: u64 = 25_600;
/// Descriptors of a connection.
const PER_CONNECTION: u64 = 1;
/// Largest descriptor table that is allocated in advance: 1 MiB of kernel memory.
const PREALLOCATED_MAX: u64 = 1 << 17;
/// The lowest limit with which a server starts.
const LIMIT_MIN: u64 = 128;
/// A server that can accept fewer connections says so at its start.
const CONNECTIONS_FEW: usize = 1024;
/// Maximum connections of the operators' listener. They use reserved descriptors.
pub const OPERATORS_MAX: usize = 64;

/// Raises the soft limit of open files to the hard limit (`RLIMIT_NOFILE`) and returns the limit that then holds.
///
/// The limit belongs to the process, so only the program that owns the process calls this: the server, not an embedded
/// engine.
pub fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, ..limit };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "cannot raise the limit of open files to the hard limit");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Makes the kernel allocate a table for `wanted` descriptors at once, as far as `limit` allows.
///
/// Otherwise the kernel doubles the table each time it is full. In a process with several threads that takes about 10
/// ms each time, and every thread that opens or accepts something waits for it: several times at the start of a storm.
pub fn make_room(wanted: u64, limit: u64) {
    let last = wanted.min(limit).min(PREALLOCATED_MAX).saturating_sub(1);
    let Ok(last) = i32::try_from(last) else { return };
    // The duplicate is closed at once and the table stays. On failure the table grows later, as it would have.
    let _ = std::fs::File::open("/dev/null").map(|file| rustix::io::fcntl_dupfd_cloexec(file, last));
}

/// Says what is wrong with the limit if it is low, where `connections` fit into it.
///
/// Errors: it is so low that not even the files of the server can be open.
pub fn judge(limit: u64, connections: usize) -> std::io::Result<Option<String>> {
    const REMEDY: &str =
        "raise the hard limit: LimitNOFILE= of systemd, --ulimit nofile= of a container, or ulimit -Hn";
    if limit < LIMIT_MIN {
        let what = format!("the limit of open files is {limit}, and a server needs {LIMIT_MIN}: {REMEDY}");
        return Err(std::io::Error::other(what));
    }
    let is_low = connections < CONNECTIONS_FEW;
    Ok(is_low.then(|| {
        format!(
            "the limit of open files is {limit}, so only {connections} connections are accepted at once, and further \
             clients wait: {REMEDY}"
        )
    }))
}

/// Returns the number of descriptors that `workers` event loops with `connections` connections each need.
pub const fn of(connections: usize, workers: usize) -> u64 {
    RESERVED + (RESERVED_PER_WORKER + PER_CONNECTION * connections as u64) * workers as u64
}

/// Returns the number of connections that each of `workers` event loops may have under `limit`.
pub fn connections(limit: u64, workers: usize) -> usize {
    let workers = workers.max(1) as u64;
    let reserved = (RESERVED + RESERVED_PER_WORKER * workers).min(limit / 2);
    ((limit - reserved) / PER_CONNECTION / workers).clamp(1, CONNECTIONS_PER_WORKER_MAX) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_descriptor_table_is_allocated_at_once() {
        let size = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
            size.trim().parse::<u64>().unwrap()
        };
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let asked = 3 * size().max(512);
        make_room(asked, limit);
        let wanted = asked.min(limit).min(PREALLOCATED_MAX);
        assert!(size() >= wanted, "{} for {wanted}", size());
        make_room(0, 0);
        make_room(u64::MAX, 1);
    }

    #[test]
    fn a_low_limit_is_told_and_a_hopeless_one_refused() {
        assert!(judge(127, 63).is_err());
        let told = judge(1024, 752).unwrap().unwrap();
        assert!(told.contains("only 752 connections"), "{told}");
        assert_eq!(judge(4096, 3_800).unwrap(), None);
    }

    #[test]
    fn connections_leave_descriptors_for_files_under_any_limit() {
        for (limit, workers, each) in [
            (u64::MAX, 64, 25_600),
            (1_048_576, 2, 25_600),
            (1024, 1, 760),
            (1024, 2, 376),
            (1024, 64, 8),
            (300, 2, 75),
            (1, 1, 1),
            (0, 0, 1),
        ] {
            assert_eq!(connections(limit, workers), each, "{limit} {workers}");
        }
        for limit in 64..5000 {
            let all = connections(limit, 4) as u64 * 4 * PER_CONNECTION;
            assert!(limit - all >= limit.min(2 * RESERVED) / 2, "{limit}");
        }
    }
}
