//! Fetching lines before they are needed. A line that another core has just written takes some 60 ns to come over, and
//! a reader that drains a ring would wait for each of them in turn: its loop is too long for the processor to look
//! several messages ahead (docs/decisions/prefetch.md has the numbers).

use crate::layout::LINE_BYTES;

/// Asks for the lines of `bytes` bytes from `base` on. Any address will do: a prefetch never faults.
#[inline]
pub(crate) fn prefetch(base: *const u8, bytes: usize) {
    for offset in (0..bytes).step_by(LINE_BYTES) {
        prefetch_line(base.wrapping_add(offset));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn prefetch_line(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint to the cache; it reads nothing that the program can see and ignores addresses that are not mapped.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

#[cfg(target_arch = "aarch64")]
#[inline]
fn prefetch_line(address: *const u8) {
    // SAFETY: a hint to the cache; it reads nothing that the program can see and ignores addresses that are not mapped.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, readonly, preserves_flags))
    };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline]
fn prefetch_line(_address: *const u8) {}
