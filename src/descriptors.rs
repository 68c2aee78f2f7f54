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

/// Connections that each of `workers` event loops may have under a limit.
pub fn connections(limit: u64, workers: usize) -> usize {
    let workers = workers.max(1) as u64;
    let kept = (KEPT + KEPT_WORKER * workers).min(limit / 2);
    ((limit - kept) / EACH / workers).clamp(1, WORKER_MAX) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

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
