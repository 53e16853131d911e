//! Where a server's requests come in: its clients that come and go, which requests are for the user to see, and the
//! answers to those that are not.

use std::collections::HashMap;
use std::sync::Arc;

use onecopy_memory::counted::counted;

use super::header::{ONE_WAY, RequestHeader, ResponseHeader, Status, now_ns};
use super::interest::Interest;
use super::letter::Letter;
use super::link::{ReplyLink, SharedLink};
use super::mail::Mail;
use super::outgoing;
use crate::broker::protocol::PortId;
use crate::error::ReceiveError;
use crate::feeds::Feeds;
use crate::inbox::PeerNews;
use crate::node::handle::NodeHandle;
use crate::payload::Payload;
use crate::sender::Sender;

/// Requests that are passed over before the caller gets to look at its clock.
const PASSED_OVER_MAX: usize = 1024;

/// Where requests come in.
pub(super) struct Reception {
    node: Arc<NodeHandle>,
    pub(super) mail: Mail<RequestHeader>,
    links: HashMap<PortId, SharedLink>,
    /// Clients that have ended, and whose last requests are still to be received.
    leaving: Vec<PortId>,
    /// The client of the last request: it is often that of the next.
    last: Option<(PortId, SharedLink)>,
    budget_bytes: usize,
    /// Clients whose rings are not read yet, so that they could not be told how else to say that they have made space.
    unlinked: Vec<PortId>,
    /// [`Feeds::changes`] when that was tried last.
    feed_changes: u64,
    /// A task listens to the doorbells on behalf of others.
    pub(super) is_listened_to: bool,
}

/// A request as it came in, and to whom the answer goes.
pub(super) struct Received {
    pub(super) content: Letter<RequestHeader>,
    pub(super) interest: Option<Interest>,
    pub(super) link: SharedLink,
}

impl Reception {
    pub(super) fn new(node: Arc<NodeHandle>, feeds: Feeds, budget_bytes: usize) -> Self {
        let (links, leaving, last, unlinked, feed_changes, is_listened_to) = Default::default();
        let mail = Mail::new(feeds);
        Self { node, mail, links, leaving, last, budget_bytes, unlinked, feed_changes, is_listened_to }
    }

    /// Number of clients that may ask.
    pub(super) fn clients(&self) -> usize {
        self.links.len() - self.leaving.len()
    }

    /// For those who look without being that task: what they were rung for may have been for others.
    pub(super) fn pass_rings_on(&self) {
        if self.is_listened_to {
            self.mail.feeds.ring_own_bell();
        }
    }

    /// The next request that somebody waits for, and whose size is right.
    pub(super) fn next<Req: Payload + ?Sized>(&mut self) -> Result<Option<Received>, ReceiveError> {
        for _ in 0..PASSED_OVER_MAX {
            self.take_news()?;
            let next = self.mail.next(|feed, content| {
                let header = content.header;
                let interest = (header.flags & ONE_WAY == 0)
                    .then(|| Interest::find(&feed.reader, header.interest))
                    .flatten();
                (header, interest, feed.from)
            });
            let (header, interest, from) = match next {
                Ok(Some(received)) => received,
                Ok(None) => {
                    // Their feeds may have ended with this look.
                    self.note_the_unheard();
                    self.let_go_of_the_dead();
                    return Ok(None);
                }
                Err(error) => {
                    self.note_the_unheard();
                    give_up(error)?;
                    continue;
                }
            };
            // The client may have come in just now, with its request.
            self.sort_news();
            if let Some(link) = from.and_then(|from| self.link_to(from))
                && self.is_wanted::<Req>(&header, interest.as_ref(), &link)
            {
                return Ok(Some(Received { content: self.mail.content.take(), interest, link }));
            }
            self.mail.content.held = None;
        }
        // There is more, and the event loop is to know.
        self.mail.feeds.keep_armed(true)?;
        Ok(None)
    }

    /// Has the doorbells rung for what comes from now on, and takes in who went; says whether there is something to
    /// receive, or to be told.
    #[cfg(feature = "tokio")]
    pub(super) fn listen(&mut self) -> bool {
        if self.mail.feeds.is_forked() {
            return self.mail.feeds.listen_again();
        }
        if self.mail.feeds.has_news() {
            self.take_news_in();
        }
        loop {
            let is_ready = self.mail.feeds.listen_again();
            // Arming has taken their ring, and whoever waits for space may be the only one who waits.
            if !self.mail.feeds.inbox_has_news() {
                return is_ready;
            }
            self.take_news_in();
        }
    }

    /// Takes the news in, and keeps what is wrong for whoever receives.
    #[cfg(feature = "tokio")]
    fn take_news_in(&mut self) {
        if let Err(error) = self.take_news() {
            self.mail.feeds.tell_later(error);
        }
    }

    /// Whether the request received last is for the user to see; answers it if not.
    fn is_wanted<Req: Payload + ?Sized>(
        &self,
        header: &RequestHeader,
        interest: Option<&Interest>,
        link: &SharedLink,
    ) -> bool {
        let is_one_way = header.flags & ONE_WAY != 0;
        if !is_one_way && (link.has_parted() || interest.is_some_and(|interest| !interest.is_in(header.id))) {
            return false;
        }
        let refusal = if header.deadline != 0 && now_ns() >= header.deadline {
            Some((Status::TooLate, String::new()))
        } else {
            let content = &self.mail.content;
            (!content.is::<Req>()).then(|| (Status::Failed, misfit::<Req>(content.bytes().len())))
        };
        let Some((status, text)) = refusal else { return true };
        if !is_one_way {
            let refused = ResponseHeader { id: header.id, status: status as u64 };
            // A client that takes no answers need not have this one either.
            let _ = outgoing::send::<[u8], _>(&mut link.sender(), &refused, text.as_bytes());
        }
        false
    }

    fn link_to(&mut self, client: PortId) -> Option<SharedLink> {
        if let Some((last, link)) = &self.last
            && *last == client
        {
            return Some(Arc::clone(link));
        }
        let link = self.links.get(&client)?;
        self.last = Some((client, Arc::clone(link)));
        Some(Arc::clone(link))
    }

    pub(super) fn take_news(&mut self) -> Result<(), ReceiveError> {
        while let Err(error) = self.mail.feeds.refresh() {
            if let Err(error) = give_up(error) {
                // They came with it, and nobody may look again until they are sorted.
                if !self.mail.feeds.is_forked() {
                    self.sort_news();
                }
                return Err(error);
            }
        }
        self.sort_news();
        Ok(())
    }

    /// The part of [`Self::take_news`] after the news have come in.
    fn sort_news(&mut self) {
        let mut may_link = self.mail.feeds.changes() != self.feed_changes && !self.unlinked.is_empty();
        while let Some(news) = self.mail.feeds.peer_news.pop_front() {
            match news {
                PeerNews::Met { peer, pid, publisher, writer, .. } => {
                    let sender = Sender::new(Arc::clone(&self.node), publisher, *writer, self.budget_bytes);
                    let link = ReplyLink::new(peer, pid, sender, Arc::clone(self.mail.feeds.inbox()));
                    self.links.insert(peer, Arc::new(link));
                    self.unlinked.push(peer);
                    may_link = true;
                }
                // It asks only when it hears.
                PeerNews::Hears { .. } | PeerNews::AllMet => {}
                PeerNews::Parted { peer } => {
                    if let Some(link) = self.links.get(&peer) {
                        link.part();
                        self.leaving.push(peer);
                    }
                }
                PeerNews::OutOfReach { peer, reason } => {
                    tracing::warn!(%peer, %reason, "a client can't be answered, so it won't call");
                }
            }
        }
        if may_link {
            self.link();
        }
        self.note_the_unheard();
        self.let_go_of_the_dead();
    }

    /// Tells those who answer clients that are not heard any more.
    #[inline]
    pub(super) fn note_the_unheard(&mut self) {
        if !self.mail.feeds.unheard.is_empty() {
            self.tell_of_the_unheard();
        }
    }

    #[cold]
    fn tell_of_the_unheard(&mut self) {
        for (client, fault) in self.mail.feeds.unheard.drain(..) {
            let Some(link) = self.links.get(&client) else { continue };
            match fault {
                Some(fault) => link.give_up(fault),
                None => link.part(),
            }
        }
    }

    #[cold]
    fn link(&mut self) {
        let Self { mail, links, unlinked, feed_changes, .. } = self;
        *feed_changes = mail.feeds.changes();
        unlinked.retain(|client| {
            let link = links.get(client).filter(|link| !link.has_parted());
            link.is_some_and(|link| !mail.feeds.ring_on_space(*client, link.sender().writer.readers()))
        });
    }

    /// What a client sent without wanting an answer is received also after its end.
    #[inline]
    fn let_go_of_the_dead(&mut self) {
        if self.leaving.is_empty() {
            return;
        }
        let Self { mail, links, leaving, last, .. } = self;
        leaving.retain(|peer| {
            let has_more = mail.feeds.hears(*peer);
            if !has_more {
                links.remove(peer);
                last.take_if(|(client, _)| client == peer);
            }
            has_more
        });
    }
}

/// A client that breaks the protocol is not heard any more, and must not be able to end a server that passes errors on.
/// Errors that are no client's are returned.
#[cold]
fn give_up(error: ReceiveError) -> Result<(), ReceiveError> {
    if !matches!(error, ReceiveError::Publisher { .. }) {
        return Err(error);
    }
    tracing::warn!(%error, "a client is given up");
    Ok(())
}

fn misfit<Req: Payload + ?Sized>(bytes: usize) -> String {
    let element_bytes = Req::element().size_bytes;
    match Req::EXACT_BYTES {
        Some(exact) => {
            format!("a request to this service has {}, and this one {bytes}", counted(exact, "byte"))
        }
        None => {
            let step = counted(element_bytes, "byte");
            format!("a request to this service has a multiple of {step}, and this one {bytes}")
        }
    }
}
