//! A shared mapping of a descriptor: an address range that lives as long as somebody refers into it.

use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// Size of a huge page on the machines we run on. Where it is another, memory is aligned for nothing, and as good.
pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;

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

    /// The same at an address where huge pages can be mapped, if there is room for one.
    ///
    /// A `private` one is of the same pages as long as nobody writes through it, and nobody can through one that is for
    /// reading only. Kernels before 6.7 refuse others of memory that is sealed against writing.
    pub(crate) fn huge(
        descriptor: BorrowedFd<'_>,
        len: usize,
        protection: ProtFlags,
        private: bool,
    ) -> Result<Self, rustix::io::Errno> {
        let flags = if private { MapFlags::PRIVATE } else { MapFlags::SHARED };
        if len < HUGE_PAGE_BYTES {
            // SAFETY: a null hint lets the kernel choose an unused range, so no existing memory is affected.
            let base =
                unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, flags, descriptor, 0)? };
            let base = NonNull::new(base).ok_or(rustix::io::Errno::NOMEM)?;
            return Ok(Self { base, len });
        }
        let page_bytes = rustix::param::page_size();
        let whole = len.checked_next_multiple_of(page_bytes).ok_or(rustix::io::Errno::NOMEM)?;
        let room = Self::reserve(whole.checked_add(HUGE_PAGE_BYTES).ok_or(rustix::io::Errno::NOMEM)?)?;
        let before = room.base.as_ptr().align_offset(HUGE_PAGE_BYTES);
        let aligned = room.base.as_ptr().wrapping_byte_add(before);
        // SAFETY: the fixed range lies inside the room that was just reserved, which nobody else knows of.
        unsafe { rustix::mm::mmap(aligned, len, protection, flags | MapFlags::FIXED, descriptor, 0)? };
        let base = NonNull::new(aligned).ok_or(rustix::io::Errno::NOMEM)?;
        let (room_base, after) = (room.base.as_ptr(), HUGE_PAGE_BYTES - before);
        std::mem::forget(room);
        for (start, bytes) in [(room_base, before), (aligned.wrapping_byte_add(whole), after)] {
            if bytes > 0 {
                // SAFETY: the rest of that room, in whole pages; nothing was ever put there.
                let result = unsafe { rustix::mm::munmap(start, bytes) };
                debug_assert_eq!(result, Ok(()));
            }
        }
        Ok(Self { base, len })
    }

    /// Address space without anything in it.
    fn reserve(len: usize) -> Result<Self, rustix::io::Errno> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a null hint lets the kernel choose an unused range, so no existing memory is affected.
        let base =
            unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::empty(), flags)? };
        let base = NonNull::new(base).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { base, len })
    }

    /// Tells the kernel how the mapping is used.
    pub(crate) fn advise(&self, advice: Advice) -> Result<(), rustix::io::Errno> {
        debug_assert_eq!(advice, Advice::LinuxDontFork, "others may change what the memory holds");
        // SAFETY: the range is this mapping's own. A child that does not inherit it has nothing there that it
        // could refer to: references into the mapping are its owner's, and no thread of the owner runs in the
        // child's memory.
        unsafe { rustix::mm::madvise(self.base.as_ptr(), self.len, advice) }
    }

    /// Keeps the pages in memory for as long as the mapping lives.
    pub(crate) fn lock(&self) -> Result<(), rustix::io::Errno> {
        // SAFETY: the range is this mapping's own, and locking changes nothing of what it holds.
        unsafe { rustix::mm::mlock(self.base.as_ptr(), self.len) }
    }

    /// Has the kernel put huge pages behind the mapping, with what is in its pages now.
    pub(crate) fn collapse(&self) -> Result<(), rustix::io::Errno> {
        let whole = self.len - self.len % HUGE_PAGE_BYTES;
        crate::collapse::collapse(self.base, whole)
    }

    /// Address of `len` bytes at `offset`, or `None` if they don't all lie inside.
    #[inline]
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
