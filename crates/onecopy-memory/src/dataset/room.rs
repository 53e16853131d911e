//! Whether there is memory for a dataset. The kernel gives out shared memory until there is none left, and
//! then ends some process, any process; so it is asked first what is there.

use std::path::{Path, PathBuf};

/// How much is taken before looking again whether there is more.
pub(super) const PIECE_BYTES: u64 = 256 << 20;

/// What is left to everybody else, whatever is asked for: a machine without it does nothing but reclaim.
const RESERVE_BYTES: u64 = 64 << 20;

/// Whether so many bytes can be had, as far as can be known; somebody else may take them meanwhile.
pub(super) fn is_there_room(bytes: u64) -> bool {
    let wanted = bytes.saturating_add(if bytes < PIECE_BYTES { 0 } else { RESERVE_BYTES });
    available_bytes().is_none_or(|available| wanted <= available)
        && cgroup_limits().into_iter().all(|limit| wanted <= limit)
}

/// What the kernel believes that it can give out without hurting anybody, or can swap out.
fn available_bytes() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    Some(field(&meminfo, "MemAvailable:")?.saturating_add(field(&meminfo, "SwapFree:").unwrap_or(0)))
}

fn field(meminfo: &str, name: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The limits of the process's control group (version 2) and of those around it.
fn cgroup_limits() -> Vec<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(group) = groups.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let own: PathBuf = Path::new("/sys/fs/cgroup").join(group);
    let read =
        |directory: &Path| std::fs::read_to_string(directory.join("memory.max")).ok()?.trim().parse().ok();
    own.ancestors().take_while(|directory| directory.starts_with("/sys/fs/cgroup")).filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_understood() {
        let meminfo =
            "MemTotal:       24684248 kB\nMemAvailable:   23614484 kB\nSwapFree:  0 kB\nOdd: x kB\n";
        assert_eq!(field(meminfo, "MemAvailable:"), Some(23_614_484 * 1024));
        assert_eq!(field(meminfo, "SwapFree:"), Some(0));
        assert_eq!(field(meminfo, "Odd:"), None);
        assert_eq!(field(meminfo, "Absent:"), None);
    }

    #[test]
    fn there_is_room_for_a_little_and_not_for_everything() {
        assert!(is_there_room(4096));
        assert!(!is_there_room(u64::MAX) && !is_there_room(1 << 60));
        assert!(available_bytes().is_some_and(|bytes| bytes > 0));
    }
}
