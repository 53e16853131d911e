//! A shared mapping of a descriptor: an address range that lives as long as somebody refers into it.

use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags};

/// A shared mapping, unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<c_void>,
    len: usize,
}

// SAFETY: the mapping is plain memory at a fixed address, unmapped only when the last owner drops it; who may write
// where in it is the business of those who make references into it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(crate) fn new(
        descriptor: BorrowedFd<'_>,
        len: usize,
        protection: ProtFlags,
    ) -> Result<Self, rustix::io::Errno> {
        // SAFETY: a null hint lets the kernel choose an unused range, so no existing memory is affected.
        let base = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, descriptor, 0)?
        };
        let base = NonNull::new(base).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { base, len })
    }

    /// Address of `len` bytes at `offset`, or `None` if they don't all lie inside.
    pub(crate) fn range(&self, offset: usize, len: usize) -> Option<NonNull<u8>> {
        let end = offset.checked_add(len)?;
        if end > self.len {
            return None;
        }
        // SAFETY: `offset` was just checked to lie inside the mapping (or one past its end, if `len` is 0).
        Some(unsafe { self.base.cast::<u8>().add(offset) })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new`, is owned by this value, and everything that refers into it holds a
        // reference count on it.
        let result = unsafe { rustix::mm::munmap(self.base.as_ptr(), self.len) };
        debug_assert_eq!(result, Ok(()));
    }
}
