//! Who is at the other end of a Unix socket (`SO_PEERCRED`). Our crate for system calls has this option, but
//! takes a process number of 0 for impossible; yet that is what the kernel says of a process in another PID
//! name space, as a container's program sees the host's.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

const SOL_SOCKET: c_int = 1;
const SO_PEERCRED: c_int = 17;

/// `struct ucred` of the kernel.
///
/// See [`peer_credentials`] for an example.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Its process; 0 if that is in a name space that this one does not see.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

const BYTES: u32 = 12;
const _: () = assert!(size_of::<PeerCredentials>() == BYTES as usize);

// SAFETY: this is the declaration of the C library's `getsockopt` for every target of this crate (`socklen_t`
// is 32 bits wide on Linux).
unsafe extern "C" {
    fn getsockopt(socket: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut u32) -> c_int;
}

/// The process that connected, or that began to listen, as it was then.
///
/// # Errors
///
/// For other sockets than Unix sockets.
///
/// ```
/// let (one, _other) = std::os::unix::net::UnixStream::pair()?;
/// let peer = onecopy_memory::peer_credentials::peer_credentials(&one)?;
/// assert_eq!(peer.pid, std::process::id());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn peer_credentials(socket: impl AsFd) -> io::Result<PeerCredentials> {
    let (mut peer, mut length) = (PeerCredentials::default(), BYTES);
    // SAFETY: the kernel writes at most `length` bytes to `peer`, which has that many (asserted above), and
    // how many it wrote to `length`; any bytes make valid numbers. The descriptor is borrowed, so it is open.
    let result = unsafe {
        getsockopt(
            socket.as_fd().as_raw_fd(),
            SOL_SOCKET,
            SO_PEERCRED,
            std::ptr::from_mut(&mut peer).cast(),
            &raw mut length,
        )
    };
    match (result, length) {
        (0, BYTES) => Ok(peer),
        (0, _) => Err(io::ErrorKind::InvalidData.into()),
        _ => Err(io::Error::last_os_error()),
    }
}
