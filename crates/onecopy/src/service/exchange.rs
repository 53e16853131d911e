//! The client's side of all its calls, whatever their types: its links to servers, its calls, and what comes back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::calls::{Call, Calls, Ending, Retry, index_of};
use super::error::CallError;
use super::header::{ONE_WAY, RequestHeader, ResponseHeader, Status, now_ns};
use super::link::Link;
use super::mail::Mail;
use super::outgoing;
use crate::broker::protocol::{PortId, ServiceType};
use crate::content::Content;
use crate::error::WaitError;
use crate::feed::Feeds;
use crate::inbox::PeerNews;
use crate::limits::{FAILURE_TEXT_BYTES_MAX, UNREAD_ANSWERS_MAX};
use crate::node::handle::NodeHandle;
use crate::sleep;

/// What a client has open.
pub(super) struct Exchange {
    node: Arc<NodeHandle>,
    pub(super) mail: Mail<ResponseHeader>,
    links: Vec<Link>,
    calls: Calls,
    /// Which server gets the next call, among those with equally little to do.
    turn: usize,
    /// Every server that was there at first has been named.
    all_met: bool,
    /// What the service exchanges, known from its servers.
    pub(super) payload: Option<ServiceType>,
    budget_bytes: usize,
    /// A call with as many answers that were not taken as are kept.
    full: Option<u64>,
}

/// How one call is to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    /// [`RequestHeader::deadline`].
    pub(super) deadline: u64,
    pub(super) one_way: bool,
    pub(super) retries: u32,
}

impl Exchange {
    pub(super) fn new(node: Arc<NodeHandle>, feeds: Feeds, budget_bytes: usize) -> Self {
        let (links, calls) = Default::default();
        let mail = Mail::new(feeds);
        Self { node, mail, links, calls, turn: 0, all_met: false, payload: None, budget_bytes, full: None }
    }

    /// Waits until every server that was there can be called.
    pub(super) fn settle(&mut self, timeout: Duration) -> Result<(), WaitError> {
        self.sleep_until(timeout, |exchange| {
            exchange.all_met && exchange.links.iter().all(|link| exchange.is_usable(link))
        })
        .map(drop)
    }

    /// Waits until there is a server to call; `false` if none came in time.
    pub(super) fn wait_for_server(&mut self, timeout: Duration) -> Result<bool, WaitError> {
        self.sleep_until(timeout, |exchange| exchange.servers() > 0)
    }

    pub(super) fn servers(&self) -> usize {
        self.links.iter().filter(|link| self.is_usable(link)).count()
    }

    fn sleep_until(&mut self, timeout: Duration, done: impl Fn(&Self) -> bool) -> Result<bool, WaitError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            self.take_news()?;
            if done(self) {
                return Ok(true);
            }
            if !sleep::until_ready(&mut [&mut self.mail.feeds], deadline)? {
                self.take_news()?;
                return Ok(done(self));
            }
        }
    }

    fn is_usable(&self, link: &Link) -> bool {
        link.hears && !link.parted && self.mail.feeds.hears(link.peer)
    }

    /// Takes in who came and who ended. Answers that a server gave before it ended were received before.
    pub(super) fn take_news(&mut self) -> Result<(), WaitError> {
        self.mail.feeds.refresh()?;
        while let Some(news) = self.mail.feeds.peer_news.pop_front() {
            match news {
                PeerNews::Met { peer, pid, payload, publisher, writer } => {
                    self.payload = Some(payload);
                    let link = Link::new(&self.node, peer, pid, publisher, *writer, self.budget_bytes);
                    self.links.push(link.with_interest());
                }
                PeerNews::Hears { publisher } => {
                    if let Some(link) = self.links.iter_mut().find(|link| link.sender.port == publisher) {
                        link.hears = true;
                    }
                }
                PeerNews::AllMet => self.all_met = true,
                PeerNews::Parted { peer } => {
                    if let Some(link) = self.links.iter_mut().find(|link| link.peer == peer) {
                        link.parted = true;
                    }
                }
                PeerNews::OutOfReach { peer, reason } => {
                    tracing::warn!(%peer, %reason, "a server can't be called");
                }
            }
        }
        self.let_go_of_the_dead();
        Ok(())
    }

    fn let_go_of_the_dead(&mut self) {
        let feeds = &self.mail.feeds;
        for link in &mut self.links {
            link.was_heard |= feeds.hears(link.peer);
        }
        let is_over = |link: &mut Link| (link.parted || link.was_heard) && !feeds.hears(link.peer);
        let dead: Vec<Link> = self.links.extract_if(.., is_over).collect();
        for link in dead {
            let ids: Vec<u64> = self.calls.waiting_for(link.peer).map(|call| call.id).collect();
            for id in ids {
                if !self.retry(id) {
                    self.end(id, Ending::PeerDied { pid: link.pid });
                }
            }
        }
    }

    /// Makes a call again that its server did not answer; `false` if that may not or can't be.
    fn retry(&mut self, id: u64) -> bool {
        let Some(call) = self.calls.get(id) else { return false };
        // Part of a stream was delivered: a second server would begin it again.
        if !call.unread.is_empty() {
            return false;
        }
        let deadline = call.deadline;
        let Some(Retry { payload, left: left @ 1.. }) = &mut call.retry else { return false };
        *left -= 1;
        let payload = std::mem::take(payload);
        let Some(index) = self.choose() else { return false };
        let link = &mut self.links[index];
        let header = announce(link, id, Order { deadline, one_way: false, retries: 0 });
        let sent = outgoing::send::<[u8], _>(&mut link.sender, &header, &payload).is_ok();
        let server = link.peer;
        if let Some(call) = self.calls.get(id) {
            call.server = server;
            call.retry = call.retry.take().map(|retry| Retry { payload, ..retry });
        }
        sent
    }

    /// The link with the fewest calls waiting, for the next call.
    pub(super) fn choose(&mut self) -> Option<usize> {
        let count = self.links.len();
        if count == 1 {
            return self.is_usable(&self.links[0]).then_some(0);
        }
        self.turn = self.turn.wrapping_add(1);
        let candidates = (0..count).map(|step| (self.turn.wrapping_add(step)) % count);
        let usable = candidates.filter(|index| self.is_usable(&self.links[*index]));
        usable.min_by_key(|index| self.calls.waiting_for(self.links[*index].peer).count())
    }

    pub(super) fn link(&mut self, index: usize) -> &mut Link {
        &mut self.links[index]
    }

    /// The sender to a server that was chosen earlier, if that is still there.
    pub(super) fn link_to(&mut self, server: PortId) -> Option<usize> {
        self.links.iter().position(|link| link.peer == server)
    }

    /// Notes a new call of the server at `index`, and returns what goes before its request. The request must follow, or
    /// [`Self::forget`].
    pub(super) fn begin(
        &mut self,
        index: usize,
        order: Order,
        payload: &[u8],
    ) -> Result<RequestHeader, CallError> {
        let link = &mut self.links[index];
        if order.one_way {
            return Ok(RequestHeader { id: 0, deadline: order.deadline, interest: 0, flags: ONE_WAY });
        }
        let id = self.calls.next_id()?;
        let retry = (order.retries > 0).then(|| Retry { payload: payload.to_vec(), left: order.retries });
        self.calls.insert(Call {
            id,
            server: link.peer,
            deadline: order.deadline,
            retry,
            ending: None,
            unread: VecDeque::new(),
        });
        Ok(announce(link, id, order))
    }

    /// The next answer to a call, if it is there.
    pub(super) fn take(&mut self, id: u64) -> Result<Option<Content<ResponseHeader>>, CallError> {
        loop {
            let call = self.calls.get(id).ok_or(CallError::Finished)?;
            if let Some(content) = call.unread.pop_front() {
                self.full = self.full.filter(|full| *full != id);
                return Ok(Some(content));
            }
            if let Some(ending) = call.ending.clone() {
                return Err(ending.into());
            }
            if call.deadline != 0 && now_ns() >= call.deadline {
                self.end(id, Ending::DeadlinePassed);
                continue;
            }
            if self.full.is_some() {
                return Err(CallError::Blocked { unread: UNREAD_ANSWERS_MAX });
            }
            let Some(header) = self.receive()? else {
                self.take_news()?;
                // It may have ended by that.
                match self.calls.get(id) {
                    Some(call) if call.ending.is_none() && call.unread.is_empty() => return Ok(None),
                    _ => continue,
                }
            };
            if let Some(content) = self.sort(header, id) {
                return Ok(Some(content));
            }
        }
    }

    fn receive(&mut self) -> Result<Option<(ResponseHeader, Option<PortId>)>, CallError> {
        Ok(self.mail.next(|feed, content| (content.header, feed.from))?)
    }

    /// Hands the message received last to its call; returns it if that is `wanted` and it is an answer.
    fn sort(
        &mut self,
        (header, from): (ResponseHeader, Option<PortId>),
        wanted: u64,
    ) -> Option<Content<ResponseHeader>> {
        let content = &mut self.mail.content;
        // A call that is over or not this server's: nobody's.
        let call =
            self.calls.get(header.id).filter(|call| Some(call.server) == from && call.ending.is_none());
        let Some(call) = call else {
            content.held = None;
            return None;
        };
        let ending = match header.status() {
            Some(Status::Item) => None,
            Some(Status::Last | Status::End) => Some(Ending::Finished),
            Some(Status::Failed) => Some(Ending::Failed(failure_text(content.bytes()))),
            Some(Status::Unanswered) | None => Some(Ending::Unanswered),
            Some(Status::TooLate) => Some(Ending::DeadlinePassed),
        };
        let is_answer = matches!(header.status(), Some(Status::Item | Status::Last));
        let content = content.take();
        let mut answer = is_answer.then_some(content);
        if header.id != wanted {
            call.unread.extend(answer.take());
            if call.unread.len() >= UNREAD_ANSWERS_MAX {
                self.full = Some(header.id);
            }
            // Others may wait for the descriptor, and what made it readable has been taken.
            self.mail.feeds.ring_own_bell();
        }
        if let Some(ending) = ending {
            self.end(header.id, ending);
        }
        answer
    }

    /// Notes how a call ended; its server need not go on.
    pub(super) fn end(&mut self, id: u64, ending: Ending) {
        let Some(call) = self.calls.get(id) else { return };
        call.ending.get_or_insert(ending);
        let server = call.server;
        self.lose_interest(server, id);
    }

    /// The call's handle is gone.
    pub(super) fn forget(&mut self, id: u64) {
        if let Some(call) = self.calls.remove(id) {
            self.full = self.full.filter(|full| *full != id);
            if call.ending.is_none() {
                self.lose_interest(call.server, id);
            }
        }
    }

    fn lose_interest(&self, server: PortId, id: u64) {
        let board =
            self.links.iter().find(|link| link.peer == server).and_then(|link| link.interest.as_ref());
        if let Some(board) = board {
            board.set(index_of(id), 0);
        }
    }

    /// When a wait for this call ends at the latest.
    pub(super) fn deadline_of(&mut self, id: u64, timeout: Duration) -> Option<Instant> {
        let now = Instant::now();
        let wanted = now.checked_add(timeout);
        match self.calls.get(id).map_or(0, |call| call.deadline) {
            0 => wanted,
            deadline => {
                let left = Duration::from_nanos(deadline.saturating_sub(now_ns()));
                wanted.into_iter().chain(now.checked_add(left)).min()
            }
        }
    }
}

/// Shows the server that somebody waits, and returns what goes before the request.
fn announce(link: &Link, id: u64, order: Order) -> RequestHeader {
    let interest = link.interest.as_ref().map_or(u64::MAX, |board| {
        board.set(index_of(id), id);
        board.offset_of(index_of(id))
    });
    RequestHeader { id, deadline: order.deadline, interest, flags: 0 }
}

fn failure_text(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(FAILURE_TEXT_BYTES_MAX)];
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}
