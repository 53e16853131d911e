//! Locks on single bytes of a file that belong to an open file and end with it (`F_OFD_SETLK`). The kernel
//! lists whoever holds one, so a file in which everybody locks a byte of its own is a register of the living
//! that nobody has to keep.
//!
//! The only system call here that no crate of ours wraps.

use std::ffi::c_int;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};

/// `struct flock` of the kernel on 64-bit machines.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Flock {
    kind: i16,
    whence: i16,
    start: i64,
    length: i64,
    pid: i32,
}

const _: () = assert!(size_of::<Flock>() == 32 && cfg!(target_pointer_width = "64"));

const F_OFD_GETLK: c_int = 36;
const F_OFD_SETLK: c_int = 37;
const F_RDLCK: i16 = 0;
const F_WRLCK: i16 = 1;
const F_UNLCK: i16 = 2;
const SEEK_SET: i16 = 0;

/// One past the last byte that can be locked here.
///
/// See [`locked_bytes`] for an example.
pub const BYTES_END: u64 = i64::MAX as u64;

// SAFETY: this is the declaration of the C library's `fcntl` for every target of this crate.
unsafe extern "C" {
    fn fcntl(descriptor: c_int, command: c_int, ...) -> c_int;
}

fn call(file: impl AsFd, command: c_int, mut lock: Flock) -> io::Result<Flock> {
    loop {
        // SAFETY: both commands take a pointer to one `struct flock`, which is what `lock` is (asserted
        // above), and which outlives the call; the descriptor is borrowed, so it is open.
        let result = unsafe { fcntl(file.as_fd().as_raw_fd(), command, std::ptr::from_mut(&mut lock)) };
        if result != -1 {
            return Ok(lock);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn byte(at: u64, kind: i16) -> io::Result<Flock> {
    let start = i64::try_from(at).ok().filter(|start| *start < i64::MAX);
    let start = start.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(Flock { kind, whence: SEEK_SET, start, length: 1, pid: 0 })
}

/// Locks one byte, which need not exist, for `file` as it is open here and wherever else it was passed to.
/// Others may lock the same byte. A file that is open for reading will do.
///
/// See [`holder_of`] for an example.
///
/// # Errors
///
/// When the file's file system knows no locks, or the kernel has no memory.
pub fn lock_byte(file: impl AsFd, at: u64) -> io::Result<()> {
    call(file, F_OFD_SETLK, byte(at, F_RDLCK)?).map(drop)
}

/// Ends [`lock_byte`], also for a forked child that has the same open file.
///
/// ```
/// use onecopy_memory::range_lock::{is_byte_locked, lock_byte, unlock_byte};
///
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("lab.lock");
/// std::fs::write(&path, "")?;
/// let (one, other) = (std::fs::File::open(&path)?, std::fs::File::open(&path)?);
/// lock_byte(&one, 7)?;
/// assert!(is_byte_locked(&other, 7)? && !is_byte_locked(&other, 8)?);
/// unlock_byte(&one, 7)?;
/// assert!(!is_byte_locked(&other, 7)?);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// As for [`lock_byte`].
pub fn unlock_byte(file: impl AsFd, at: u64) -> io::Result<()> {
    call(file, F_OFD_SETLK, byte(at, F_UNLCK)?).map(drop)
}

/// Who has a byte locked.
///
/// See [`holder_of`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// Some who may have done so with the file open for reading.
    Sharers,
    /// One alone, who has the file open for writing.
    Owner,
}

/// Locks one byte for `file` alone, which is open for writing; `false` if others have it locked.
///
/// ```
/// use onecopy_memory::range_lock::lock_byte_alone;
/// use std::fs::File;
///
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("lab.lock");
/// let (one, other) = (File::create(&path)?, File::create(&path)?);
/// assert!(lock_byte_alone(&one, 7)?);
/// assert!(!lock_byte_alone(&other, 7)?);
/// // The lock ends with the file that has it.
/// drop(one);
/// assert!(lock_byte_alone(&other, 7)?);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// As for [`lock_byte`].
pub fn lock_byte_alone(file: impl AsFd, at: u64) -> io::Result<bool> {
    match call(file, F_OFD_SETLK, byte(at, F_WRLCK)?) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        // The other number that POSIX allows for it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(error),
    }
}

/// Who has that byte locked through another open file than this one. Who may only read the file can't pass
/// for an owner.
///
/// # Errors
///
/// As for [`lock_byte`].
///
/// ```
/// use onecopy_memory::range_lock::{Holder, holder_of, lock_byte, lock_byte_alone};
///
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("lab.lock");
/// let owner = std::fs::File::create(&path)?;
/// let (one, other) = (std::fs::File::open(&path)?, std::fs::File::open(&path)?);
/// assert!(lock_byte_alone(&owner, 7)?);
/// lock_byte(&one, 8)?;
/// assert_eq!((holder_of(&other, 7)?, holder_of(&other, 8)?), (Holder::Owner, Holder::Sharers));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn holder_of(file: impl AsFd, at: u64) -> io::Result<Holder> {
    Ok(match call(file, F_OFD_GETLK, byte(at, F_WRLCK)?)?.kind {
        F_UNLCK => Holder::Nobody,
        F_RDLCK => Holder::Sharers,
        _ => Holder::Owner,
    })
}

/// Whether anybody has that byte locked through another open file than this one.
///
/// See [`unlock_byte`] for an example.
///
/// # Errors
///
/// As for [`lock_byte`].
pub fn is_byte_locked(file: impl AsFd, at: u64) -> io::Result<bool> {
    Ok(holder_of(file, at)? != Holder::Nobody)
}

/// All bytes of `range` that others have locked, in no particular order; at most `most`. Of a lock on more
/// than one byte, which is none of [`lock_byte`]'s, the first is told: nobody can hide the end of the list
/// behind it, or make it endless.
///
/// # Errors
///
/// As for [`lock_byte`].
///
/// ```
/// use onecopy_memory::range_lock::{BYTES_END, lock_byte, locked_bytes};
/// use std::fs::File;
///
/// let path = std::env::temp_dir().join(format!("onecopy-doc-{}", std::process::id()));
/// File::create(&path)?;
/// let (one, other) = (File::open(&path)?, File::open(&path)?);
/// lock_byte(&one, 7)?;
/// assert_eq!(locked_bytes(&other, 0..BYTES_END, 9)?, [7]);
/// drop(one);
/// assert!(locked_bytes(&other, 0..BYTES_END, 9)?.is_empty());
/// # std::fs::remove_file(path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn locked_bytes(file: impl AsFd, range: Range<u64>, most: usize) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    // The kernel names one lock in a range, whichever it comes to first; the rest is to its left and right.
    let mut unseen = vec![range];
    while let Some(range) = unseen.pop() {
        let (start, end) = (range.start.min(BYTES_END), range.end.min(BYTES_END));
        if start >= end {
            continue;
        }
        if found.len() >= most {
            break;
        }
        let wanted = Flock { length: (end - start) as i64, ..byte(start, F_WRLCK)? };
        let lock = call(&file, F_OFD_GETLK, wanted)?;
        if lock.kind == F_UNLCK {
            continue;
        }
        let at = (lock.start as u64).clamp(start, end - 1);
        // No length is one up to the end of all files.
        let behind = match lock.length {
            0 => end,
            length => (lock.start as u64).saturating_add(length as u64).clamp(at + 1, end),
        };
        found.push(at);
        unseen.extend([start..at, behind..end]);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};

    use super::*;

    #[test]
    fn nobody_can_make_the_list_endless_or_pass_for_an_owner() {
        let path = std::env::temp_dir().join(format!("onecopy-range-lock-{}", std::process::id()));
        File::create(&path).unwrap();
        let open = || OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let (hostile, other) = (File::open(&path).unwrap(), open());
        std::fs::remove_file(&path).unwrap();
        for start in [10, 1000, 1002, 1004] {
            lock_byte(&hostile, start).unwrap();
        }
        // All from byte 5000 on.
        call(&hostile, F_OFD_SETLK, Flock { length: 0, ..byte(5000, F_RDLCK).unwrap() }).unwrap();
        let mut found = locked_bytes(&other, 0..BYTES_END, 100).unwrap();
        found.sort_unstable();
        assert_eq!(found, [10, 1000, 1002, 1004, 5000]);
        assert_eq!(locked_bytes(&other, 0..BYTES_END, 3).unwrap().len(), 3);
        // Only the owner of the file can have a byte alone, and who has it shared is told from it.
        assert_eq!(holder_of(&other, 7000).unwrap(), Holder::Sharers);
        assert!(!lock_byte_alone(&other, 7000).unwrap());
        assert!(lock_byte_alone(&hostile, 20).is_err());
        assert!(lock_byte_alone(&other, 20).unwrap());
        assert_eq!(holder_of(&hostile, 20).unwrap(), Holder::Owner);
        assert_eq!(holder_of(&hostile, 21).unwrap(), Holder::Nobody);
    }
}
