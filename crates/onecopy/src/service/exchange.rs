//! The client's side of all its calls, whatever their types: its links to servers, its calls, and what comes back.

#[cfg(feature = "tokio")]
mod tasks;

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

#[cfg(feature = "tokio")]
use onecopy_memory::ring::SpaceWait;

use super::calls::{Call, Calls, Ending, Retry};
use super::error::CallError;
use super::header::{ONE_WAY, RequestHeader, ResponseHeader, Status, now_ns};
use super::letter::Letter;
use super::link::Link;
use super::mail::Mail;
use super::outgoing;
use super::tally::CallTally;
#[cfg(feature = "tokio")]
use super::tasks::Tasks;
use crate::broker::protocol::{PortId, ServiceType};
use crate::content::Content;
use crate::error::{LoanError, ReceiveError};
use crate::feeds::Feeds;
use crate::inbox::PeerNews;
use crate::limits::{FAILURE_TEXT_BYTES_MAX, STREAM_ANSWERS_MAX};
use crate::node::handle::NodeHandle;
use crate::payload::Payload;
use crate::sender::Sender;
use crate::sleep;

/// Answers that are received in a row before the caller gets to look at its clock.
const LOOKS_MAX: usize = 1024;

/// What a client has open.
pub(super) struct Exchange {
    node: Arc<NodeHandle>,
    pub(super) mail: Mail<ResponseHeader>,
    links: Vec<Link>,
    calls: Calls,
    tally: CallTally,
    /// Which server gets the next call, among those with equally little to do.
    turn: usize,
    /// Every server that was there at first has been named.
    all_met: bool,
    /// What the service exchanges, known from its servers.
    pub(super) payload: Option<ServiceType>,
    budget_bytes: usize,
    /// Answers were put aside for calls other than the one that is looked at.
    sorted_for_others: bool,
    /// Something may lie in the rings that nobody is going to ask for: late answers, or the end of a server.
    has_leftovers: bool,
    /// [`Feeds::changes`] when the links were brought up to date last.
    feed_changes: u64,
    types: Types,
    /// Tasks that wait for a server.
    server_wakers: Vec<Waker>,
    /// Tasks that wait for a server to take requests.
    #[cfg(feature = "tokio")]
    pub(super) for_space: Tasks<SpaceWait>,
    /// The task that receives, while it waits for something to be taken.
    #[cfg(feature = "tokio")]
    pub(super) parked: Option<Waker>,
    /// That task has not ended.
    #[cfg(feature = "tokio")]
    pub(super) has_receiver: bool,
}

/// What depends on the payloads' types.
#[derive(Debug, Clone, Copy)]
struct Types {
    /// Whether what came is a response.
    is_response: fn(&Content<ResponseHeader>) -> bool,
    /// Sends the bytes of a request.
    send: fn(&mut Sender, &RequestHeader, &[u8]) -> Result<(), LoanError>,
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
    pub(super) fn new<Req: Payload + ?Sized, Res: Payload + ?Sized>(
        node: Arc<NodeHandle>,
        port: PortId,
        feeds: Feeds,
        budget_bytes: usize,
    ) -> Self {
        let tally = CallTally::new(&node, port);
        let types = Types { is_response: Content::is::<Res>, send: outgoing::send::<Req, RequestHeader> };
        Self {
            node,
            mail: Mail::new(feeds),
            links: Vec::new(),
            calls: Calls::default(),
            tally,
            // Clients that make one call each must not all begin with the same server.
            turn: port.node.0 as usize ^ port.serial as usize,
            all_met: false,
            payload: None,
            budget_bytes,
            sorted_for_others: false,
            has_leftovers: false,
            feed_changes: 0,
            types,
            server_wakers: Vec::new(),
            #[cfg(feature = "tokio")]
            for_space: Tasks::default(),
            #[cfg(feature = "tokio")]
            parked: None,
            #[cfg(feature = "tokio")]
            has_receiver: true,
        }
    }

    /// Waits until every server that was there can be called.
    pub(super) fn settle(&mut self, timeout: Duration) -> Result<(), CallError> {
        self.sleep_until(timeout, |exchange| exchange.all_met && exchange.links.iter().all(Link::is_usable))
            .map(drop)
    }

    /// Waits until there is a server to call; `false` if none came in time.
    pub(super) fn wait_for_server(&mut self, timeout: Duration) -> Result<bool, CallError> {
        self.sleep_until(timeout, |exchange| exchange.servers() > 0)
    }

    pub(super) fn servers(&self) -> usize {
        self.links.iter().filter(|link| link.is_usable()).count()
    }

    fn sleep_until(&mut self, timeout: Duration, done: impl Fn(&Self) -> bool) -> Result<bool, CallError> {
        let deadline = Instant::now().checked_add(timeout);
        let mut in_time = true;
        loop {
            // All of it: what is left would end the sleep at once.
            self.look()?;
            if done(self) || !in_time {
                return Ok(done(self));
            }
            let woken = sleep::until_ready(&mut [&mut self.mail.feeds], deadline)?;
            in_time = woken && deadline.is_none_or(|deadline| Instant::now() < deadline);
        }
    }

    /// Learns of news, and makes sure that what nobody is going to ask for does not pile up.
    #[inline]
    pub(super) fn prepare_call(&mut self) -> Result<(), CallError> {
        if self.has_leftovers || self.mail.feeds.has_news() { self.look() } else { Ok(()) }
    }

    /// Receives what there is, for whichever calls.
    pub(super) fn look(&mut self) -> Result<(), CallError> {
        let looked = self.receive_all();
        self.keep_armed()?;
        looked
    }

    /// Others wait for the descriptor, and what made it readable has been taken.
    fn keep_armed(&mut self) -> Result<(), CallError> {
        #[cfg(feature = "tokio")]
        self.wake_for_space();
        let sorted_for_others = std::mem::take(&mut self.sorted_for_others);
        Ok(self.mail.feeds.keep_armed(sorted_for_others)?)
    }

    fn receive_all(&mut self) -> Result<(), CallError> {
        self.take_news()?;
        for _ in 0..LOOKS_MAX {
            let Some(received) = self.receive()? else {
                self.has_leftovers = false;
                return self.take_news();
            };
            self.sort(received, None);
        }
        Ok(())
    }

    /// Takes in who came and who ended. Answers that a server gave before it ended were received before.
    #[inline]
    pub(super) fn take_news(&mut self) -> Result<(), CallError> {
        while let Err(error) = self.mail.feeds.refresh() {
            self.give_up(error)?;
        }
        if !self.mail.feeds.peer_news.is_empty() || self.mail.feeds.changes() != self.feed_changes {
            self.update_links();
        }
        Ok(())
    }

    /// A server broke the protocol and is not heard any more. Its calls end with that or go to another
    /// server, and no other call is concerned. Errors that are no server's are returned.
    #[cold]
    fn give_up(&mut self, error: ReceiveError) -> Result<(), CallError> {
        if !matches!(error, ReceiveError::Publisher { .. }) {
            return Err(error.into());
        }
        tracing::warn!(%error, "a server is given up");
        self.update_links();
        Ok(())
    }

    #[cold]
    fn update_links(&mut self) {
        while let Some(news) = self.mail.feeds.peer_news.pop_front() {
            match news {
                PeerNews::Met { peer, pid, payload, publisher, writer } => {
                    self.payload = Some(payload);
                    let sender = Sender::new(Arc::clone(&self.node), publisher, *writer, self.budget_bytes);
                    self.links.push(Link::new(peer, pid, sender));
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
                    self.has_leftovers = true;
                }
                PeerNews::OutOfReach { peer, reason } => {
                    tracing::warn!(%peer, %reason, "a server can't be called");
                }
            }
        }
        let unheard = std::mem::take(&mut self.mail.feeds.unheard);
        let feeds = &self.mail.feeds;
        self.feed_changes = feeds.changes();
        for link in &mut self.links {
            link.was_heard |= unheard.iter().any(|(peer, _)| *peer == link.peer);
            link.is_heard = feeds.hears(link.peer);
            if link.is_heard && !link.was_heard {
                feeds.ring_on_space(link.peer, link.sender.writer.readers());
            }
            link.was_heard |= link.is_heard;
        }
        #[cfg(feature = "tokio")]
        self.for_space.wake_all();
        let dead: Vec<Link> = self.links.extract_if(.., |link| link.is_over()).collect();
        for link in dead {
            let fault =
                unheard.iter().find(|(peer, _)| *peer == link.peer).and_then(|(_, fault)| fault.clone());
            let ending = fault.map_or(Ending::PeerDied { pid: link.pid }, Ending::Broken);
            for id in self.calls.waiting_for(link.peer) {
                if !self.retry(id) {
                    self.end(id, ending.clone());
                }
            }
        }
        if self.servers() > 0 {
            self.server_wakers.drain(..).for_each(Waker::wake);
        }
    }

    /// Makes a call again that its server did not answer; `false` if that may not or can't be.
    fn retry(&mut self, id: u64) -> bool {
        loop {
            let Some(index) = self.choose() else { return false };
            let Some(call) = self.calls.get(id).filter(|call| !call.has_begun) else { return false };
            let Some(Retry { payload, left: left @ 1.. }) = &mut call.retry else { return false };
            *left -= 1;
            let link = &mut self.links[index];
            let header = announce(link, id, call.deadline);
            if (self.types.send)(&mut link.sender, &header, payload).is_ok() {
                call.server = link.peer;
                return true;
            }
            let server = link.peer;
            self.lose_interest(server, id, false);
        }
    }

    /// The link with the fewest calls waiting, for the next call.
    pub(super) fn choose(&mut self) -> Option<usize> {
        let count = self.links.len();
        if count == 1 {
            return self.links[0].is_usable().then_some(0);
        }
        self.turn = self.turn.wrapping_add(1);
        let candidates = (0..count).map(|step| (self.turn.wrapping_add(step)) % count);
        let usable = candidates.filter(|index| self.links[*index].is_usable());
        usable.min_by_key(|index| self.links[*index].waiting)
    }

    pub(super) fn link(&mut self, index: usize) -> &mut Link {
        &mut self.links[index]
    }

    /// The link to a server that was chosen earlier, if that is still there.
    pub(super) fn link_to(&mut self, server: PortId) -> Option<usize> {
        self.links.iter().position(|link| link.peer == server)
    }

    /// Notes a new call of the server at `index`, and returns what goes before its request. The request must follow: who
    /// begins has taken the room for it.
    pub(super) fn begin(
        &mut self,
        index: usize,
        order: Order,
        payload: &[u8],
    ) -> Result<RequestHeader, CallError> {
        let Order { deadline, one_way, retries } = order;
        let link = &mut self.links[index];
        if one_way {
            self.tally.notified();
            return Ok(RequestHeader { id: 0, deadline, interest: 0, flags: ONE_WAY });
        }
        let id = self.calls.next_id()?;
        let retry = (retries > 0).then(|| Retry { payload: payload.to_vec(), left: retries });
        let mut call = Call::new(id, link.peer, deadline, retry);
        call.timed = self.tally.made();
        self.calls.insert(call);
        Ok(announce(link, id, deadline))
    }

    /// The next answer to a call, if it is there.
    pub(super) fn take(&mut self, id: u64) -> Result<Option<Letter<ResponseHeader>>, CallError> {
        let taken = self.look_for(id);
        let kept = self.keep_armed();
        let Ok(Some(letter)) = &taken else {
            kept?;
            return taken;
        };
        self.note_taken(id, letter);
        if let Err(CallError::Receive(error)) = kept {
            self.mail.feeds.tell_later(error);
        }
        taken
    }

    fn look_for(&mut self, id: u64) -> Result<Option<Letter<ResponseHeader>>, CallError> {
        for _ in 0..LOOKS_MAX {
            if let Some(content) = self.pop_sorted(id)? {
                return Ok(Some(content));
            }
            let Some(received) = self.receive()? else {
                self.has_leftovers = false;
                self.take_news()?;
                // It may have ended by that.
                return self.pop_sorted(id);
            };
            if let Some(content) = self.sort(received, Some(id)) {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }

    /// The next answer to a call, if it has been received.
    #[cfg(feature = "tokio")]
    pub(super) fn take_sorted(&mut self, id: u64) -> Result<Option<Letter<ResponseHeader>>, CallError> {
        let taken = self.pop_sorted(id)?;
        if let Some(letter) = &taken {
            self.note_taken(id, letter);
        }
        Ok(taken)
    }

    #[inline]
    fn pop_sorted(&mut self, id: u64) -> Result<Option<Letter<ResponseHeader>>, CallError> {
        let call = self.calls.get(id).ok_or(CallError::Finished)?;
        if let Some(content) = call.unread.pop() {
            return Ok(Some(content));
        }
        if call.ending.is_none() && call.deadline != 0 && now_ns() >= call.deadline {
            self.end(id, Ending::DeadlinePassed);
        }
        match self.calls.get(id).and_then(|call| call.ending.clone()) {
            Some(ending) => Err(ending.into()),
            None => Ok(None),
        }
    }

    fn receive(&mut self) -> Result<Option<(ResponseHeader, Option<PortId>)>, CallError> {
        loop {
            match self.mail.next(|feed, content| (content.header, feed.from)) {
                Ok(received) => return Ok(received),
                Err(error) => self.give_up(error)?,
            }
        }
    }

    /// Hands the message received last to its call; returns it if that is `wanted` and it is an answer.
    fn sort(
        &mut self,
        (header, from): (ResponseHeader, Option<PortId>),
        wanted: Option<u64>,
    ) -> Option<Letter<ResponseHeader>> {
        let content = &mut self.mail.content;
        // A call that is over or not this server's: nobody's.
        let call =
            self.calls.get(header.id).filter(|call| Some(call.server) == from && call.ending.is_none());
        let Some(call) = call else {
            content.held = None;
            return None;
        };
        self.tally.answered(call);
        let ending = match header.status() {
            Some(Status::Item) => None,
            Some(Status::Last | Status::End) => Some(Ending::Finished),
            Some(Status::Failed) => Some(Ending::Failed(failure_text(content.bytes()))),
            Some(Status::Unanswered) | None => Some(Ending::Unanswered),
            Some(Status::TooLate) => Some(Ending::DeadlinePassed),
        };
        let is_answer = matches!(header.status(), Some(Status::Item | Status::Last));
        if is_answer && !(self.types.is_response)(content) {
            content.held = None;
            self.mail.feeds.drop_peer(call.server, "an answer has not the size of a response");
            self.update_links();
            return None;
        }
        if is_answer && !call.unread.has_room() {
            content.held = None;
            self.mail.feeds.drop_peer(call.server, "it sends more answers than are taken");
            self.update_links();
            return None;
        }
        let content = content.take();
        call.has_begun |= is_answer;
        let mut answer = is_answer.then_some(content);
        if Some(header.id) != wanted {
            if let Some(answer) = answer.take() {
                call.unread.push(answer);
            }
            // Whoever waits for it sleeps on the descriptor, unless it is a task that says so.
            self.sorted_for_others |= !call.wake();
        }
        if let Some(ending) = ending {
            self.end(header.id, ending);
        }
        answer
    }

    /// Notes how a call ended; its server need not go on.
    pub(super) fn end(&mut self, id: u64, ending: Ending) {
        let Some(call) = self.calls.get(id).filter(|call| call.ending.is_none()) else { return };
        if matches!(ending, Ending::Cancelled) {
            call.unread.clear();
        }
        self.tally.ended(&ending);
        let server_may_wait = matches!(ending, Ending::Cancelled | Ending::DeadlinePassed);
        call.ending = Some(ending);
        call.wake();
        let server = call.server;
        self.lose_interest(server, id, server_may_wait);
    }

    /// The call's handle is gone.
    pub(super) fn forget(&mut self, id: u64) {
        let Some(call) = self.calls.remove(id) else { return };
        if call.ending.is_none() {
            self.tally.ended(&Ending::Cancelled);
            self.has_leftovers = true;
            self.lose_interest(call.server, id, true);
        }
    }

    /// An answer to this call was handed out. Its server hears of it when it may wait for that: for a stream
    /// of small answers twice in each window, so that it is not woken for each of them.
    #[inline]
    fn note_taken(&mut self, id: u64, letter: &Letter<ResponseHeader>) {
        if letter.header.status != Status::Item as u64 {
            return;
        }
        let Some(call) = self.calls.get(id) else { return };
        call.taken += 1;
        let is_due = letter.held.is_some() || call.taken - call.told >= STREAM_ANSWERS_MAX as u64 / 2;
        // A child made by `fork` must not speak for its parent.
        if is_due && call.ending.is_none() && !self.node.is_forked() {
            call.told = call.taken;
            let (server, taken) = (call.server, call.taken);
            if let Some(link) = self.links.iter().find(|link| link.peer == server) {
                link.interest.show_taken(id, taken);
                self.mail.feeds.made_space(server);
            }
        }
    }

    /// Shows the server that nobody waits any more; wakes it if it may wait until answers of this call are taken.
    fn lose_interest(&mut self, server: PortId, id: u64, server_may_wait: bool) {
        // A child made by `fork` must not cancel its parent's calls.
        if self.node.is_forked() {
            return;
        }
        let Some(link) = self.links.iter_mut().find(|link| link.peer == server) else { return };
        link.waiting -= 1;
        link.interest.withdraw(id);
        if server_may_wait {
            self.mail.feeds.made_space(server);
        }
    }

    /// When a wait for this call ends at the latest.
    pub(super) fn deadline_of(&mut self, id: u64, timeout: Duration) -> Option<Instant> {
        let deadline = self.calls.get(id).map_or(0, |call| call.deadline);
        // Before the other clock is read: so a wait that ends by the call's deadline finds it passed.
        let left = (deadline != 0).then(|| Duration::from_nanos(deadline.saturating_sub(now_ns())));
        let now = Instant::now();
        let wanted = now.checked_add(timeout);
        let own = left.and_then(|left| now.checked_add(left));
        wanted.into_iter().chain(own).min()
    }
}

/// Shows the server that somebody waits, and returns what goes before the request.
fn announce(link: &mut Link, id: u64, deadline: u64) -> RequestHeader {
    link.waiting += 1;
    RequestHeader { id, deadline, interest: link.interest.show(id), flags: 0 }
}

fn failure_text(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(FAILURE_TEXT_BYTES_MAX)];
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}
