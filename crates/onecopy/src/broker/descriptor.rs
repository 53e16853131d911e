//! Memory that others have shown the broker, as a descriptor: passed on, told from other memory, and, where it is a
//! region's, asked for the version of its value. The broker reads nothing else of anybody's memory.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use onecopy_memory::region::RegionObserver;
use onecopy_memory::segment::SegmentError;
use rustix::fs::fstat;

/// A descriptor that the broker keeps for those who join later, or that waits to be sent.
pub type Descriptor = Arc<OwnedFd>;

/// Which file it is, among all of the machine.
pub(crate) fn identity(file: impl AsFd) -> Option<(u64, u64)> {
    fstat(file).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// Whether both are of the same memory.
pub(crate) fn is_same_file(one: &Descriptor, other: &Descriptor) -> bool {
    Arc::ptr_eq(one, other) || identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// The version of the value in a region's memory, and 0 if it is none; `None` if it can't be looked at just now.
pub(crate) fn version_of(memory: &Descriptor) -> Option<u64> {
    match RegionObserver::open(memory) {
        Ok(observer) => Some(observer.version()),
        Err(SegmentError::System { .. }) => None,
        Err(_) => Some(0),
    }
}
