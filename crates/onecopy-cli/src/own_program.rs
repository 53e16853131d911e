//! This program started again, as a process that ends with the one that started it.

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::failure::Failure;

/// This program, even if its file was replaced meanwhile.
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";

/// Makes the kernel end this process when the thread that started it is gone, however it went. Outlasts `exec`.
pub(crate) fn die_with_parent(parent: u32) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Failure::system("ask to end with the parent process")(error.into()))?;
    // It may have gone before the kernel was told.
    match getppid() {
        Some(found) if found.as_raw_nonzero().get().unsigned_abs() == parent => Ok(()),
        _ => Err(Failure::Orphaned),
    }
}
