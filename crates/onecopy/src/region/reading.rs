//! Reading a region with a single writer. The memory comes from the writer through the broker, as a
//! publisher's ring does; when the writer takes more room, or another becomes the writer, a further memory
//! comes, and is read from then on.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use onecopy_memory::fork::ForkGuard;
use onecopy_memory::region::RegionReader;
use onecopy_memory::sync::{Futex, full_barrier};
use onecopy_memory::wait::Doorbell;

use crate::broker::protocol::{PortId, Route};
use crate::error::{ReceiveError, WaitError};
use crate::inbox::{Inbox, News, RegionNews};
use crate::node::handle::NodeHandle;
use crate::readiness::Readiness;
use crate::sleep::{self, Sleeper};

/// A reader's side of a region.
pub(super) struct Reading {
    node: Arc<NodeHandle>,
    port: PortId,
    inbox: Arc<Inbox>,
    seen: u64,
    /// The node's mark when news were taken last, and where it is now.
    mark: u64,
    fork: Arc<ForkGuard>,
    source: Option<Source>,
    /// The version that a wait waits to move.
    watched: u64,
    event_loop: Option<EventLoop>,
    posted_value: u32,
    wake_value: u32,
}

/// Where values come from.
struct Source {
    /// Absent once its writer has ended: the value stays, and nobody changes it.
    publisher: Option<PortId>,
    reader: RegionReader,
    announced: bool,
    doorbell: Option<Doorbell>,
}

struct EventLoop {
    readiness: Readiness,
    inbox_bell: Doorbell,
    for_user: bool,
}

impl Reading {
    pub(super) fn new(node: Arc<NodeHandle>, port: PortId, inbox: Arc<Inbox>) -> Self {
        Self {
            node,
            port,
            fork: Arc::clone(&inbox.fork),
            inbox,
            seen: 0,
            mark: 0,
            source: None,
            watched: 0,
            event_loop: None,
            posted_value: 0,
            wake_value: 0,
        }
    }

    /// Whether something may have come from the broker, or this is a forked child: [`Self::take_news`] tells.
    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.fork.mark() != self.mark
    }

    /// The reader, as of the news taken last; `None` if nobody has written the region yet.
    #[inline]
    pub(super) fn known_reader(&self) -> Option<&RegionReader> {
        self.source.as_ref().map(|source| &source.reader)
    }

    /// Takes in what came from the broker, and gives the reader.
    pub(super) fn reader(&mut self) -> Result<Option<&RegionReader>, ReceiveError> {
        if self.has_news() {
            self.take_news()?;
        }
        Ok(self.known_reader())
    }

    /// The writer's port, if there is one.
    pub(super) fn writer(&self) -> Option<PortId> {
        self.source.as_ref()?.publisher
    }

    #[cold]
    pub(super) fn take_news(&mut self) -> Result<(), ReceiveError> {
        if self.node.is_forked() {
            return Err(ReceiveError::Forked);
        }
        // Before the news: what is posted meanwhile moves it again.
        self.mark = self.fork.mark();
        let mut result = Ok(());
        for news in self.inbox.news.take(&mut self.seen) {
            match news {
                News::Region(RegionNews::Value { publisher, reader }) => self.take_source(publisher, reader),
                News::Gone { publisher } if self.writer() == Some(publisher) => self.lose_writer(),
                News::Refused(error) => result = Err(error),
                News::Evicted(reason) => {
                    self.source = None;
                    result = Err(ReceiveError::Evicted(reason));
                }
                _ => {}
            }
        }
        result
    }

    fn take_source(&mut self, publisher: Option<PortId>, reader: RegionReader) {
        // A writer that takes more room has two memories for a moment, and the values go on in the newer one. What was
        // left has no writer, whatever somebody does to it meanwhile.
        let is_newer = self.source.as_ref().is_none_or(|source| {
            let begins = source.publisher.is_none() && publisher.is_some();
            begins || reader.version() >= source.reader.version()
        });
        if is_newer {
            self.source = Some(Source { publisher, reader, announced: false, doorbell: None });
            if self.event_loop.as_ref().is_some_and(|event_loop| event_loop.for_user) {
                self.ring_own_bell();
            }
        }
    }

    fn lose_writer(&mut self) {
        if let Some(source) = &mut self.source {
            source.publisher = None;
            source.doorbell = None;
        }
    }

    /// Sleeps until `done`, or the deadline; says whether it is done.
    fn wait_until(
        &mut self,
        deadline: Option<Instant>,
        done: impl Fn(&Self) -> bool,
    ) -> Result<bool, WaitError> {
        loop {
            self.reader()?;
            if done(self) {
                return Ok(true);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(false);
            }
            sleep::until_ready(&mut [self], deadline)?;
        }
    }

    /// Sleeps until the broker has told what is `done`, or the deadline. The value may move meanwhile.
    pub(super) fn wait_for_news(
        &mut self,
        deadline: Option<Instant>,
        done: impl Fn(&Self) -> bool,
    ) -> Result<bool, WaitError> {
        loop {
            self.watched = self.source.as_ref().map_or(0, |source| source.reader.version());
            let is_awake = self.wait_until(deadline, |reading| done(reading) || reading.has_moved())?;
            if !is_awake || done(self) {
                return Ok(is_awake);
            }
        }
    }

    /// Sleeps until the version is another than `version`; `false` after the deadline.
    pub(super) fn wait_for_change(
        &mut self,
        version: u64,
        deadline: Option<Instant>,
    ) -> Result<bool, WaitError> {
        self.watched = version;
        self.wait_until(deadline, Self::has_moved)
    }

    /// Whether there is another version than the one watched.
    pub(super) fn has_moved(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.reader.version() != self.watched)
    }

    /// A descriptor that becomes readable when the version moves on from `version`.
    pub(super) fn readiness(&mut self, version: u64) -> Result<Readiness, WaitError> {
        self.watched = version;
        self.announce(true)?;
        let event_loop = self.event_loop.as_mut().expect("announcing a doorbell makes the event loop");
        event_loop.for_user = true;
        let readiness = event_loop.readiness.try_clone()?;
        self.arm(version)?;
        Ok(readiness)
    }

    /// Makes the descriptor become readable when the version moves on from `version`.
    pub(super) fn arm(&mut self, version: u64) -> Result<(), WaitError> {
        if !self.event_loop.as_ref().is_some_and(|event_loop| event_loop.for_user) {
            return Ok(());
        }
        self.watched = version;
        // The writer may be another than last time.
        self.announce(true)?;
        self.prepare(true);
        if let Some(source) = &self.source
            && let Some(doorbell) = &source.doorbell
        {
            doorbell.was_rung();
        }
        full_barrier();
        if self.is_ready() {
            self.ring_own_bell();
        }
        Ok(())
    }

    fn ring_own_bell(&self) {
        if let Some(ringer) = self.inbox.ringer.get() {
            ringer.ring();
        }
    }
}

impl Sleeper for Reading {
    fn words(&self) -> usize {
        2
    }

    fn announce(&mut self, on_doorbell: bool) -> Result<(), WaitError> {
        if self.node.is_forked() {
            return Err(ReceiveError::Forked.into());
        }
        if on_doorbell && self.event_loop.is_none() {
            let (inbox_bell, ringer) = Doorbell::pair()?;
            let readiness = Readiness::new()?;
            readiness.add(inbox_bell.as_fd())?;
            // Only this reader sets it, and only here.
            let _ = self.inbox.ringer.set(ringer);
            self.event_loop = Some(EventLoop { readiness, inbox_bell, for_user: false });
        }
        let Some(Source { publisher: Some(publisher), announced, doorbell, .. }) = &mut self.source else {
            return Ok(());
        };
        let route = Route { publisher: *publisher, subscriber: self.port };
        if let (true, Some(event_loop), None) = (on_doorbell, &self.event_loop, &doorbell) {
            let (bell, ringer) = Doorbell::pair()?;
            event_loop.readiness.add(bell.as_fd())?;
            self.node.may_sleep(route, Some(ringer))?;
            *doorbell = Some(bell);
        } else if !*announced {
            self.node.may_sleep(route, None)?;
        }
        *announced = true;
        Ok(())
    }

    fn prepare(&mut self, on_doorbell: bool) {
        if let (true, Some(event_loop)) = (on_doorbell, &self.event_loop) {
            // An old ring would end this sleep at once. News that rang it is seen by the look that follows.
            event_loop.inbox_bell.was_rung();
        }
        self.posted_value = self.inbox.news.posted().value();
        if let Some(source) = &self.source {
            self.wake_value = source.reader.prepare_sleep(on_doorbell);
        }
    }

    fn is_ready(&self) -> bool {
        self.inbox.news.has_news(self.seen) || self.has_moved()
    }

    fn futexes<'a>(&'a self, futexes: &mut Vec<(&'a Futex, u32)>) {
        futexes.push((self.inbox.news.posted(), self.posted_value));
        if let Some(source) = &self.source {
            futexes.push((source.reader.wake_word(), self.wake_value));
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.event_loop.as_ref().map(|event_loop| event_loop.readiness.as_fd())
    }

    fn cancel(&mut self) {
        if let Some(source) = &self.source {
            source.reader.cancel_sleep();
            if let Some(doorbell) = &source.doorbell {
                doorbell.was_rung();
            }
        }
        if let Some(event_loop) = &self.event_loop {
            event_loop.inbox_bell.was_rung();
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.node.close(self.port);
    }
}

#[cfg(test)]
mod tests {
    use onecopy_memory::hold::ReaderTable;
    use onecopy_memory::layout::SegmentKind;
    use onecopy_memory::region::{RegionGeometry, RegionWriter};
    use onecopy_memory::segment::View;

    use super::*;
    use crate::Node;

    fn reader_at(version: u64) -> RegionReader {
        let writer = RegionWriter::create(RegionGeometry::new(8, 8).unwrap(), 0, version, &[0; 8]).unwrap();
        let view =
            View::open(writer.descriptor().try_clone_to_owned().unwrap(), SegmentKind::Region).unwrap();
        RegionReader::open(&view, &ReaderTable::create().unwrap(), Box::new(())).unwrap()
    }

    #[test]
    fn a_writer_goes_before_what_was_left_and_its_newer_memory_before_its_older_one() {
        let directory = tempfile::tempdir().unwrap();
        let node = Node::builder().directory(directory.path()).open().unwrap();
        let node = node.region::<u64>("r").unwrap().node;
        let port = node.new_port();
        let (inbox, _) = node.open_region_reader(port, "r".to_owned(), None).unwrap();
        let mut reading = Reading::new(Arc::clone(&node), port, inbox);
        let seen = |reading: &Reading| (reading.writer(), reading.known_reader().map(RegionReader::version));
        let [first, second] = [1, 2].map(|_| node.new_port());
        // Somebody went on writing it.
        reading.take_source(None, reader_at(100));
        assert_eq!(seen(&reading), (None, Some(100)));
        reading.take_source(Some(first), reader_at(5));
        assert_eq!(seen(&reading), (Some(first), Some(5)));
        reading.take_source(Some(second), reader_at(7));
        reading.take_source(Some(first), reader_at(6));
        assert_eq!(seen(&reading), (Some(second), Some(7)));
        reading.lose_writer();
        reading.take_source(None, reader_at(6));
        assert_eq!(seen(&reading), (None, Some(7)));
    }
}
