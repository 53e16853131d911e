//! What a process has that could leak, counted from outside.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::LONG;

/// Pages that are touched only when something happens for the first time, as the bucket of a long call in a client's
/// latencies is. What leaks in a hundred rounds, a page each, is far more.
const FIRST_TIMES_BYTES: u64 = 4 * 4096;

/// What a process has.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) struct Possessions {
    /// How many it has of each kind, so that what is left says where to look.
    pub(crate) descriptors: BTreeMap<String, usize>,
    pub(crate) threads: usize,
    /// Of shared memory.
    pub(crate) mappings: usize,
    /// Memory behind the shared memory that it has open, or mapped where one may look at that, each counted once.
    pub(crate) shared_bytes: u64,
    /// Pages of shared memory that it has touched.
    pub(crate) touched_kib: u64,
}

impl Possessions {
    pub(crate) fn own() -> Self {
        Self::of(std::process::id())
    }

    pub(crate) fn of(pid: u32) -> Self {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let entries = |name| std::fs::read_dir(process.join(name)).unwrap().flatten();
        let maps = std::fs::read_to_string(process.join("smaps")).unwrap();
        let (mut is_ours, mut mappings, mut touched_kib) = (false, 0, 0);
        for line in maps.lines() {
            if line.split_whitespace().next().is_some_and(|range| range.contains('-')) {
                is_ours = is_shared_memory(line);
                mappings += usize::from(is_ours);
            } else if let (true, Some(kib)) = (is_ours, line.strip_prefix("Rss:")) {
                touched_kib += kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
            }
        }
        let (mut memory, mut descriptors) = (BTreeMap::new(), BTreeMap::new());
        for directory in ["fd", "map_files"] {
            for path in entries(directory).map(|entry| entry.path()) {
                let Ok(target) = std::fs::read_link(&path) else { continue };
                let target = target.to_string_lossy();
                if directory == "fd" {
                    *descriptors.entry(kind_of(&target)).or_default() += 1;
                }
                if let (true, Ok(metadata)) = (is_shared_memory(&target), std::fs::metadata(&path)) {
                    memory.insert((metadata.dev(), metadata.ino()), metadata.blocks() * 512);
                }
            }
        }
        Self {
            descriptors,
            threads: entries("task").count(),
            mappings,
            shared_bytes: memory.values().sum(),
            touched_kib,
        }
    }

    fn is_within(&self, before: &Self) -> bool {
        self.descriptors.values().sum::<usize>() <= before.descriptors.values().sum()
            && self.threads <= before.threads
            && self.mappings <= before.mappings
            && self.shared_bytes <= before.shared_bytes + FIRST_TIMES_BYTES
            && self.touched_kib <= before.touched_kib + FIRST_TIMES_BYTES / 1024
    }

    /// Waits until everything that is on its way has gone: until `look` finds no more than there was before. There may
    /// be less, as something may have been on its way out then.
    pub(crate) fn until_within(&self, what: &str, mut look: impl FnMut() -> Self) {
        let deadline = std::time::Instant::now() + LONG;
        loop {
            let now = look();
            if now.is_within(self) {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{what} has {now:?}, and had {self:?}");
            std::thread::yield_now();
        }
    }
}

/// What a descriptor leads to without the number that it has there, as in `socket:[1234]`.
fn kind_of(target: &str) -> String {
    target.chars().filter(|character| !character.is_ascii_digit()).collect()
}

fn is_shared_memory(shown: &str) -> bool {
    shown.contains("memfd:onecopy")
}
