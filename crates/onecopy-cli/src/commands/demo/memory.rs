//! How much shared memory processes have mapped, as the kernel counts it.

use std::collections::BTreeSet;
use std::fs;

/// What the kernel calls our memory wherever it lists it.
pub(super) const MEMFD_NAME: &str = "/memfd:onecopy";

/// Shared memory of a group of processes.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedMemory {
    /// Real memory: every page counted once, however many processes have it mapped.
    pub(super) once_bytes: u64,
    /// The same pages counted for every process that has them mapped: what it would be if each had a copy.
    pub(super) each_bytes: u64,
    /// The kernel's numbers of the memory's files.
    pub(super) inodes: BTreeSet<u64>,
}

impl SharedMemory {
    /// Of these processes, right now. One that ends meanwhile does not count.
    pub(super) fn of(processes: &[u32]) -> Self {
        let mut memory = Self::default();
        for process in processes {
            if let Ok(smaps) = fs::read_to_string(format!("/proc/{process}/smaps")) {
                memory.add(&smaps);
            }
        }
        memory
    }

    fn add(&mut self, smaps: &str) {
        let mut is_ours = false;
        for line in smaps.lines() {
            if let Some((field, rest)) = line.split_once(": ").filter(|(field, _)| !field.contains(' ')) {
                let kibibytes = rest.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
                match (field, kibibytes) {
                    // The share of each page that falls to this process, summed over all processes, is the page.
                    ("Pss", Some(kibibytes)) if is_ours => self.once_bytes += kibibytes << 10,
                    ("Rss", Some(kibibytes)) if is_ours => self.each_bytes += kibibytes << 10,
                    _ => {}
                }
            } else {
                let inode = mapped_inode(line);
                is_ours = inode.is_some();
                self.inodes.extend(inode);
            }
        }
    }
}

/// The inode in a line of `/proc/PID/maps`, if it is of our memory.
pub(super) fn mapped_inode(line: &str) -> Option<u64> {
    // address permissions offset device inode path
    let mut fields = line.split_whitespace().skip(4);
    let inode = fields.next()?.parse().ok()?;
    fields.next()?.starts_with(MEMFD_NAME).then_some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_only_our_maps() {
        let smaps = "\
7f00-7f01 r--s 00000000 00:01 17                         /memfd:onecopy (deleted)
Size:                 32 kB
Rss:                  32 kB
Pss:                   8 kB
VmFlags: rd mr
7f02-7f03 rw-p 00000000 00:00 0                          [heap]
Rss:                 100 kB
Pss:                 100 kB
";
        let mut memory = SharedMemory::default();
        memory.add(smaps);
        assert_eq!((memory.once_bytes, memory.each_bytes), (8 << 10, 32 << 10));
        assert_eq!(memory.inodes, BTreeSet::from([17]));
    }
}
