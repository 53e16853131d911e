//! What the running kernel offers beyond Linux 5.10, found out once per process, and what is used where it does not.
//!
//! | feature | since | fall-back |
//! |---|---|---|
//! | `futex_waitv` | 5.16 | a doorbell (socket pair) per ring, and `poll` |
//! | `membarrier(GLOBAL_EXPEDITED)` | 4.16, may be filtered in containers | a full fence on both sides |
//! | memfd no-exec seal | 6.3 | a memfd without it |
//! | `MADV_COLLAPSE` | 6.1 | ordinary pages behind a dataset, and a note that says so |
//!
//! `ONECOPY_DISABLE=futex_waitv,membarrier,noexec_seal,collapse` turns features off: for trying the fall-backs on a new
//! kernel, and for living with a broken one.

use std::sync::OnceLock;

use rustix::thread::{MembarrierCommand, futex};

/// The environment variable that turns kernel features off, as a comma-separated list.
///
/// ```
/// use onecopy_memory::kernel::{DISABLE_VARIABLE, features};
///
/// let disabled = std::env::var(DISABLE_VARIABLE).unwrap_or_default();
/// let is_disabled = disabled.split(',').any(|name| name.trim() == "futex_waitv");
/// assert!(!(is_disabled && features().futex_waitv));
/// ```
pub const DISABLE_VARIABLE: &str = "ONECOPY_DISABLE";

/// What the kernel offers to this process.
///
/// ```
/// let features = onecopy_memory::kernel::features();
/// println!("several rings can be waited on with one call: {}", features.futex_waitv);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Sleeping on several futexes at once.
    pub futex_waitv: bool,
    /// This process is registered for, and may issue, global expedited barriers.
    pub membarrier: bool,
    /// Memory that can never be made executable.
    pub noexec_seal: bool,
    /// Huge pages in place of ordinary ones that are filled.
    pub collapse: bool,
}

/// The features of this kernel, detected at the first call.
///
/// ```
/// use onecopy_memory::kernel::features;
///
/// if !features().futex_waitv {
///     println!("before 5.16: several subscribers are waited for by descriptors");
/// }
/// ```
pub fn features() -> Features {
    static FEATURES: OnceLock<Features> = OnceLock::new();
    *FEATURES.get_or_init(|| {
        let disabled = std::env::var(DISABLE_VARIABLE).unwrap_or_default();
        let enabled = |name: &str| !disabled.split(',').any(|word| word.trim() == name);
        Features {
            futex_waitv: enabled("futex_waitv") && detect_futex_waitv(),
            membarrier: enabled("membarrier") && register_membarrier(),
            noexec_seal: enabled("noexec_seal") && detect_noexec_seal(),
            collapse: enabled("collapse") && crate::collapse::is_supported(),
        }
    })
}

/// Executes a full barrier on every running thread of every registered process, if the kernel can.
#[cfg_attr(loom, allow(dead_code))]
pub(crate) fn membarrier() {
    if features().membarrier {
        // Registered and tried at start-up; from then on the call has no way to fail.
        let result = rustix::thread::membarrier(MembarrierCommand::GlobalExpedited);
        debug_assert_eq!(result, Ok(()));
    }
}

fn register_membarrier() -> bool {
    rustix::thread::membarrier_query().contains_command(MembarrierCommand::GlobalExpedited)
        && rustix::thread::membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok()
        && rustix::thread::membarrier(MembarrierCommand::GlobalExpedited).is_ok()
}

fn detect_futex_waitv() -> bool {
    // An empty list is refused as invalid where the call exists, and as unknown where it does not.
    let result = futex::waitv(&[], futex::WaitvFlags::empty(), None, rustix::thread::ClockId::Monotonic);
    result == Err(rustix::io::Errno::INVAL)
}

fn detect_noexec_seal() -> bool {
    use rustix::fs::MemfdFlags;
    rustix::fs::memfd_create("onecopy-probe", MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL).is_ok()
}
