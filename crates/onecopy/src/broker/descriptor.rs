//! Memory that others have shown the broker, as a descriptor: passed on, told from other memory, and, where it is a
//! region's, asked for the version of its value. The broker reads nothing else of anybody's memory.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use onecopy_memory::region::RegionObserver;
use rustix::fs::fstat;

/// A descriptor that the broker keeps for those who join later, or that waits to be sent.
pub type Descriptor = Arc<OwnedFd>;

/// Whether both are of the same memory.
pub(crate) fn is_same_file(one: &Descriptor, other: &Descriptor) -> bool {
    let identity = |file: &Descriptor| fstat(file).map(|stat| (stat.st_dev, stat.st_ino)).ok();
    Arc::ptr_eq(one, other) || identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// The version of the value in a region's memory, or 0 if nobody can look at it.
pub(crate) fn version_of(memory: &Descriptor) -> u64 {
    let observer = memory.try_clone().ok().and_then(|memory| RegionObserver::open(memory).ok());
    observer.map_or(0, |observer| observer.version())
}
