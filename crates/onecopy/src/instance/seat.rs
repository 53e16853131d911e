//! The place of an instance's broker: its lock and its listening socket.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, statat, unlinkat};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{socket_acceptconn, socket_type};
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, accept_with, bind, listen, shutdown, socket_with,
};

use super::broker_lock::{BrokerLock, Claim};
use super::error::InstanceError;
use super::file_lock::FileLock;
use super::{Instance, presence};
use crate::broker::SocketWatch;
use crate::broker::server::Place;
use crate::broker::transport::PacketSocket;
use crate::config::Config;
use crate::limits::{DIRECTORY_TIMEOUT, DYING_NAP_MIN, DYING_TIMEOUT, LISTEN_BACKLOG, REJOIN_DELAY_MIN};

/// The place of an instance's broker: its lock and its listening socket.
///
/// Dropped, it removes the socket, and only then lets go of the lock.
///
/// [`Instance::serve`] takes one; see [`Stopped`](super::Stopped) for an example.
#[derive(Debug)]
pub struct Seat {
    instance: Instance,
    /// As it was when the place was taken.
    config: Arc<Config>,
    /// Device and inode of the socket, to remove no other.
    socket_identity: (u64, u64),
    listener: Arc<OwnedFd>,
    /// Both are there until the seat is dropped.
    lock: Option<BrokerLock>,
    directory: Option<Arc<OwnedFd>>,
    /// The socket ends with this seat.
    is_ours: bool,
    /// Somebody else has it now.
    given_away: Arc<AtomicBool>,
    /// The lock file that this one's took the place of.
    replaced_lock: Option<OwnedFd>,
    /// A forked child has a copy of the seat, and is no broker.
    process: u32,
}

impl Seat {
    /// Where newcomers connect to.
    fn listener(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.listener)
    }

    /// The lock file that was there before this seat's, in which nodes may still be counted.
    pub(super) fn replaced_lock(&mut self) -> Option<OwnedFd> {
        self.replaced_lock.take()
    }

    /// The rules that hold for whoever connects here.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config)
    }

    /// What a server needs to know of its place.
    pub(crate) fn into_place(self) -> Place {
        let listener = self.listener();
        let lock = self.lock.as_ref().and_then(BrokerLock::share);
        let (given_away, lock_path) = (Arc::clone(&self.given_away), self.instance.lock_path());
        let directory = self.directory.as_ref().filter(|_| self.is_ours);
        let watch = directory.and_then(|directory| {
            SocketWatch::new(
                self.instance.directory(),
                directory,
                self.instance.socket_name(),
                self.socket_identity,
            )
        });
        Place { listener, lock, lock_path, is_ours: self.is_ours, given_away, watch, seat: Box::new(self) }
    }

    /// The place that another broker has handed over: its socket, and its lock, which is held.
    pub(super) fn inherit(
        instance: &Instance,
        listener: OwnedFd,
        lock: OwnedFd,
        is_ours: bool,
    ) -> Result<Self, InstanceError> {
        if is_ours {
            // Whoever connects from now on is told by the kernel that it is this process that listens.
            listen(&listener, LISTEN_BACKLOG).map_err(|source| instance.failed("listen on", source))?;
        }
        Self::on(instance, listener, BrokerLock::held(lock), is_ours)
    }

    /// The place on a socket that somebody else has made, and keeps when this ends.
    pub(super) fn adopt(instance: &Instance, listener: OwnedFd) -> Result<Self, InstanceError> {
        let failed = |source: Errno| instance.failed("listen on", source);
        let directory = instance.open_directory()?.ok_or(Errno::NOENT).map_err(failed)?;
        // A broker that ends lets go of the lock last.
        let directory = FileLock::take(directory, DIRECTORY_TIMEOUT).map_err(failed)?;
        let place = directory.file().ok_or(Errno::BADF).map_err(failed)?;
        let (lock, replaced_lock) = claim(instance, &place, false)?;
        let is_listening = socket_acceptconn(&listener).map_err(failed)?;
        let is_packets = socket_type(&listener).map_err(failed)? == SocketType::SEQPACKET;
        if !(is_listening && is_packets) {
            return Err(failed(Errno::PROTOTYPE));
        }
        rustix::io::ioctl_fionbio(&listener, true).map_err(failed)?;
        let mut seat = Self::on(instance, listener, lock, false)?;
        seat.replaced_lock = replaced_lock;
        Ok(seat)
    }

    fn on(
        instance: &Instance,
        listener: OwnedFd,
        lock: BrokerLock,
        is_ours: bool,
    ) -> Result<Self, InstanceError> {
        let failed = |source: Errno| instance.failed("listen on", source);
        let directory = instance.open_directory()?.ok_or(Errno::NOENT).map_err(failed)?;
        let socket_identity = identity(instance, &directory).map_err(failed)?;
        let lock = lock.end_before(&listener);
        let config = instance.current_config();
        // One that somebody else has made is theirs to open.
        if is_ours {
            instance.set_reach(&directory, config.admits_others())?;
        }
        Ok(Self {
            instance: instance.clone(),
            config,
            socket_identity,
            listener: Arc::new(listener),
            lock: Some(lock),
            directory: Some(Arc::new(directory)),
            is_ours,
            given_away: Arc::default(),
            replaced_lock: None,
            process: std::process::id(),
        })
    }

    /// Takes the place; the directory is locked, and there was nobody to connect to. With `is_orphaned` there was a
    /// socket of a process that was killed, which some child of that process still has open, and the lock as well.
    pub(super) fn take(
        instance: &Instance,
        directory: FileLock,
        is_orphaned: bool,
    ) -> Result<Self, InstanceError> {
        let failed = |source: Errno| instance.failed("listen on", source);
        let place = directory.file().ok_or(Errno::BADF).map_err(failed)?;
        // Nobody starts up or shuts down now, so a broker that holds the lock has a socket, unless that was removed.
        let (lock, replaced_lock) = claim(instance, &place, is_orphaned)?;
        remove_stale_socket(instance, &place)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(failed)?;
        let lock = lock.end_before(&listener);
        bind(&listener, &instance.address()?).map_err(failed)?;
        // Before anybody is waited for: guests may not connect until then, and would take that for an answer.
        let config = instance.current_config();
        instance.set_reach(place, config.admits_others())?;
        listen(&listener, LISTEN_BACKLOG).map_err(failed)?;
        let socket_identity = identity(instance, &place).map_err(failed)?;
        Ok(Self {
            instance: instance.clone(),
            config,
            socket_identity,
            listener: Arc::new(listener),
            lock: Some(lock),
            directory: directory.release(),
            is_ours: true,
            given_away: Arc::default(),
            replaced_lock,
            process: std::process::id(),
        })
    }

    fn remove_socket(&self, directory: &FileLock) -> rustix::io::Result<()> {
        let directory = directory.file().ok_or(Errno::BADF)?;
        match identity(&self.instance, &directory)? == self.socket_identity {
            true => unlinkat(directory, self.instance.socket_name(), AtFlags::empty()),
            false => Ok(()),
        }
    }

    /// Ends the conversation with those who connected and were not accepted any more. Closing would do, if no forked
    /// child had the socket as well.
    fn turn_everybody_away(&self) -> rustix::io::Result<()> {
        shutdown(&self.listener, Shutdown::Both)?;
        loop {
            match accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(socket) => PacketSocket::from(socket).end(),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                // Nobody is left: it would block, or it is shut down.
                Err(_) => return Ok(()),
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            return;
        }
        if self.given_away.load(Ordering::Relaxed) {
            return self.lock.take().into_iter().for_each(BrokerLock::leave);
        }
        if !self.is_ours {
            return drop(self.lock.take());
        }
        let directory = self.directory.take().ok_or(Errno::BADF);
        let found = directory.as_ref().map(|directory| identity(&self.instance, directory));
        if !matches!(found, Ok(Ok(socket)) if socket == self.socket_identity) {
            // It was removed or replaced. Whoever takes the place has the directory locked, and waits for this lock.
            let turned_away = self.turn_everybody_away();
            tracing::debug!(?turned_away, "the broker's socket was gone before the broker");
            return drop(self.lock.take());
        }
        let directory = directory.and_then(|directory| FileLock::take(directory, DIRECTORY_TIMEOUT));
        let removed = directory.as_ref().map_err(|error| *error).and_then(|lock| self.remove_socket(lock));
        if let Err(error) = removed.and_then(|()| self.turn_everybody_away()) {
            tracing::debug!(%error, "the broker's socket was gone before the broker");
        }
        // Whoever waits for the directory must find the lock free.
        drop(self.lock.take());
        drop(directory);
    }
}

/// The broker's lock, and the file that it took the place of, if it had to. The directory is locked, so
/// nobody else takes the old file for the broker's, or the new one before it is locked.
fn claim(
    instance: &Instance,
    directory: &impl AsFd,
    is_orphaned: bool,
) -> Result<(BrokerLock, Option<OwnedFd>), InstanceError> {
    let failed = |source: Errno| instance.failed("open the lock of", source);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let deadline = Instant::now() + DYING_TIMEOUT;
    let (mut nap, mut replaced) = (DYING_NAP_MIN, None);
    loop {
        let name = instance.lock_name();
        let file = openat(directory, &name, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        match BrokerLock::try_take(file).map_err(|source| instance.failed("lock", source))? {
            Claim::Taken(lock) => return Ok((lock, replaced)),
            // A process that was killed closes its files one after the other, and this one perhaps last. The kernel wakes
            // whoever waits for the lock, but knows no end to that wait.
            Claim::Broker if !is_orphaned && Instant::now() < deadline => {
                instance.pause(nap)?;
                nap = (nap * 2).min(REJOIN_DELAY_MIN);
                continue;
            }
            Claim::Broker if !is_orphaned => return Err(instance.socket_removed()),
            Claim::Broker => {}
            Claim::Obstructed => {
                tracing::warn!("a process of another user keeps the lock file locked; it gets a new one");
            }
        }
        // A child of a broker that was killed has the lock, or a guest that means harm: both keep it as long
        // as they like.
        replaced = Some(presence::open(instance)?);
        unlinkat(directory, &name, AtFlags::empty()).map_err(failed)?;
    }
}

fn identity(instance: &Instance, directory: &impl AsFd) -> rustix::io::Result<(u64, u64)> {
    let stat = retry_on_intr(|| statat(directory, instance.socket_name(), AtFlags::SYMLINK_NOFOLLOW))?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Removes what a killed broker left; anything but a socket is not ours to remove, and makes `bind` fail.
fn remove_stale_socket(instance: &Instance, directory: &impl AsFd) -> Result<(), InstanceError> {
    let failed = |source: Errno| instance.failed("remove", source);
    match statat(directory, instance.socket_name(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Socket => {
            unlinkat(directory, instance.socket_name(), AtFlags::empty()).map_err(failed)
        }
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(source) => Err(failed(source)),
    }
}
