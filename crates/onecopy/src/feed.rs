//! A subscriber's publishers: for each the reader of its ring, and how this subscriber is woken by it.

mod doorbell;
mod event_loop;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use onecopy_memory::layout::{INLINE_BYTES_MAX, LINE_BYTES};
use onecopy_memory::readers::Readers;
use onecopy_memory::ring::HeldChunk;
use onecopy_memory::ring::{MessageParts, Received, RingFault, RingReader};
use onecopy_memory::sync::Futex;
use onecopy_memory::wait::Doorbell;

use self::doorbell::DOORBELLS_MAX;
use self::event_loop::EventLoop;
use crate::broker::protocol::{PortId, Route};
use crate::error::{ReceiveError, WaitError};
use crate::inbox::{Inbox, NewFeed, News, PeerNews};
use crate::node::handle::NodeHandle;
use crate::sleep::Sleeper;

/// Messages received from one publisher in a row while there are others: enough for the prefetcher to run along its
/// slots, few enough for the others to wait microseconds only.
const MESSAGES_PER_TURN: u32 = 32;

/// One publisher, as a subscriber hears it.
#[derive(Debug)]
pub(crate) struct Feed {
    publisher: PortId,
    /// The client or server that it is, if this is what subscribes here.
    pub(crate) from: Option<PortId>,
    pub(crate) reader: RingReader,
    /// Bytes of the user header of this publisher's messages.
    header_bytes: usize,
    pub(crate) accepts_any: bool,
    /// The user's header of the last message, where any type is taken.
    any_header: Vec<u8>,
    gone: bool,
    /// The next message lies in a segment that has not arrived yet.
    starved: bool,
    announced: Announced,
    doorbell: Option<Doorbell>,
    /// The doorbell was rung once, as every publisher does when it gets one: so it got there.
    has_rung: bool,
    /// How many more doorbells it may have.
    doorbells_left: u8,
    /// The user was told that it has none.
    is_known_deaf: bool,
    /// Value of the ring's wake word to sleep with.
    wake_value: u32,
}

/// What the publisher knows of how this reader sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announced {
    Nothing,
    Futex,
    /// It was sent the other half of the doorbell, which may have got lost on its way.
    Doorbell,
    /// It has closed its doorbells, because it ends or is broken. It is looked at whenever somebody looks.
    NoMore,
}

impl Feed {
    pub(crate) fn chunk_header_bytes(&self) -> usize {
        self.header_bytes.next_multiple_of(LINE_BYTES)
    }

    /// Takes the user's header from the start of a chunk that has room for it.
    pub(crate) fn take_header(&mut self, chunk: &[u8]) {
        self.any_header.clear();
        self.any_header.extend_from_slice(chunk.get(..self.header_bytes).unwrap_or_default());
    }

    /// Whether there is something to receive, or the end of it to be noticed.
    fn is_ready(&self) -> bool {
        self.gone || (self.reader.is_ready() && !self.starved)
    }

    /// Receives with lengths known only at run time; a header of unknown type goes into `any_header`.
    pub(crate) fn receive_any(
        &mut self,
        header: &mut [u8],
        payload: &mut [u8],
        chunk: &mut Option<HeldChunk>,
    ) -> Result<Received, RingFault> {
        if !self.accepts_any {
            return self.reader.receive(&mut MessageParts { header, payload, exact: false, chunk });
        }
        self.any_header.resize(self.header_bytes.min(INLINE_BYTES_MAX), 0);
        let header = &mut self.any_header[..];
        self.reader.receive(&mut MessageParts { header, payload, exact: false, chunk })
    }
}

/// All publishers of a subscriber.
#[derive(Debug)]
pub(crate) struct Feeds {
    node: Arc<NodeHandle>,
    port: PortId,
    inbox: Arc<Inbox>,
    seen: u64,
    feeds: Vec<Feed>,
    /// Whose turn it is.
    current: usize,
    /// Messages that the current publisher has had in its turn.
    turn_messages: u32,
    lost_with_the_gone: u64,
    /// How often a feed came or went.
    changes: u64,
    errors: Vec<ReceiveError>,
    /// The user's header of the message received last, where any type is taken.
    pub(crate) last_header: Vec<u8>,
    /// For the client or server that these feeds are the feeds of.
    pub(crate) peer_news: VecDeque<PeerNews>,
    event_loop: Option<EventLoop>,
    posted_value: u32,
}

impl Feeds {
    pub(crate) fn new(node: Arc<NodeHandle>, port: PortId, inbox: Arc<Inbox>) -> Self {
        Self {
            node,
            port,
            inbox,
            seen: 0,
            feeds: Vec::new(),
            current: 0,
            turn_messages: 0,
            lost_with_the_gone: 0,
            changes: 0,
            errors: Vec::new(),
            last_header: Vec::new(),
            peer_news: VecDeque::new(),
            event_loop: None,
            posted_value: 0,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.feeds.len()
    }

    #[inline]
    pub(crate) fn current(&mut self) -> Option<&mut Feed> {
        self.feeds.get_mut(self.current)
    }

    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.node.is_forked()
    }

    /// Whether there is a feed of this client or server.
    pub(crate) fn hears(&self, peer: PortId) -> bool {
        self.feeds.iter().any(|feed| feed.from == Some(peer))
    }

    /// Tells a client or server that waits for this side to take what it sends that it may go on.
    pub(crate) fn made_space(&self, peer: PortId) {
        if let Some(feed) = self.feeds.iter().find(|feed| feed.from == Some(peer)) {
            feed.reader.made_space();
        }
    }

    /// From now on a client or server that waits for space is told also through `counterpart`, the readers of the ring to it.
    /// `false` if it is not heard.
    pub(crate) fn ring_on_space(&self, peer: PortId, counterpart: &Arc<Readers>) -> bool {
        let feed = self.feeds.iter().find(|feed| feed.from == Some(peer));
        if let Some(feed) = feed {
            feed.reader.ring_on_space(counterpart);
        }
        feed.is_some()
    }

    /// Moves on whenever the answer to [`Self::hears`] may be another.
    #[inline]
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn lost(&self) -> u64 {
        let lost = self.feeds.iter().map(|feed| feed.reader.lost());
        // Each is what its publisher makes us believe.
        lost.fold(self.lost_with_the_gone, u64::saturating_add)
    }

    /// Keeps the header of the current publisher's message, before it is another's turn.
    pub(crate) fn keep_header(&mut self) {
        if let Some(feed) = self.feeds.get_mut(self.current)
            && feed.accepts_any
        {
            std::mem::swap(&mut self.last_header, &mut feed.any_header);
        }
    }

    /// A message was received: a publisher that always has another must not keep the others from being heard.
    #[inline]
    pub(crate) fn received(&mut self) {
        if self.feeds.len() > 1 {
            self.turn_messages += 1;
            if self.turn_messages >= MESSAGES_PER_TURN {
                self.turn();
            }
        }
    }

    /// The current publisher has nothing, or had its turn: on to the next, and forgets one that has ended.
    #[inline]
    pub(crate) fn turn(&mut self) {
        self.turn_messages = 0;
        if self
            .feeds
            .get(self.current)
            .is_some_and(|feed| feed.gone && (feed.starved || !feed.reader.is_ready()))
        {
            self.forget_current();
        } else {
            self.current += 1;
        }
        if self.current >= self.feeds.len() {
            self.current = 0;
        }
    }

    /// Whether [`Self::refresh`] has something to take in.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.inbox.news.has_news(self.seen) || !self.errors.is_empty()
    }

    /// Keeps an error for the next [`Self::refresh`]: there is something else to return now.
    pub(crate) fn tell_later(&mut self, error: ReceiveError) {
        self.errors.push(error);
    }

    /// Takes news in, if there is any.
    #[inline]
    pub(crate) fn refresh(&mut self) -> Result<(), ReceiveError> {
        if self.inbox.news.has_news(self.seen) || self.is_armed() || !self.errors.is_empty() {
            return self.take_news();
        }
        if self.node.is_forked() {
            return Err(ReceiveError::Forked);
        }
        Ok(())
    }

    #[cold]
    fn take_news(&mut self) -> Result<(), ReceiveError> {
        if self.node.is_forked() {
            return Err(ReceiveError::Forked);
        }
        self.disarm();
        for news in self.inbox.news.take(&mut self.seen) {
            if let Err(error) = self.take_one(news) {
                self.errors.push(error);
            }
        }
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors.remove(0)) }
    }

    fn take_one(&mut self, news: News) -> Result<(), ReceiveError> {
        match news {
            News::Attached(NewFeed { publisher, from, reader, header_bytes, accepts_any }) => {
                self.feeds.push(Feed {
                    publisher,
                    from,
                    reader,
                    header_bytes,
                    accepts_any,
                    any_header: Vec::new(),
                    gone: false,
                    starved: false,
                    announced: Announced::Nothing,
                    doorbell: None,
                    has_rung: false,
                    doorbells_left: DOORBELLS_MAX,
                    is_known_deaf: false,
                    wake_value: 0,
                });
                self.changes += 1;
            }
            News::Segment { publisher, index, replaced, descriptor } => {
                if let Some(position) = self.feeds.iter().position(|feed| feed.publisher == publisher) {
                    let feed = &mut self.feeds[position];
                    feed.starved = false;
                    feed.reader.forget_segments(replaced);
                    if let Err(error) = feed.reader.add_segment(index, descriptor) {
                        self.current = position;
                        return Err(self.drop_because(&error.to_string()));
                    }
                }
            }
            News::MemoryLost { publisher, reason } => {
                // Whatever it publishes next may lie in there, and a reliable publisher would wait for us to read it.
                if let Some(position) = self.feeds.iter().position(|feed| feed.publisher == publisher) {
                    self.current = position;
                    self.forget_current();
                }
                return Err(ReceiveError::MemoryLost(reason));
            }
            News::Gone { publisher } => {
                if let Some(feed) = self.feeds.iter_mut().find(|feed| feed.publisher == publisher) {
                    feed.gone = true;
                }
            }
            News::Peer(news) => self.peer_news.push_back(news),
            News::Region(_) => {}
            News::Refused(error) => return Err(error),
            News::Evicted(reason) => {
                // The publishers do not look at what we hold any more, so what they wrote may change under our eyes.
                while !self.feeds.is_empty() {
                    self.forget_current();
                }
                return Err(ReceiveError::Evicted(reason));
            }
        }
        Ok(())
    }

    /// The current publisher's reader found neither a message nor nothing.
    #[cold]
    pub(crate) fn stumble(&mut self, found: Result<Received, RingFault>) -> Result<(), ReceiveError> {
        match found {
            Ok(Received::SegmentMissing { .. }) => {
                if let Some(feed) = self.current() {
                    feed.starved = true;
                }
                Ok(())
            }
            Ok(_) => Err(self.drop_misfit()),
            Err(RingFault::Hold(error)) => Err(ReceiveError::TooManyHeld(error)),
            Err(RingFault::Evicted { missed }) => Err(self.drop_evicted(missed)),
            Err(fault) => Err(self.drop_because(&fault.to_string())),
        }
    }

    pub(crate) fn drop_misfit(&mut self) -> ReceiveError {
        self.drop_because("a message has not the size of the topic's payload")
    }

    /// A client or server sent what makes no sense.
    pub(crate) fn drop_peer(&mut self, peer: PortId, reason: &str) -> ReceiveError {
        if let Some(index) = self.feeds.iter().position(|feed| feed.from == Some(peer)) {
            self.current = index;
        }
        self.drop_because(reason)
    }

    /// The current publisher has gone on without this subscriber.
    fn drop_evicted(&mut self, missed: u64) -> ReceiveError {
        let Some(Feed { publisher, reader, .. }) = self.feeds.get(self.current) else {
            return self.drop_misfit();
        };
        let error = evicted(*publisher, reader, missed);
        self.forget_current();
        error
    }

    fn drop_because(&mut self, reason: &str) -> ReceiveError {
        let publisher =
            self.feeds.get(self.current).map(|feed| feed.publisher.to_string()).unwrap_or_default();
        if self.current < self.feeds.len() {
            self.forget_current();
        }
        ReceiveError::Publisher { publisher, reason: reason.to_owned() }
    }

    fn forget_current(&mut self) {
        let mut feed = self.feeds.swap_remove(self.current);
        if let Some(event_loop) = &self.event_loop {
            feed.take_down_doorbell(&event_loop.readiness);
        }
        self.changes += 1;
        self.lost_with_the_gone = self.lost_with_the_gone.saturating_add(feed.reader.lost());
        if self.current >= self.feeds.len() {
            self.current = 0;
        }
    }
}

impl Sleeper for Feeds {
    fn words(&self) -> usize {
        self.feeds.len() + 1
    }

    fn announce(&mut self, on_doorbell: bool) -> Result<(), WaitError> {
        // A child must not speak for its parent, nor write into the parent's reader state.
        if self.node.is_forked() {
            return Err(ReceiveError::Forked.into());
        }
        if on_doorbell {
            self.make_event_loop()?;
        }
        for feed in &mut self.feeds {
            if let (true, Some(event_loop)) = (on_doorbell, &self.event_loop) {
                match feed.hand_out_doorbell(&self.node, self.port, &event_loop.readiness) {
                    // The news that say why are here: there is something to do, and no sleep.
                    Err(WaitError::NoDoorbell) if self.node.was_refused() => return Ok(()),
                    handed_out => handed_out?,
                }
            } else if feed.announced == Announced::Nothing {
                let route = Route { publisher: feed.publisher, subscriber: self.port };
                self.node.may_sleep(route, None)?;
                feed.announced = Announced::Futex;
            }
        }
        Ok(())
    }

    fn prepare(&mut self, on_doorbell: bool) {
        if let (true, Some(event_loop)) = (on_doorbell, &self.event_loop) {
            // An old ring would end this sleep at once. News that rang it is seen by the look that follows.
            event_loop.inbox_bell.was_rung();
        }
        self.posted_value = self.inbox.news.posted().value();
        for feed in &mut self.feeds {
            feed.wake_value = feed.reader.prepare_sleep(on_doorbell);
        }
    }

    fn is_ready(&self) -> bool {
        self.inbox.news.has_news(self.seen)
            || self.feeds.iter().any(Feed::is_ready)
            || !self.errors.is_empty()
    }

    fn futexes<'a>(&'a self, futexes: &mut Vec<(&'a Futex, u32)>) {
        futexes.push((self.inbox.news.posted(), self.posted_value));
        futexes.extend(self.feeds.iter().map(|feed| (feed.reader.wake_word(), feed.wake_value)));
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.event_loop.as_ref().map(|event_loop| event_loop.readiness.as_fd())
    }

    fn cancel(&mut self) {
        self.say_awake();
        // The user's event loop was promised that the descriptor becomes readable, and this wait has taken the rings.
        if self.event_loop.as_ref().is_some_and(|event_loop| event_loop.for_user) {
            self.ring_own_bell();
        }
    }
}

impl Drop for Feeds {
    fn drop(&mut self) {
        self.node.close(self.port);
        if self.node.is_forked() {
            return;
        }
        // Rings to counterparts that nobody has taken in yet. Nothing comes any more, since the port is closed.
        let unseen = self.inbox.news.take(&mut self.seen).into_iter().filter_map(|news| match news {
            News::Peer(news) => Some(news),
            _ => None,
        });
        for news in std::mem::take(&mut self.peer_news).into_iter().chain(unseen) {
            if let PeerNews::Met { publisher, .. } = news {
                self.node.close(publisher);
            }
        }
    }
}

/// What a subscriber is told of a publisher that went on without it.
pub(crate) fn evicted(publisher: PortId, reader: &RingReader, missed: u64) -> ReceiveError {
    let after = reader.geometry().evict_after().unwrap_or_default();
    ReceiveError::EvictedByPublisher { publisher: publisher.to_string(), after, missed }
}
