//! How many files this process may have open. Each publisher, region and node takes some, in its own process and in the
//! broker's, and the usual limit of 1024 is the first real limit that a user meets.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::RESERVED_DESCRIPTORS_DIVISOR;

/// How many files this process may have open now.
///
/// ```
/// // `ulimit -n`
/// println!("{} open files at most", onecopy::open_files::limit());
/// ```
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Lets this process have as many files open as the system allows without further rights, and returns the
/// limit that was in force before. Call it before opening a node, in a program that is the broker of many or
/// opens thousands of topics.
///
/// The library does not do so by itself: the limit is the whole program's and is inherited by the programs
/// that it starts, of which old ones that use `select(2)` break when a descriptor is 1024 or more. Set theirs
/// back with [`set_limit`].
///
/// ```
/// let before = onecopy::open_files::raise_limit()?;
/// assert!(onecopy::open_files::limit() >= before);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// What the system says.
pub fn raise_limit() -> io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(current.unwrap_or(u64::MAX))
}

/// Sets the limit to `files`, as far as the system allows: for a program that is about to become another.
///
/// ```
/// let before = onecopy::open_files::raise_limit()?;
/// onecopy::open_files::set_limit(before)?;
/// assert_eq!(onecopy::open_files::limit(), before);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// What the system says.
pub fn set_limit(files: u64) -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(files.min(maximum.unwrap_or(u64::MAX)));
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
}

/// Whether the last part of the limit is being used, which is kept for what can't be refused.
pub(crate) fn is_short(any: impl AsFd) -> bool {
    let Ok(limit) = i32::try_from(limit()) else { return false };
    let first_reserved = limit - limit / RESERVED_DESCRIPTORS_DIVISOR;
    // The kernel gives the lowest number that is free, so a reserved one is given only when no other is left.
    // None at all is left when the limit was lowered below what is open.
    fcntl_dupfd_cloexec(any, 0).map_or(true, |copy| copy.as_raw_fd() >= first_reserved)
}
