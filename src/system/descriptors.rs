//! File descriptors: every connection takes two, and so does every file of the journal.
//!
//! **The attack:** connections are opened and held, until the process may open nothing more: no segment, no snapshot, no
//! file of events, and no way in for the operator.
//!
//! **The rule:** the process asks for as many as it may have; some are kept for everything but connections, and no more
//! connections are taken than the others allow. Who comes then waits in the system's queue until one ends.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for files, mails, alerts and operators: a server in the middle of a snapshot holds some 50.
const KEPT: u64 = 256;
/// And so many for each event loop.
const KEPT_WORKER: u64 = 8;
/// Connections of an event loop at most, however many descriptors there are: each also takes memory.
const WORKER_MAX: u64 = 25_600;
/// A connection takes its own and that by which it is shut when nothing is asked on it.
const EACH: u64 = 2;
/// Room is made for so many at most: a MiB of the system's memory.
const ROOM_MAX: u64 = 1 << 17;
/// Connections of operators' listener at most; out of those that are kept.
pub const OPERATORS_MAX: usize = 64;

/// Raises the limit of this process as far as the system lets it, and says what it is then. It is a number of the process,
/// so this is for whoever owns that: the server, not an embedded engine.
pub fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, ..limit };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Has the system make room for so many descriptors at once, as far as the limit goes. It would double its table whenever
/// that is full, and a process with several threads waits some 10 ms for it each time, everybody who opens or accepts
/// anything with it: in the first moments of a storm, again and again.
pub fn make_room(wanted: u64, limit: u64) {
    let last = wanted.min(limit).min(ROOM_MAX).saturating_sub(1);
    let Ok(last) = i32::try_from(last) else { return };
    // Closed at once; the table stays. Where it fails the table grows as it would have.
    let _ = std::fs::File::open("/dev/null").map(|file| rustix::io::fcntl_dupfd_cloexec(file, last));
}

/// Descriptors of so many connections.
pub const fn of(connections: usize, workers: usize) -> u64 {
    KEPT + (KEPT_WORKER + EACH * connections as u64) * workers as u64
}

/// Connections that each of `workers` event loops may have under a limit.
pub fn connections(limit: u64, workers: usize) -> usize {
    let workers = workers.max(1) as u64;
    let kept = (KEPT + KEPT_WORKER * workers).min(limit / 2);
    ((limit - kept) / EACH / workers).clamp(1, WORKER_MAX) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn room_is_made_at_once() {
        let size = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
            size.trim().parse::<u64>().unwrap()
        };
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let asked = 3 * size().max(512);
        make_room(asked, limit);
        let wanted = asked.min(limit).min(ROOM_MAX);
        assert!(size() >= wanted, "{} for {wanted}", size());
        make_room(0, 0);
        make_room(u64::MAX, 1);
    }

    #[test]
    fn connections_leave_descriptors_for_files_under_any_limit() {
        for (limit, workers, each) in [
            (u64::MAX, 64, 25_600),
            (1_048_576, 2, 25_600),
            (1024, 1, 380),
            (1024, 2, 188),
            (1024, 64, 4),
            (300, 2, 37),
            (1, 1, 1),
            (0, 0, 1),
        ] {
            assert_eq!(connections(limit, workers), each, "{limit} {workers}");
        }
        for limit in 64..5000 {
            let all = connections(limit, 4) as u64 * 4 * EACH;
            assert!(limit - all >= limit.min(2 * KEPT) / 2, "{limit}");
        }
    }
}
