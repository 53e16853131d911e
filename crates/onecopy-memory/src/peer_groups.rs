//! The groups of the process at the other end of a Unix socket (`SO_PEERGROUPS`, Linux 4.13). No crate of
//! ours wraps this option, whose value has any length.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

const SOL_SOCKET: c_int = 1;
const SO_PEERGROUPS: c_int = 59;
/// Most groups that a process can be in (`NGROUPS_MAX`).
const GROUPS_MAX: usize = 65_536;
/// Enough for nearly every process, so that one call does.
const GROUPS_USUAL: usize = 32;

// SAFETY: this is the declaration of the C library's `getsockopt` for every target of this crate (`socklen_t`
// is 32 bits wide on Linux).
unsafe extern "C" {
    fn getsockopt(socket: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut u32) -> c_int;
}

/// The further groups of the process that connected, or that began to listen, as they were then.
///
/// # Errors
///
/// For other sockets than connected Unix sockets.
///
/// ```
/// let (one, _other) = std::os::unix::net::UnixStream::pair()?;
/// let groups = onecopy_memory::peer_groups::peer_groups(&one)?;
/// println!("this process is in {} groups", groups.len());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn peer_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; GROUPS_USUAL];
    loop {
        let room_bytes = size_of_val(groups.as_slice());
        let mut length = u32::try_from(room_bytes).map_err(|_| io::ErrorKind::InvalidData)?;
        // SAFETY: the kernel writes at most `length` bytes to `groups`, which has that many, and the number
        // that it wrote or would need to `length`; both outlive the call, and any bytes make valid numbers.
        // The descriptor is borrowed, so it is open.
        let result = unsafe {
            getsockopt(
                socket.as_fd().as_raw_fd(),
                SOL_SOCKET,
                SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = usize::try_from(length).unwrap_or(usize::MAX) / size_of::<u32>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // It says how many there are.
        let is_too_short = error.raw_os_error() == Some(rustix::io::Errno::RANGE.raw_os_error());
        if !is_too_short || count <= groups.len() || count > GROUPS_MAX {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn they_are_the_groups_that_the_kernel_lists_of_us() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let listed = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        let mut listed: Vec<u32> = listed.split_whitespace().map(|group| group.parse().unwrap()).collect();
        let (one, _other) = UnixStream::pair().unwrap();
        let mut groups = peer_groups(&one).unwrap();
        groups.sort_unstable();
        listed.sort_unstable();
        assert_eq!(groups, listed);
    }

    #[test]
    fn other_sockets_have_none() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(peer_groups(&socket).is_err());
    }
}
