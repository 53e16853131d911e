//! What systemd hands to a service that it starts, and what it likes to be told: `LISTEN_FDS` and
//! `sd_notify`. Both are a few lines of environment and one datagram, so there is no library for it here.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Number of the first descriptor that is handed over.
const FIRST_DESCRIPTOR: i32 = 3;

/// The listening socket of a socket unit, if this process was started for one.
pub(crate) fn listener() -> io::Result<Option<OwnedFd>> {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    // Without the check a child of the service would take what is not its own.
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(None);
    }
    match number("LISTEN_FDS") {
        Some(0) | None => Ok(None),
        Some(1) => {
            let own = pidfd_open(getpid(), PidfdFlags::empty())?;
            Ok(Some(pidfd_getfd(own, FIRST_DESCRIPTOR, PidfdGetfdFlags::empty())?))
        }
        Some(_) => Err(io::Error::other("the socket unit has more than one ListenSequentialPacket=")),
    }
}

/// Tells systemd how the service is doing, if it wants to know (`Type=notify`).
pub(crate) fn notify(state: &str) {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&address, state) {
        tracing::warn!(%error, state, "systemd could not be notified");
    }
}

fn send(address: &OsStr, state: &str) -> io::Result<()> {
    let address = match address.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(address)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}
