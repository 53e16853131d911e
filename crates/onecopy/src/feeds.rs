//! A subscriber's publishers, and whose turn it is to be heard. Clients and servers hear their counterparts
//! the same way.
//!
//! | file | one concept |
//! |---|---|
//! | `news.rs` | publishers that come, grow and end, as the control thread tells of them |
//! | `faults.rs` | publishers that are dropped, because they break the protocol or went on without this subscriber |
//! | `event_loop.rs` | the descriptor that an event loop waits for |
//! | `arming.rs` | the promise that it becomes readable at the next message |
//! | `sleep.rs` | going to sleep until any of them has a message |

mod arming;
mod event_loop;
mod faults;
mod news;
mod sleep;

use std::collections::VecDeque;
use std::sync::Arc;

use onecopy_memory::readers::Readers;

use self::event_loop::EventLoop;
use crate::broker::protocol::PortId;
use crate::error::ReceiveError;
use crate::feed::Feed;
use crate::inbox::{Inbox, News, PeerNews};
use crate::node::handle::NodeHandle;

/// Messages received from one publisher in a row while there are others: enough for the prefetcher to run along its
/// slots, few enough for the others to wait microseconds only.
const MESSAGES_PER_TURN: u32 = 32;

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
    /// Its counterparts that are not heard any more, with why, unless they ended by themselves.
    pub(crate) unheard: Vec<(PortId, Option<ReceiveError>)>,
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
            unheard: Vec::new(),
            event_loop: None,
            posted_value: 0,
        }
    }

    /// Where its news are left.
    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
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

    /// From now on a client or server that waits for space is told also through `counterpart`, the readers of the
    /// ring to it. `false` if it is not heard.
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
        if let Some(feed) = self.feeds.get_mut(self.current) {
            feed.swap_header(&mut self.last_header);
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
        if self.feeds.get(self.current).is_some_and(Feed::is_exhausted) {
            self.forget_current(None);
        } else {
            self.current += 1;
        }
        if self.current >= self.feeds.len() {
            self.current = 0;
        }
    }

    /// Lets go of the current publisher: nothing of it is heard any more. `fault` is why, unless it has ended.
    fn forget_current(&mut self, fault: Option<&ReceiveError>) {
        let mut feed = self.feeds.swap_remove(self.current);
        if let Some(peer) = feed.from {
            self.unheard.push((peer, fault.cloned()));
        }
        if let Some(event_loop) = &self.event_loop {
            feed.bell.take_down(&event_loop.readiness);
        }
        self.changes += 1;
        self.lost_with_the_gone = self.lost_with_the_gone.saturating_add(feed.reader.lost());
        if self.current >= self.feeds.len() {
            self.current = 0;
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
