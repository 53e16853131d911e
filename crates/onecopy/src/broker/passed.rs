//! Descriptors as they come from other processes: which of them are taken, and how to get rid of the others.
//!
//! Closing may block: a TCP socket waits for its data to leave if its owner wants that, and a file of a remote file
//! system for its server. What the protocol passes (memory and doorbells) closes at once; everything else is
//! closed on a thread that may wait.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError, mpsc};

use rustix::fs::{SealFlags, fcntl_get_seals};
use rustix::io::retry_on_intr;
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{AddressFamily, RecvFlags, Shutdown, SocketType, recv, shutdown};

/// What a packet may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Memory of the kernel's own, which no disk and no server stands behind, of a size that is sealed.
    Memory,
    /// A Unix socket to ring.
    Doorbell,
}

/// Takes a descriptor of the kind that is due, or gets rid of it and returns `None`.
pub(super) fn take(descriptor: OwnedFd, kind: Kind) -> Option<OwnedFd> {
    let fits = match kind {
        Kind::Memory => is_fixed_memory(&descriptor),
        Kind::Doorbell => is_doorbell(&descriptor),
    };
    if fits {
        return Some(descriptor);
    }
    dispose(descriptor);
    None
}

/// Closes a descriptor that nobody wants, without ever blocking.
pub(super) fn dispose(descriptor: OwnedFd) {
    if !is_memory(&descriptor) {
        close_elsewhere(descriptor);
    }
}

fn is_memory(descriptor: &OwnedFd) -> bool {
    // Only memory files know seals, sealed or not.
    fcntl_get_seals(descriptor).is_ok()
}

/// Whether it is memory whose size can't change any more: it is counted as it is now, and who maps it must
/// find all of it.
fn is_fixed_memory(descriptor: &OwnedFd) -> bool {
    fcntl_get_seals(descriptor).is_ok_and(|seals| seals.contains(SealFlags::SHRINK | SealFlags::GROW))
}

/// Whether it is a Unix socket with nothing in it. It could have descriptors of any kind in it, which would be closed
/// with it; so from now on nothing can be sent to it.
fn is_doorbell(descriptor: &OwnedFd) -> bool {
    let is_local = socket_domain(descriptor).is_ok_and(|domain| domain == AddressFamily::UNIX);
    // Of the other types an empty packet, which may bring descriptors as well, can't be told from none.
    let is_stream = || socket_type(descriptor).is_ok_and(|kind| kind == SocketType::STREAM);
    if !is_local || !is_stream() || shutdown(descriptor, Shutdown::Read).is_err() {
        return false;
    }
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    // An error: it is not connected. If it listens, its newcomers may have sent anything.
    matches!(retry_on_intr(|| recv(descriptor, &mut [0_u8], flags)), Ok((_, 0)))
}

/// The way to the thread that closes, once there was something to close.
static CLOSER: Mutex<Option<mpsc::Sender<OwnedFd>>> = Mutex::new(None);

/// Closes a descriptor whose closing may take long, on a thread of its own.
pub(crate) fn close_elsewhere(descriptor: OwnedFd) {
    let mut closer = CLOSER.lock().unwrap_or_else(PoisonError::into_inner);
    let unsent = match closer.take() {
        Some(sender) => match sender.send(descriptor) {
            Ok(()) => {
                *closer = Some(sender);
                return;
            }
            Err(mpsc::SendError(unsent)) => unsent,
        },
        None => descriptor,
    };
    let (sender, receiver) = mpsc::channel();
    let close_all = move || receiver.into_iter().for_each(drop::<OwnedFd>);
    let thread = std::thread::Builder::new().name("onecopy-closer".to_owned()).spawn(close_all);
    // Without a thread the channel is closed, and the descriptor with it, here: slow at worst.
    if let (Ok(_), Ok(())) = (thread, sender.send(unsent)) {
        *closer = Some(sender);
    }
}
