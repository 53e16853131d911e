//! Notices `fork`. A child has the parent's mappings, writable ones included: if it used them, two processes would
//! write the same bytes. A page that the kernel empties in a child tells the two apart for the price of one load.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// What the page says at first in the process that made it; later it says more. A child finds 0.
const HERE: u64 = 1;

/// Knows the process that made it from that process's children.
///
/// ```
/// let guard = onecopy_memory::fork::ForkGuard::new()?;
/// let remembered = guard.mark();
/// assert!(!guard.is_child() && guard.mark() == remembered);
/// // Something has changed that whoever remembers the mark has to look at.
/// guard.move_mark();
/// assert!(!guard.is_child() && guard.mark() != remembered);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct ForkGuard {
    page: NonNull<c_void>,
    page_bytes: usize,
}

// SAFETY: the page is only accessed as an atomic, and lives until the guard is dropped.
unsafe impl Send for ForkGuard {}
// SAFETY: as above.
unsafe impl Sync for ForkGuard {}

impl ForkGuard {
    /// A guard for this process.
    ///
    /// # Errors
    ///
    /// If the kernel refuses a page of memory.
    pub fn new() -> std::io::Result<Self> {
        let page_bytes = rustix::param::page_size();
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a null hint lets the kernel choose an unused range, so no existing memory is affected.
        let base = unsafe {
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), page_bytes, protection, MapFlags::PRIVATE)?
        };
        let guard = Self { page: NonNull::new(base).ok_or(rustix::io::Errno::NOMEM)?, page_bytes };
        // SAFETY: the range is the guard's own; the advice changes only what a child sees of it.
        unsafe { rustix::mm::madvise(base, page_bytes, Advice::LinuxWipeOnFork)? };
        guard.word().store(HERE, Ordering::Relaxed);
        Ok(guard)
    }

    /// Whether this process was forked off the one that made the guard.
    #[inline]
    pub fn is_child(&self) -> bool {
        self.word().load(Ordering::Relaxed) == 0
    }

    /// Makes [`Self::mark`] another one. What was written before is seen by whoever sees that.
    pub fn move_mark(&self) {
        if !self.is_child() {
            // Release pairs with the acquire in `mark`.
            self.word().fetch_add(1, Ordering::Release);
        }
    }

    /// A number that changes with [`Self::move_mark`], and is another one in a child: one look tells who
    /// remembers it that neither has happened.
    #[inline]
    pub fn mark(&self) -> u64 {
        self.word().load(Ordering::Acquire)
    }

    #[inline]
    fn word(&self) -> &AtomicU64 {
        // SAFETY: the page is mapped and zeroed at first, aligned, accessed as this atomic only, and unmapped only when
        // the guard is dropped.
        unsafe { self.page.cast::<AtomicU64>().as_ref() }
    }
}

impl Drop for ForkGuard {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and no reference to it outlives the guard.
        let result = unsafe { rustix::mm::munmap(self.page.as_ptr(), self.page_bytes) };
        debug_assert_eq!(result, Ok(()));
    }
}
