//! Free memory, and how many hashing threads fit into it.
//!
//! Hashing threads allocate their memory at the first password and release it when idle. A start would therefore
//! succeed without enough memory, and the first storm would make the kernel kill the process, again after each restart.
//! So the free memory is read before the threads start.

use std::path::Path;

/// Hashing may use this fraction of the free memory. The rest is for accounts to come and for the page cache of the
/// journal.
const FRACTION: u64 = 2;
/// Where control groups are mounted (`cgroups(7)`).
const CGROUPS: &str = "/sys/fs/cgroup";

/// The memory files of a control group (version 2).
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Text of `memory.max`: the limit in bytes, or `max`.
    pub max: String,
    /// Text of `memory.current`: bytes in use.
    pub current: String,
    /// Text of `memory.stat`: use by kind.
    pub stat: String,
}

/// Returns the free memory of this machine, or of the container that this runs in, in KiB. Returns `None` if the system
/// does not say.
pub fn free_kib() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let own = read(Path::new("/proc/self/cgroup"));
    let path = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // The limits of all parent groups hold as well.
    let groups = Path::new(path).ancestors().map(|group| {
        let file = |name: &str| read(&Path::new(CGROUPS).join(group).join(name));
        Group { max: file("memory.max"), current: file("memory.current"), stat: file("memory.stat") }
    });
    free_of(&read(Path::new("/proc/meminfo")), groups)
}

/// Returns the minimum of the memory that the machine has available and the memory that each group has left. The page
/// cache counts as free, because the kernel reclaims it before it kills a process.
fn free_of(meminfo: &str, groups: impl Iterator<Item = Group>) -> Option<u64> {
    let available = number_after(meminfo, "MemAvailable:");
    let left = groups.filter_map(|group| {
        let max: u64 = group.max.trim().parse().ok()?;
        let current: u64 = group.current.trim().parse().ok()?;
        let cache = ["inactive_file", "active_file"].map(|name| number_after(&group.stat, name).unwrap_or(0));
        let used = current.saturating_sub(cache.iter().sum());
        Some(max.saturating_sub(used) / 1024)
    });
    available.into_iter().chain(left).min()
}

/// Returns the number in the line of `text` that begins with `word`.
fn number_after(text: &str, word: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    let mut line = lines.find_map(|mut words| (words.next() == Some(word)).then_some(words))?;
    line.next()?.parse().ok()
}

/// Says whether `threads` threads of `memory_kib` each fit into the free memory.
pub fn is_enough(free_kib: u64, threads: usize, memory_kib: u32) -> bool {
    threads as u64 * u64::from(memory_kib) <= free_kib / FRACTION
}

/// Returns how many of `wanted` threads of `memory_kib` each fit into the free memory, at least one.
pub fn threads_within(free_kib: u64, wanted: usize, memory_kib: u32) -> usize {
    let fit = free_kib / FRACTION / u64::from(memory_kib.max(1));
    wanted.min(usize::try_from(fit).unwrap_or(usize::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str =
        "MemTotal:       65536000 kB\nMemFree:         1000000 kB\nMemAvailable:   48000000 kB\n";

    fn group(max: &str, current: &str, stat: &str) -> Group {
        Group { max: max.to_owned(), current: current.to_owned(), stat: stat.to_owned() }
    }

    #[test]
    fn free_memory_is_the_minimum_of_machine_and_groups() {
        let gib = "1073741824\n";
        let stat = "anon 100\nfile 900\nactive_file 104857600\ninactive_file 419430400\n";
        for (groups, free) in [
            (vec![], Some(48_000_000)),
            // No limit, or no such files.
            (vec![group("max\n", "1234\n", ""), Group::default()], Some(48_000_000)),
            (vec![group(gib, "536870912\n", "")], Some(512 << 10)),
            // Of the half gibibyte in use 500 MiB are cache.
            (vec![group(gib, "536870912\n", stat)], Some((512 + 500) << 10)),
            // The limit of a parent group.
            (vec![group("max\n", "0\n", ""), group(gib, "0\n", "")], Some(1 << 20)),
            (vec![group(gib, "0\n", ""), group("1048576\n", "0\n", "")], Some(1 << 10)),
            // More than the machine has, or less than nothing.
            (vec![group("1099511627776\n", "0\n", "")], Some(48_000_000)),
            (vec![group(gib, "2147483648\n", "")], Some(0)),
        ] {
            assert_eq!(free_of(MEMINFO, groups.clone().into_iter()), free, "{groups:?}");
        }
        assert_eq!(free_of("", std::iter::empty()), None);
        assert_eq!(free_of("MemAvailable: much kB\n", std::iter::empty()), None);
        assert_eq!(free_of("", std::iter::once(group(gib, "0\n", ""))), Some(1 << 20));
    }

    #[test]
    fn threads_fit_into_half_of_the_free_memory_and_are_at_least_one() {
        for (free, wanted, memory, threads) in [
            (48_000_000, 64, 19_456, 64),
            // A container of 1 GiB on a machine of 64 cores.
            (1 << 20, 64, 19_456, 26),
            (48_000_000, 1024, 262_144, 91),
            (0, 4, 19_456, 1),
            (1 << 20, 2, 0, 2),
        ] {
            assert_eq!(threads_within(free, wanted, memory), threads, "{free} {wanted} {memory}");
            assert_eq!(is_enough(free, wanted, memory), threads == wanted, "{free} {wanted} {memory}");
        }
    }
}
