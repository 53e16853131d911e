//! How soon a thread that others wait for has its turn on a machine where all processors are busy.
//!
//! Short time slices take no privilege: the scheduler lets a thread that asks for them have its turn sooner,
//! and have no more of the processor for it (EEVDF, Linux 6.12); so whoever waits for such a thread does not
//! wait for everybody else's slices to end. More of the processor is a matter of the nice value, which only
//! the privileged may lower.
//!
//! Two system calls that no crate of ours wraps.

use std::ffi::{c_long, c_uint};
use std::io;
use std::marker::PhantomData;
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

/// Asks for slices of this length, from 0.1 to 100 ms, for the calling thread, and those that it starts
/// later. A kernel that does not know them changes nothing, and neither does this where an administrator has
/// chosen a policy without slices.
///
/// ```
/// use onecopy_memory::scheduling::{Preference, shorten};
/// use std::time::Duration;
///
/// shorten(Duration::from_micros(100))?;
/// // They are shorter than these already, or the kernel knows none.
/// assert!(Preference::by_slice(Duration::from_micros(200)).is_none());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// When the kernel refuses, as a filter of system calls may have it.
pub fn shorten(slice: Duration) -> io::Result<()> {
    exchange(slice).map(drop)
}

/// The calling thread is preferred to others until this is dropped.
///
/// A thread that it starts meanwhile is preferred for good.
///
/// ```
/// use onecopy_memory::scheduling::Preference;
/// use std::time::Duration;
///
/// let prefer = || Preference::by_slice(Duration::from_micros(100));
/// let first = prefer();
/// assert!(prefer().is_none(), "the slices are as short already");
/// let is_supported = first.is_some();
/// drop(first);
/// assert_eq!(prefer().is_some(), is_supported);
/// ```
#[derive(Debug)]
#[must_use = "dropped at once, it changes nothing"]
pub struct Preference {
    before: Attributes,
    /// Of this thread and no other.
    _is_local: PhantomData<*const ()>,
}

impl Preference {
    /// As [`shorten`], for a thread that is somebody else's: for as long as it waits for something that takes
    /// others next to nothing. `None` where that changes nothing: the slices are as short already, the kernel
    /// does not know them, or may not.
    pub fn by_slice(slice: Duration) -> Option<Self> {
        exchange(slice).ok().flatten().map(Self::of)
    }

    /// More of the processor, for a piece of work that all wait for: the nice value, unless it is as low
    /// already. `None` where that changes nothing, or the process has no right to (`CAP_SYS_NICE`, or `ulimit
    /// -e` of 20 less the value).
    ///
    /// ```
    /// use onecopy_memory::scheduling::Preference;
    ///
    /// let prefer = || Preference::by_nice(-5);
    /// let first = prefer();
    /// // As low already, or not for this process to lower.
    /// assert!(prefer().is_none());
    /// let is_allowed = first.is_some();
    /// drop(first);
    /// assert_eq!(prefer().is_some(), is_allowed);
    /// ```
    pub fn by_nice(nice: i32) -> Option<Self> {
        let before = attributes().ok()?;
        if !has_slices(&before) || before.nice <= nice {
            return None;
        }
        set_attributes(&Attributes { nice, ..before }).ok()?;
        Some(Self::of(before))
    }

    fn of(before: Attributes) -> Self {
        Self { before, _is_local: PhantomData }
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // What the kernel has accepted once it accepts again; and if not, the thread has its turn sooner for longer.
        let _ = set_attributes(&self.before);
    }
}

fn has_slices(attributes: &Attributes) -> bool {
    matches!(attributes.policy, SCHED_NORMAL | SCHED_BATCH)
}

/// What the thread had before, if its slices were longer.
fn exchange(slice: Duration) -> io::Result<Option<Attributes>> {
    let before = attributes()?;
    let runtime_ns = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
    // An older kernel tells of no slices.
    if !has_slices(&before) || before.runtime_ns <= runtime_ns {
        return Ok(None);
    }
    set_attributes(&Attributes { runtime_ns, ..before })?;
    Ok(Some(before))
}

fn set_attributes(attributes: &Attributes) -> io::Result<()> {
    // SAFETY: number 0 is the calling thread; the kernel reads `size` bytes, which `attributes` has.
    check(unsafe { syscall(SCHED_SETATTR, 0_i32, std::ptr::from_ref(attributes), 0_u32) })
}

fn attributes() -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: number 0 is the calling thread; the kernel writes at most `SIZE` bytes, which `attributes` has
    // (asserted above).
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

    #[test]
    fn slices_are_short_for_as_long_as_is_asked() {
        let before = attributes().unwrap();
        let preference = Preference::by_slice(Duration::from_micros(100));
        let during = attributes().unwrap();
        assert_eq!(preference.is_some(), during.runtime_ns < before.runtime_ns);
        assert!(Preference::by_slice(Duration::from_micros(200)).is_none(), "they are shorter already");
        drop(preference);
        assert_eq!(attributes().unwrap().runtime_ns, before.runtime_ns);
    }

    #[test]
    fn the_nice_value_is_lower_for_as_long_as_is_asked() {
        let before = attributes().unwrap();
        let preference = Preference::by_nice(before.nice - 1);
        let during = attributes().unwrap();
        // Not everybody has the right to.
        assert_eq!(during.nice, before.nice - i32::from(preference.is_some()));
        assert!(Preference::by_nice(before.nice + 1).is_none(), "it is lower already");
        drop(preference);
        assert_eq!((attributes().unwrap().nice, attributes().unwrap().policy), (before.nice, before.policy));
    }
}
