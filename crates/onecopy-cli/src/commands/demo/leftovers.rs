//! What must not be there after the demo: a process, shared memory, a file.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::memory::{MEMFD_NAME, mapped_inode};
use super::plan::INSTANCE;

/// The machine before the demo.
#[derive(Debug)]
pub(super) struct Before {
    named_memory: BTreeSet<String>,
    shmem_kibibytes: u64,
}

/// What was found afterwards.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// Each is one thing too many.
    pub(super) found: Vec<String>,
    /// Shared memory of the whole machine, before and after; other programs change it, too.
    pub(super) shmem_kibibytes: (u64, u64),
}

impl Before {
    pub(super) fn look() -> Self {
        Self { named_memory: named_memory(), shmem_kibibytes: shmem_kibibytes() }
    }

    /// Looks again. `processes` and `inodes` are those that the demo had; `directory` is where its instance lived.
    pub(super) fn compare(&self, processes: &[u32], inodes: &BTreeSet<u64>, directory: &Path) -> Leftovers {
        let mut found = Vec::new();
        let alive = processes.iter().filter(|process| is_child(**process));
        found.extend(alive.map(|process| format!("process {process} is alive")));
        found.extend(memory_in_use(inodes));
        let new = named_memory().into_iter().filter(|name| !self.named_memory.contains(name));
        found.extend(new.filter(|name| name.contains("onecopy")).map(|name| format!("/dev/shm/{name}")));
        found.extend(files_in(directory));
        Leftovers { found, shmem_kibibytes: (self.shmem_kibibytes, shmem_kibibytes()) }
    }
}

/// Whether that process is there and ours: its number may have gone to another.
fn is_child(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent.and_then(|parent| parent.trim().parse().ok()) == Some(std::process::id())
}

/// Memory of the demo that some process has mapped or open: this one, or any other that we may look at.
fn memory_in_use(inodes: &BTreeSet<u64>) -> Vec<String> {
    let mut found = Vec::new();
    for process in names_in("/proc").into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
        if maps.lines().filter_map(mapped_inode).any(|inode| inodes.contains(&inode)) {
            found.push(format!("shared memory mapped by process {process}"));
        }
        if has_open(&process, inodes) {
            found.push(format!("shared memory held open by process {process}"));
        }
    }
    found
}

fn has_open(process: &str, inodes: &BTreeSet<u64>) -> bool {
    let directory = format!("/proc/{process}/fd");
    names_in(&directory).iter().map(|name| format!("{directory}/{name}")).any(|path| {
        fs::read_link(&path).is_ok_and(|target| target.to_string_lossy().starts_with(MEMFD_NAME))
            && fs::metadata(&path).is_ok_and(|metadata| inodes.contains(&metadata.ino()))
    })
}

/// An instance leaves its lock file, and nothing else.
fn files_in(directory: &Path) -> Vec<String> {
    let lock = format!("{INSTANCE}.lock");
    let names = names_in(directory).into_iter().filter(|name| *name != lock);
    names.map(|name| directory.join(name).display().to_string()).collect()
}

fn named_memory() -> BTreeSet<String> {
    names_in("/dev/shm").into_iter().collect()
}

fn names_in(directory: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn shmem_kibibytes() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("Shmem:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use onecopy::Node;

    #[test]
    fn finds_what_is_there() {
        let before = Before::look();
        let directory = tempfile::tempdir().unwrap();
        let node = Node::builder().directory(directory.path()).instance(INSTANCE).open().unwrap();
        let publisher = node.topic::<u64>("topic").unwrap().publisher().open().unwrap();
        let inodes = super::super::memory::SharedMemory::of(&[std::process::id()]).inodes;
        assert!(!inodes.is_empty());
        let found = before.compare(&[], &inodes, directory.path()).found;
        let is_found = |what: &str| found.iter().any(|item| item.contains(what));
        assert!(is_found("mapped by process") && is_found("held open") && is_found("demo.sock"), "{found:?}");
        drop((publisher, node));
        assert_eq!(before.compare(&[1], &inodes, directory.path()).found, Vec::<String>::new());
    }
}
