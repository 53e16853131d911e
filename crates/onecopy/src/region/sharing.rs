//! A region that several may write, as each of them has it open. All have the memory writable, and take turns
//! by a lock in it; the broker has given each a seat, and tells the others when somebody dies.
//!
//! When somebody makes the region larger, it offers further memory to all while it has the lock, and the lock of the
//! further memory as well, and then *retires* the old lock: whoever comes to it later knows that the value has moved.
//! If it dies in between, the next one who gets the lock is told that the last holder died, asks the broker, learns of
//! the new memory, and retires the old lock itself.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use onecopy_memory::region::{Guard, LockError, RegionGeometry, SharedRegion};
use onecopy_memory::segment::SegmentError;
use onecopy_memory::sync::full_barrier;
use onecopy_memory::wait::{Doorbell, poll_readable, wait, wait_any};

use super::bell::Bell;
use super::error::RegionError;
use super::file::ValueFile;
use super::note;
use super::{Opening, Wish};
use crate::broker::protocol::{PortId, SegmentSet};
use crate::error::{OpenError, ReceiveError, WaitError};
use crate::inbox::{Inbox, News, RegionNews};
use crate::limits::HANDSHAKE_TIMEOUT;
use crate::node::handle::{NodeHandle, Seated};
use crate::payload::PlainData;
use crate::readiness::Readiness;

/// The lock, with the memory that it is the lock of.
type KeptGuard = Guard<Arc<SharedRegion>>;

pub(super) struct Sharing {
    /// Absent while it is being dropped.
    open: Option<OpenPort>,
    node: Arc<NodeHandle>,
    port: PortId,
    inbox: Arc<Inbox>,
    seen: Cell<u64>,
    layout_hash: u64,
    alignment_bytes: usize,
    region: RefCell<Arc<SharedRegion>>,
    pub(super) file: Option<ValueFile>,
    /// The region's file, if it was not named: then nothing can be written.
    file_not_named: Option<PathBuf>,
    name: String,
    event_loop: RefCell<Option<EventLoop>>,
}

/// Watching through a descriptor.
struct EventLoop {
    readiness: Readiness,
    inbox_bell: Doorbell,
    bell: Bell,
}

/// A seat, until it is dropped.
struct OpenPort {
    node: Arc<NodeHandle>,
    port: PortId,
}

impl Drop for OpenPort {
    fn drop(&mut self) {
        self.node.close(self.port);
    }
}

impl Sharing {
    pub(super) fn open(opening: Opening, wish: Wish<'_>) -> Result<Self, RegionError> {
        let Opening { node, name, payload, capacity_bytes, alignment_bytes, file } = opening;
        let port = node.new_port();
        let (seated, inbox) = node.open_shared(port, name.clone(), Some(payload.clone()))?;
        // From here on an error gives the seat back.
        let open = OpenPort { node: Arc::clone(&node), port };
        let layout_hash = payload.layout_hash();
        let named = file;
        let file = named.clone().map(|path| ValueFile::new(path, layout_hash));
        let Seated { seat, has_memory, .. } = seated;
        let mut seen = 0;
        let region = match wish {
            Wish::New(_) if has_memory => return Err(RegionError::Exists { region: name }),
            Wish::Existing if !has_memory => return Err(RegionError::NotFound { region: name }),
            Wish::New(initial) | Wish::Either(initial) if !has_memory => {
                let kept = file.as_ref().map(ValueFile::load).transpose()?.flatten();
                let (version, value) = match &kept {
                    Some(kept) => (kept.version.saturating_add(1), kept.value.as_slice()),
                    None => (1, initial),
                };
                let geometry = RegionGeometry::new(capacity_bytes.max(value.len()), alignment_bytes)?;
                let note = note::write(&node, &name, named.as_deref());
                let first = (version, value);
                let own = SharedRegion::create_with_note(geometry, layout_hash, first, seat, &note)
                    .map_err(super::memory_error)?;
                node.reserve(port, own.descriptor(), SegmentSet::EMPTY, HANDSHAKE_TIMEOUT)?;
                node.offer_shared(port, &own, false)?;
                // Ours, or that of somebody who was quicker.
                let memory = next_memory(&inbox, &mut seen)?;
                if is_same_memory(&memory, &own)? {
                    own
                } else {
                    SharedRegion::open(memory, seat).map_err(super::memory_error)?
                }
            }
            _ => SharedRegion::open(next_memory(&inbox, &mut seen)?, seat).map_err(super::memory_error)?,
        };
        region.expect_layout(layout_hash).map_err(OpenError::from)?;
        let file_not_named = note::file_not_named(&node, &name, named.as_deref(), &region)?;
        let region = Arc::new(region);
        node.watch_over(port, &region)?;
        let (seen, region) = (Cell::new(seen), RefCell::new(region));
        let event_loop = RefCell::new(None);
        Ok(Self {
            open: Some(open),
            node,
            port,
            inbox,
            seen,
            layout_hash,
            alignment_bytes,
            region,
            file,
            file_not_named,
            name,
            event_loop,
        })
    }

    /// The memory that is current, as far as this process knows.
    #[inline]
    pub(super) fn region(&self) -> Result<std::cell::Ref<'_, Arc<SharedRegion>>, RegionError> {
        if self.has_news() {
            self.take_news()?;
        }
        Ok(self.region.borrow())
    }

    /// A small value, if that is all there is to it.
    #[inline(always)]
    pub(super) fn get<T: PlainData>(&self) -> Option<T> {
        if self.has_news() {
            return None;
        }
        self.region.borrow().get()
    }

    /// Whether something came from the broker, or this is a forked child: [`Self::take_news`] tells.
    #[inline]
    fn has_news(&self) -> bool {
        self.inbox.news.has_news(self.seen.get()) || self.node.is_forked()
    }

    #[cold]
    fn take_news(&self) -> Result<(), RegionError> {
        if self.node.is_forked() {
            return Err(ReceiveError::Forked.into());
        }
        let mut seen = self.seen.get();
        let news = self.inbox.news.take(&mut seen);
        self.seen.set(seen);
        for news in news {
            match news {
                News::Region(RegionNews::Shared(memory)) => self.follow(memory)?,
                News::Refused(error) => return Err(error.into()),
                News::Evicted(reason) => return Err(ReceiveError::Evicted(reason).into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// The value goes on in another memory.
    fn follow(&self, memory: OwnedFd) -> Result<(), RegionError> {
        if is_same_memory(&memory, &self.region.borrow())? {
            return Ok(());
        }
        let seat = self.region.borrow().seat();
        let region = SharedRegion::open(memory, seat).map_err(super::memory_error)?;
        region.expect_layout(self.layout_hash).map_err(OpenError::from)?;
        let region = Arc::new(region);
        unless_broker_gone(self.node.watch_over(self.port, &region))?;
        *self.region.borrow_mut() = region;
        Ok(())
    }

    /// Takes the lock of the memory that is current.
    pub(super) fn lock(&self, deadline: Option<Instant>) -> Result<KeptGuard, RegionError> {
        if let Some(kept_in) = &self.file_not_named {
            return Err(RegionError::FileNotNamed { region: self.name.clone(), kept_in: kept_in.clone() });
        }
        loop {
            let region = Arc::clone(&*self.region()?);
            let mut guard = match SharedRegion::lock_kept(&region, deadline) {
                Ok(guard) => guard,
                Err(LockError::Retired) => {
                    // Its news are here once the broker has answered.
                    self.node.sync()?;
                    if Arc::ptr_eq(&region, &*self.region()?) {
                        return Err(RegionError::Locked { pid: 0 });
                    }
                    continue;
                }
                Err(LockError::Timeout { holder }) => {
                    let pid = holder.and_then(|seat| self.node.pid_of_seat(self.port, seat));
                    return Err(RegionError::Locked { pid: pid.unwrap_or(0) });
                }
                Err(error) => return Err(error.into()),
            };
            match self.has_moved(&region, guard.was_abandoned()) {
                Ok(true) => {
                    guard.retire();
                    continue;
                }
                Ok(false) => match self.save_current(&mut guard) {
                    Ok(()) => return Ok(guard),
                    Err(error) => {
                        guard.pass_on();
                        return Err(error);
                    }
                },
                Err(error) => {
                    guard.pass_on();
                    return Err(error);
                }
            }
        }
    }

    /// Whether the value goes on in another memory, asked by whoever has the lock of this one.
    fn has_moved(&self, region: &Arc<SharedRegion>, abandoned: bool) -> Result<bool, RegionError> {
        if abandoned {
            // The one who died with the lock may have offered other memory before.
            unless_broker_gone(self.node.sync())?;
        }
        Ok(!Arc::ptr_eq(region, &*self.region()?))
    }

    pub(super) fn write(&self, value: &[u8], deadline: Option<Instant>) -> Result<u64, RegionError> {
        self.commit(self.lock(deadline)?, value)
    }

    pub(super) fn compare_and_set(
        &self,
        version: u64,
        value: &[u8],
        deadline: Option<Instant>,
    ) -> Result<u64, RegionError> {
        // Versions don't come back: a conflict now is one under the lock too.
        let current = self.region()?.version();
        if current != version {
            return Err(RegionError::Conflict { current });
        }
        let guard = self.lock(deadline)?;
        match guard.version() {
            current if current == version => self.commit(guard, value),
            current => Err(RegionError::Conflict { current }),
        }
    }

    fn commit(&self, mut guard: KeptGuard, value: &[u8]) -> Result<u64, RegionError> {
        let Some(file) = &self.file else { return Ok(guard.write(value)?) };
        // Room for it comes first: what is on the disk has to become current.
        let next_version = guard.version() + 1;
        let room = guard.draft()?;
        let capacity_bytes = room.len();
        let place = room.get_mut(..value.len());
        let place = place.ok_or(RegionError::TooLarge { bytes: value.len(), capacity_bytes })?;
        place.copy_from_slice(value);
        file.save(next_version, value)?;
        Ok(guard.commit(value.len())?)
    }

    /// Whoever died with the lock may have saved a value that it did not make current any more. The next holder is told
    /// that what was not committed is gone, so the file must not bring it back.
    fn save_current(&self, guard: &mut KeptGuard) -> Result<(), RegionError> {
        let (Some(file), true) = (&self.file, guard.was_abandoned()) else { return Ok(()) };
        let (version, length) = (guard.version(), guard.length());
        file.save(version, guard.draft()?.get(..length).unwrap_or_default())
    }

    /// Changes the value in place; see [`super::single::Single::change`].
    pub(super) fn change(
        &self,
        deadline: Option<Instant>,
        change: impl FnOnce(&mut [u8], usize) -> Result<usize, RegionError>,
    ) -> Result<u64, RegionError> {
        let mut guard = self.lock(deadline)?;
        let (length, next_version) = (guard.length(), guard.version() + 1);
        let length = change(guard.draft()?, length)?;
        if let (Some(file), Some(value)) = (&self.file, guard.draft()?.get(..length)) {
            file.save(next_version, value)?;
        }
        Ok(guard.commit(length)?)
    }

    /// Goes on in a larger memory. Whoever takes part follows.
    pub(super) fn resize(&self, capacity_bytes: usize, deadline: Option<Instant>) -> Result<(), RegionError> {
        let mut guard = self.lock(deadline)?;
        let old_capacity_bytes = guard.capacity_bytes();
        if capacity_bytes <= old_capacity_bytes {
            return Ok(());
        }
        let (version, length) = (guard.version(), guard.length());
        let geometry = RegionGeometry::new(capacity_bytes, self.alignment_bytes)?;
        let seat = self.region.borrow().seat();
        let value = guard.draft()?.get(..length).unwrap_or_default();
        let note = self.region.borrow().note();
        let first = (version + 1, value);
        let larger = SharedRegion::create_with_note(geometry, self.layout_hash, first, seat, &note)
            .map_err(super::memory_error)?;
        self.node.reserve(self.port, larger.descriptor(), SegmentSet::EMPTY, HANDSHAKE_TIMEOUT)?;
        let larger = Arc::new(larger);
        // Whoever is told of it waits until the old one is retired: nobody writes the one while others write the other.
        let larger_guard = SharedRegion::lock_kept(&larger, None)?;
        self.node.offer_shared(self.port, &larger, true)?;
        match self.node.watch_over(self.port, &larger) {
            Err(error @ (OpenError::BrokerGone | OpenError::Fault(_))) if !self.was_told_of_memory() => {
                // Nobody is left who would tell, so all stay. Whoever was told before us must not write there.
                larger_guard.retire();
                let old = Arc::clone(&self.region.borrow());
                // It fails in the same way, which is known.
                let _ = self.node.watch_over(self.port, &old);
                return Err(error.into());
            }
            // The broker is stopped, and tells everybody when it goes on. Until then nobody may write the old one.
            Err(error) => tracing::warn!(%error, "a region has moved, and others learn of it later"),
            Ok(()) => {}
        }
        guard.retire();
        *self.region.borrow_mut() = larger;
        Ok(())
    }

    /// Whether memory was offered that this participant has not followed to.
    fn was_told_of_memory(&self) -> bool {
        let mut seen = self.seen.get();
        let news = self.inbox.news.take(&mut seen);
        self.seen.set(seen);
        news.iter().any(|news| matches!(news, News::Region(RegionNews::Shared(_))))
    }

    /// A descriptor that becomes readable when the version moves.
    pub(super) fn readiness(&self) -> Result<Readiness, RegionError> {
        let region = Arc::clone(&*self.region()?);
        let mut event_loop = self.event_loop.borrow_mut();
        if event_loop.is_none() {
            let (inbox_bell, ringer) = Doorbell::pair().map_err(WaitError::from)?;
            let (readiness, bell) = (Readiness::new().map_err(WaitError::from)?, Bell::new(&region)?);
            readiness.add(inbox_bell.as_fd()).map_err(WaitError::from)?;
            readiness.add(bell.doorbell.as_fd()).map_err(WaitError::from)?;
            // Only this participant sets it, and only here.
            let _ = self.inbox.ringer.set(ringer);
            *event_loop = Some(EventLoop { readiness, inbox_bell, bell });
        }
        let event_loop = event_loop.as_ref().expect("it was made if there was none");
        Ok(event_loop.readiness.try_clone().map_err(WaitError::from)?)
    }

    /// Takes back what made the descriptor readable. Whatever comes after this makes it readable again, so the caller
    /// looks at the version once more.
    pub(super) fn arm(&self) -> Result<(), RegionError> {
        let region = Arc::clone(&*self.region()?);
        let mut event_loop = self.event_loop.borrow_mut();
        let Some(EventLoop { readiness, inbox_bell, bell }) = &mut *event_loop else { return Ok(()) };
        if !bell.watches(&region) {
            *bell = Bell::new(&region)?;
            readiness.add(bell.doorbell.as_fd()).map_err(WaitError::from)?;
        }
        inbox_bell.was_rung();
        bell.doorbell.was_rung();
        Ok(())
    }

    /// Sleeps until the version is another than `version`; `false` after the deadline.
    pub(super) fn wait_for_change(
        &self,
        version: u64,
        deadline: Option<Instant>,
    ) -> Result<bool, RegionError> {
        if !onecopy_memory::kernel::features().futex_waitv {
            return self.poll_for_change(version, deadline);
        }
        loop {
            let region = Arc::clone(&*self.region()?);
            let (posted, wake) = (self.inbox.news.posted(), region.wake_word());
            let (posted_value, wake_value) = (posted.value(), region.prepare_sleep());
            full_barrier();
            if region.version() != version {
                return Ok(true);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(false);
            }
            if !self.inbox.news.has_news(self.seen.get()) {
                wait_any(&[(wake, wake_value), (posted, posted_value)], deadline);
            }
        }
    }

    /// The same where the kernel can't wait for two words, the region's and that of news, which come from two
    /// processes.
    fn poll_for_change(&self, version: u64, deadline: Option<Instant>) -> Result<bool, RegionError> {
        let readiness = self.readiness()?;
        let moved = loop {
            self.arm()?;
            if self.region()?.version() != version {
                break true;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break false;
            }
            poll_readable(&[readiness.as_fd()], deadline).map_err(WaitError::from)?;
        };
        // An event loop on the same descriptor may have been meant.
        if let Some(ringer) = self.inbox.ringer.get() {
            ringer.ring();
        }
        Ok(moved)
    }
}

/// When the broker is gone, all that it told has been taken in, and nobody is left to ask for more.
fn unless_broker_gone(asked: Result<(), OpenError>) -> Result<(), OpenError> {
    match asked {
        Err(OpenError::BrokerGone) => Ok(()),
        other => other,
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            // Others take a closed port's seat for dead, and with it what was held. Memory from before the
            // last resize needs no such care: nobody writes it any more.
            self.region.borrow().leave(Box::new(open));
        }
    }
}

/// The memory that the broker sends next.
fn next_memory(inbox: &Inbox, seen: &mut u64) -> Result<OwnedFd, RegionError> {
    let deadline = Instant::now().checked_add(HANDSHAKE_TIMEOUT);
    loop {
        let posted = inbox.news.posted().value();
        for news in inbox.news.take(seen) {
            match news {
                News::Region(RegionNews::Shared(memory)) => return Ok(memory),
                News::Refused(error) => return Err(error.into()),
                _ => {}
            }
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(OpenError::BrokerSilent.into());
        }
        wait(inbox.news.posted(), posted, deadline);
    }
}

fn is_same_memory(memory: &OwnedFd, region: &SharedRegion) -> Result<bool, RegionError> {
    let stat = |descriptor: std::os::fd::BorrowedFd<'_>| {
        rustix::fs::fstat(descriptor)
            .map_err(|error| SegmentError::System { call: "fstat", source: error.into() })
    };
    let (theirs, ours) = (stat(std::os::fd::AsFd::as_fd(memory)), stat(region.descriptor()));
    let (theirs, ours) = (theirs.map_err(OpenError::from)?, ours.map_err(OpenError::from)?);
    Ok((theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino))
}
