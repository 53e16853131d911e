//! Short time slices for threads that do little and are waited for. The scheduler lets a thread that asks for short slices have
//! its turn sooner, and have no more of the processor for it (EEVDF, Linux 6.12); so on a machine where all processors are
//! busy, whoever waits for such a thread does not wait for everybody else's slices to end. No privilege is needed.
//!
//! Two system calls that no crate of ours wraps.

use std::ffi::{c_long, c_uint};
use std::io;
use std::time::Duration;

/// `struct sched_attr` of the kernel, in its first version.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime_ns: u64,
    deadline_ns: u64,
    period_ns: u64,
}

const SIZE: c_uint = 48;
const _: () = assert!(size_of::<Attributes>() == SIZE as usize);

#[cfg(target_arch = "x86_64")]
const SCHED_SETATTR: c_long = 314;
#[cfg(target_arch = "x86_64")]
const SCHED_GETATTR: c_long = 315;
// The numbers that all architectures have which were added later.
#[cfg(not(target_arch = "x86_64"))]
const SCHED_SETATTR: c_long = 274;
#[cfg(not(target_arch = "x86_64"))]
const SCHED_GETATTR: c_long = 275;

/// The policies whose threads have slices: ordinary ones, and those that compute in the background.
const SCHED_NORMAL: u32 = 0;
const SCHED_BATCH: u32 = 3;

// SAFETY: this is the declaration of the C library's `syscall` for every target of this crate.
unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// Asks for slices of this length, from 0.1 to 100 ms, for the calling thread, and those that it starts later. A kernel that
/// does not know them changes nothing, and neither does this where an administrator has chosen a policy without slices.
///
/// # Errors
///
/// When the kernel refuses, as a filter of system calls may have it.
pub fn shorten(slice: Duration) -> io::Result<()> {
    let mut attributes = attributes()?;
    if matches!(attributes.policy, SCHED_NORMAL | SCHED_BATCH) {
        attributes.runtime_ns = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: number 0 is the calling thread; the kernel reads `size` bytes, which `attributes` has.
        check(unsafe { syscall(SCHED_SETATTR, 0_i32, std::ptr::from_ref(&attributes), 0_u32) })?;
    }
    Ok(())
}

fn attributes() -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: number 0 is the calling thread; the kernel writes at most `SIZE` bytes, which `attributes` has (asserted above).
    check(unsafe { syscall(SCHED_GETATTR, 0_i32, std::ptr::from_mut(&mut attributes), SIZE, 0_u32) })?;
    Ok(attributes)
}

fn check(result: c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_asks_has_shorter_slices() {
        let before = attributes().unwrap();
        let asks = || {
            shorten(Duration::from_micros(100)).unwrap();
            attributes().unwrap()
        };
        let after = std::thread::spawn(asks).join().unwrap();
        assert_eq!((after.policy, after.nice), (before.policy, before.nice));
        // An older kernel tells of no slices.
        assert!(after.runtime_ns <= before.runtime_ns, "{after:?} after {before:?}");
        assert_eq!(attributes().unwrap().runtime_ns, before.runtime_ns);
    }
}
