//! A broker's place in its instance, and how a server gives it away: what `handing_over.rs` decides, done.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use super::connection::Queued;
use super::descriptor::identity;
use super::peers::PeerId;
use super::protocol::{Event, Refusal};
use super::server::Server;
use super::socket_watch::SocketWatch;
use crate::limits::LAST_WORDS_TIMEOUT;

/// Why a server ends that nobody stopped from within.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending {
    HandedOver(PeerId),
    Stopped(PeerId),
}

/// How a server ended.
///
/// ```
/// use onecopy::broker::server::Ended;
/// use onecopy::instance::Instance;
///
/// # let directory = tempfile::tempdir()?;
/// let instance = Instance::in_directory(directory.path().join("run"), "lab")?;
/// let server = instance.serve()?;
/// // For a signal handler, say.
/// let stop = server.stop_handle();
/// let running = std::thread::spawn(|| server.run());
/// stop.stop();
/// assert_eq!(running.join().map_err(|_| "it panicked")??, Ended::Stopped);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// Another one has its place now.
    Replaced,
}

/// A broker's place in its instance.
///
/// [`Instance::serve`](crate::instance::Instance::serve) takes one; see [`Ended`] for an example.
#[derive(Debug)]
pub struct Place {
    /// Where newcomers connect to.
    pub listener: Arc<OwnedFd>,
    /// What is locked for as long as the broker lives.
    pub lock: Option<Arc<OwnedFd>>,
    /// Where the locked file is, in which nodes are counted as well.
    pub lock_path: PathBuf,
    /// The socket was made for this broker and its successors, and ends with the last of them.
    pub is_ours: bool,
    /// Set when the place was given to another broker: then it must not be given up.
    pub given_away: Arc<AtomicBool>,
    /// Gives it up when dropped.
    pub seat: Box<dyn Any + Send>,
    /// Tells when newcomers don't find the socket any more. Behind the seat, since it is slow to close.
    pub(crate) watch: Option<SocketWatch>,
}

impl Server {
    /// Sends a packet behind all that waits for that peer.
    fn send(&mut self, peer: PeerId, event: &Event, descriptor: Option<Arc<OwnedFd>>) {
        self.enqueue(peer, Queued { bytes: event.encode(), descriptor, solicited: true });
    }

    pub(super) fn show_place(&mut self, peer: PeerId) {
        let Some(lock) = self.place.lock.clone() else {
            return self.broker.refuse(peer, Refusal::OutOfPlace);
        };
        self.send(
            peer,
            &Event::Place { is_ours: self.place.is_ours },
            Some(Arc::clone(&self.place.listener)),
        );
        self.send(peer, &Event::Lock, Some(lock));
    }

    /// Gives a node of another user, who can't open it, the file in which nodes are counted. Each gets a file of its
    /// own, as what it locks there is to end with it.
    pub(super) fn show_roll(&mut self, peer: PeerId) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let own = self.place.lock.as_deref().and_then(identity);
        match open(&self.place.lock_path, flags, Mode::empty()) {
            // Not one that somebody has put in its place.
            Ok(file) if identity(&file) == own => self.send(peer, &Event::Roll, Some(Arc::new(file))),
            Ok(_) => tracing::warn!("the lock file was replaced: a guest is not counted among the nodes"),
            Err(error) => tracing::warn!(%error, "a guest can't be counted among the nodes"),
        }
    }

    /// Says the last words. If they can't be said, this one goes on.
    pub(super) fn end(&mut self, ending: Ending) -> bool {
        let (peer, words) = match ending {
            Ending::HandedOver(peer) => (peer, self.broker.last_words()),
            Ending::Stopped(peer) => {
                let words = self.broker.farewell().into_iter().map(|event| (event, None)).collect();
                (peer, words)
            }
        };
        for (event, descriptor) in words {
            self.send(peer, &event, descriptor);
        }
        let deadline = Instant::now() + LAST_WORDS_TIMEOUT;
        while let Some(connection) = self.connections.get(&peer).filter(|connection| connection.queued() > 0)
        {
            let left = deadline.saturating_duration_since(Instant::now());
            let waited = connection.wait_for_room(left);
            self.flush(peer);
            if left.is_zero() || waited.is_err() {
                break;
            }
        }
        let is_said = self.connections.get(&peer).is_some_and(|connection| connection.queued() == 0);
        if !is_said {
            tracing::warn!("who wants this broker to end does not listen; it goes on");
            self.forget(peer);
        } else if let Ending::HandedOver(_) = ending {
            self.place.given_away.store(true, Ordering::Relaxed);
            self.wait_until_taken(peer);
        }
        is_said
    }

    /// Stays until the successor has made the kernel say that it is the one who listens: whoever connects and
    /// finds that the process which listens has ended would take the place for abandoned. So this process
    /// must not end before, and nobody's connection, as they come back at once. The successor closes its
    /// connection then, or by its death.
    fn wait_until_taken(&self, successor: PeerId) {
        let Some(connection) = self.connections.get(&successor) else { return };
        loop {
            let mut polled = [
                PollFd::new(&connection.socket, PollFlags::IN),
                PollFd::from_borrowed_fd(self.stop_signal(), PollFlags::IN),
            ];
            match rustix::event::poll(&mut polled, None) {
                Err(Errno::INTR) => {}
                _ => return,
            }
        }
    }
}
