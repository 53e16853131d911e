//! What a node has open and what that is tied to: everything that another broker has to be told. Plain books,
//! changed with every packet, from which an announcement can be written at any moment.
//!
//! Also what a packet of the broker means depends on what is in here: a publisher that is shown again is one
//! that was being attached when the last broker ended.

use std::collections::BTreeMap;

use crate::broker::protocol::{Address, NodeId, PortId, Request, Route, SegmentSet, Tie};
use crate::broker::{Descriptor, is_same_file};

/// What one node has open. Its user's threads and its control thread keep it together.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    publishers: BTreeMap<PortId, Publisher>,
    subscribers: BTreeMap<PortId, Subscriber>,
    participants: BTreeMap<PortId, Participant>,
    datasets: BTreeMap<PortId, Dataset>,
}

/// What is to be sent: a packet, and what goes along.
pub(crate) type Letter = (Request, Option<Descriptor>);

#[derive(Debug)]
struct Publisher {
    opening: Request,
    is_open: bool,
    ring: Descriptor,
    segments: BTreeMap<u32, Descriptor>,
    readers: BTreeMap<PortId, Reader>,
}

/// A subscriber that a publisher of ours looks at.
#[derive(Debug, Clone, Copy)]
struct Reader {
    block: u32,
    start: u64,
    pid: u32,
}

#[derive(Debug)]
struct Subscriber {
    opening: Request,
    is_open: bool,
    sources: BTreeMap<PortId, Source>,
    /// Counterparts with their processes, of a client or a server.
    met: BTreeMap<PortId, u32>,
    /// Of a reader of a region.
    memory: Option<Descriptor>,
    is_kept: bool,
}

/// A publisher that a subscriber of ours has a reader of.
#[derive(Debug, Clone, Copy)]
struct Source {
    block: u32,
    attached: bool,
    segments: SegmentSet,
    pid: u32,
}

#[derive(Debug)]
struct Participant {
    opening: Request,
    seat: Option<u32>,
    /// The others' seats and processes.
    living: BTreeMap<PortId, (u32, u32)>,
    memory: Option<Memory>,
    is_kept: bool,
}

#[derive(Debug)]
struct Dataset {
    opening: Request,
    is_open: bool,
    /// 0 while it waits for the first.
    version: u64,
    /// The latest version that it was told of.
    latest: u64,
    memory: Option<Descriptor>,
    is_kept: bool,
}

#[derive(Debug)]
struct Memory {
    descriptor: Descriptor,
    /// A broker has passed it on, or it is meant to succeed what there is.
    is_confirmed: bool,
    /// We brought it.
    is_own: bool,
}

/// What a subscriber is to do with a publisher that it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Make a reader of it.
    New,
    /// It has a reader in that block already, which waits to be attached.
    Again {
        /// The block.
        block: u32,
    },
    /// It reads it.
    Attached,
}

/// What the rest of the process knows that an announcement needs.
pub(crate) struct Knowledge<'a> {
    /// Whether a node is there, as far as can be seen.
    pub(crate) is_there: &'a dyn Fn(NodeId) -> bool,
    /// The version of the value in a region's memory.
    pub(crate) version_of: &'a dyn Fn(&Descriptor) -> u64,
    /// The next broker numbers processes as the last one did.
    pub(crate) pids_hold: bool,
}

impl Ledger {
    pub(crate) fn open_publisher(&mut self, port: PortId, opening: Request, ring: Descriptor) {
        let (is_open, segments, readers) = Default::default();
        self.publishers.insert(port, Publisher { opening, is_open, ring, segments, readers });
    }

    /// A subscriber, client or server.
    pub(crate) fn open_subscriber(&mut self, port: PortId, opening: Request) {
        let (is_open, sources, met, memory, is_kept) = Default::default();
        self.subscribers.insert(port, Subscriber { opening, is_open, sources, met, memory, is_kept });
    }

    pub(crate) fn open_participant(&mut self, port: PortId, opening: Request) {
        let (seat, living, memory, is_kept) = Default::default();
        self.participants.insert(port, Participant { opening, seat, living, memory, is_kept });
    }

    /// A version of a dataset is to be published, with that memory, or to be opened.
    pub(crate) fn open_dataset(&mut self, port: PortId, opening: Request, memory: Option<Descriptor>) {
        let (is_open, version, latest, is_kept) = Default::default();
        self.datasets.insert(port, Dataset { opening, is_open, version, latest, memory, is_kept });
    }

    /// A version is ours.
    pub(crate) fn dataset_opened(&mut self, port: PortId, version: u64, memory: Descriptor) {
        if let Some(dataset) = self.datasets.get_mut(&port) {
            (dataset.is_open, dataset.version, dataset.memory) = (true, version, Some(memory));
            dataset.latest = dataset.latest.max(version);
        }
    }

    /// There is a newer version, or the one that we published has its number. Returns the memory that is of no use any
    /// more: it is to go with the last who looks at it.
    pub(crate) fn dataset_moved(&mut self, port: PortId, version: u64) -> Option<Descriptor> {
        let dataset = self.datasets.get_mut(&port)?;
        dataset.latest = dataset.latest.max(version);
        if !dataset.is_open {
            (dataset.is_open, dataset.version) = (true, version);
        }
        let is_superseded = dataset.publishes() && dataset.version < version;
        dataset.memory.take_if(|_| is_superseded)
    }

    /// The broker knows the port.
    pub(crate) fn opened(&mut self, port: PortId) {
        let publisher = self.publishers.get_mut(&port).map(|port| &mut port.is_open);
        let subscriber = self.subscribers.get_mut(&port).map(|port| &mut port.is_open);
        publisher.into_iter().chain(subscriber).for_each(|is_open| *is_open = true);
    }

    /// The broker does not know the port, or not any more.
    pub(crate) fn close(&mut self, port: PortId) {
        self.publishers.remove(&port);
        self.subscribers.remove(&port);
        self.participants.remove(&port);
        self.datasets.remove(&port);
    }

    /// A publisher has a further segment, in place of others.
    pub(crate) fn grow(&mut self, port: PortId, index: u32, replaced: SegmentSet, segment: Descriptor) {
        if let Some(publisher) = self.publishers.get_mut(&port) {
            publisher.segments.retain(|index, _| !replaced.contains(*index));
            publisher.segments.insert(index, segment);
        }
    }

    pub(crate) fn shown(&self, route: Route) -> Shown {
        let source =
            self.subscribers.get(&route.subscriber).and_then(|port| port.sources.get(&route.publisher));
        match source {
            None => Shown::New,
            Some(Source { attached: false, block, .. }) => Shown::Again { block: *block },
            Some(Source { attached: true, .. }) => Shown::Attached,
        }
    }

    /// A subscriber has made a reader.
    pub(crate) fn attach(&mut self, route: Route, block: u32, pid: u32) {
        if let Some(subscriber) = self.subscribers.get_mut(&route.subscriber) {
            let source = Source { block, attached: false, segments: SegmentSet::EMPTY, pid };
            subscriber.sources.insert(route.publisher, source);
        }
    }

    /// A subscriber was told where to start.
    pub(crate) fn attached(&mut self, route: Route) {
        if let Some(source) = self.source(route) {
            source.attached = true;
        }
    }

    /// A subscriber has a segment of a publisher's.
    pub(crate) fn take_segment(&mut self, route: Route, index: u32, replaced: SegmentSet) {
        if let Some(source) = self.source(route) {
            source.segments = source.segments.without(replaced);
            source.segments.insert(index);
        }
    }

    /// A subscriber has let go of a publisher, or that has ended.
    pub(crate) fn detach(&mut self, route: Route) {
        if let Some(subscriber) = self.subscribers.get_mut(&route.subscriber) {
            subscriber.sources.remove(&route.publisher);
        }
    }

    fn source(&mut self, route: Route) -> Option<&mut Source> {
        self.subscribers.get_mut(&route.subscriber)?.sources.get_mut(&route.publisher)
    }

    /// Where a subscriber was told to start whose reader state in that block a publisher looks at.
    pub(crate) fn start_of(&self, route: Route, block: u32) -> Option<u64> {
        let reader = self.publishers.get(&route.publisher)?.readers.get(&route.subscriber)?;
        (reader.block == block).then_some(reader.start)
    }

    /// Whether a publisher looks at reader state of a subscriber.
    pub(crate) fn has_reader(&self, route: Route) -> bool {
        self.publishers.get(&route.publisher).is_some_and(|port| port.readers.contains_key(&route.subscriber))
    }

    /// A publisher looks at a subscriber's reader state from now on.
    pub(crate) fn look_at(&mut self, route: Route, block: u32, start: u64, pid: u32) {
        if let Some(publisher) = self.publishers.get_mut(&route.publisher) {
            publisher.readers.insert(route.subscriber, Reader { block, start, pid });
        }
    }

    /// A publisher's subscriber is gone.
    pub(crate) fn lose_reader(&mut self, route: Route) {
        if let Some(publisher) = self.publishers.get_mut(&route.publisher) {
            publisher.readers.remove(&route.subscriber);
        }
    }

    /// Whether a client or server has met a counterpart before; from now on it has.
    pub(crate) fn meet(&mut self, port: PortId, peer: PortId, pid: u32) -> bool {
        let Some(subscriber) = self.subscribers.get_mut(&port) else { return false };
        subscriber.met.insert(peer, pid).is_some()
    }

    pub(crate) fn part(&mut self, port: PortId, peer: PortId) {
        if let Some(subscriber) = self.subscribers.get_mut(&port) {
            subscriber.met.remove(&peer);
        }
    }

    /// What a reader of a region has of it.
    pub(crate) fn remember(&mut self, port: PortId, memory: Descriptor) {
        if let Some(subscriber) = self.subscribers.get_mut(&port) {
            subscriber.memory = Some(memory);
        }
    }

    pub(crate) fn seated(&mut self, port: PortId, seat: u32) {
        if let Some(participant) = self.participants.get_mut(&port) {
            participant.seat = Some(seat);
        }
    }

    pub(crate) fn seat_taken(&mut self, port: PortId, other: PortId, seat: u32, pid: u32) {
        if let Some(participant) = self.participants.get_mut(&port) {
            participant.living.insert(other, (seat, pid));
        }
    }

    pub(crate) fn seat_gone(&mut self, port: PortId, seat: u32) {
        if let Some(participant) = self.participants.get_mut(&port) {
            participant.living.retain(|_, (living, _)| *living != seat);
        }
    }

    /// We bring memory for a shared region: to succeed what there is, or else in case there is none.
    pub(crate) fn offer_shared(&mut self, port: PortId, descriptor: Descriptor, succeeds: bool) {
        if let Some(participant) = self.participants.get_mut(&port)
            && (succeeds || participant.memory.is_none())
        {
            participant.memory = Some(Memory { descriptor, is_confirmed: succeeds, is_own: true });
        }
    }

    /// The memory of a shared region, as the broker tells; it may be what we brought.
    pub(crate) fn take_shared(&mut self, port: PortId, descriptor: Descriptor) {
        if let Some(participant) = self.participants.get_mut(&port) {
            let brought = participant.memory.as_ref().filter(|memory| memory.is_own);
            let is_own = brought.is_some_and(|memory| is_same_file(&memory.descriptor, &descriptor));
            participant.memory = Some(Memory { descriptor, is_confirmed: true, is_own });
        }
    }

    /// Whether we brought the memory that the region of this port has.
    #[cfg(test)]
    pub(crate) fn has_brought(&self, port: PortId) -> bool {
        let memory = self.participants.get(&port).and_then(|participant| participant.memory.as_ref());
        memory.is_some_and(|memory| memory.is_own)
    }

    /// The broker keeps the region or the dataset that a port has open, or does not any more.
    pub(crate) fn keep(&mut self, port: PortId, kept: bool) {
        let subscriber = self.subscribers.get_mut(&port).map(|port| &mut port.is_kept);
        let participant = self.participants.get_mut(&port).map(|port| &mut port.is_kept);
        let dataset = self.datasets.get_mut(&port).map(|port| &mut port.is_kept);
        subscriber.into_iter().chain(participant).chain(dataset).for_each(|is_kept| *is_kept = kept);
    }

    /// Everything, for a broker that knows nothing: what other brokers knew, the end of the announcement, and then what
    /// none has answered yet.
    pub(crate) fn announcement(&mut self, knowledge: &Knowledge<'_>) -> Vec<Letter> {
        // Whoever has no seat yet is told anew who has one.
        let unseated = self.participants.values_mut().filter(|participant| participant.seat.is_none());
        unseated.for_each(|participant| participant.living.clear());
        let mut known = Vec::new();
        let mut asked = Vec::new();
        for (port, publisher) in &self.publishers {
            let letters = if publisher.is_open { &mut known } else { &mut asked };
            publisher.announce(*port, knowledge, letters);
        }
        for (port, subscriber) in &self.subscribers {
            let letters = if subscriber.is_open { &mut known } else { &mut asked };
            subscriber.announce(*port, knowledge, letters);
        }
        for (port, participant) in &self.participants {
            let letters = if participant.seat.is_some() { &mut known } else { &mut asked };
            participant.announce(*port, knowledge, letters);
        }
        for (port, dataset) in &self.datasets {
            let letters = if dataset.is_open { &mut known } else { &mut asked };
            dataset.announce(*port, letters);
        }
        known.push((Request::Announced, None));
        // Nobody is tied to what no broker has known.
        known.extend(asked.into_iter().filter(|(request, _)| !matches!(request, Request::Tied { .. })));
        known
    }
}

impl Knowledge<'_> {
    fn tied(&self, tie: Tie, pid: u32) -> Letter {
        let (pid, is_there) = (if self.pids_hold { pid } else { 0 }, (self.is_there)(tie.other_node()));
        (Request::Tied { tie, pid, is_there }, None)
    }
}

impl Publisher {
    fn announce(&self, port: PortId, knowledge: &Knowledge<'_>, letters: &mut Vec<Letter>) {
        letters.push((self.opening.clone(), Some(Descriptor::clone(&self.ring))));
        for (index, segment) in &self.segments {
            let request = Request::AddSegment { publisher: port, index: *index, replaced: SegmentSet::EMPTY };
            letters.push((request, Some(Descriptor::clone(segment))));
        }
        for (subscriber, reader) in &self.readers {
            let route = Route { publisher: port, subscriber: *subscriber };
            letters.push(knowledge.tied(Tie::Reader(route), reader.pid));
        }
    }
}

impl Subscriber {
    fn announce(&self, port: PortId, knowledge: &Knowledge<'_>, letters: &mut Vec<Letter>) {
        letters.push((self.opening.clone(), None));
        for (publisher, Source { attached, segments, pid, .. }) in &self.sources {
            let route = Route { publisher: *publisher, subscriber: port };
            let tie = Tie::Source { route, attached: *attached, segments: *segments };
            letters.push(knowledge.tied(tie, *pid));
        }
        for (peer, pid) in &self.met {
            letters.push(knowledge.tied(Tie::Met { port, peer: *peer }, *pid));
        }
        if let Some(memory) = self.memory.as_ref().filter(|_| self.is_open) {
            let request = Request::Remembered { subscriber: port, version: (knowledge.version_of)(memory) };
            letters.push((request, Some(Descriptor::clone(memory))));
        }
        if let (true, Request::OpenSubscriber { address: Address::Region { name, .. }, .. }) =
            (self.is_kept, &self.opening)
        {
            letters.push((keep(name), None));
        }
    }
}

impl Participant {
    fn announce(&self, port: PortId, knowledge: &Knowledge<'_>, letters: &mut Vec<Letter>) {
        let Request::OpenShared { region, payload, .. } = &self.opening else { return };
        let (region, payload, seat) = (region.clone(), payload.clone(), self.seat);
        letters.push((Request::OpenShared { port, region, payload, seat }, None));
        for (other, (seat, pid)) in &self.living {
            letters.push(knowledge.tied(Tie::Seat { port, other: *other, seat: *seat }, *pid));
        }
        if let Some(Memory { descriptor, is_confirmed, is_own }) =
            self.memory.as_ref().filter(|_| self.seat.is_some())
        {
            let version = if *is_confirmed { (knowledge.version_of)(descriptor) } else { 0 };
            let request = Request::OfferShared { port, succeeds: false, version, brought: *is_own };
            letters.push((request, Some(Descriptor::clone(descriptor))));
        }
        if let (true, Request::OpenShared { region, .. }) = (self.is_kept, &self.opening) {
            letters.push((keep(region), None));
        }
    }
}

impl Dataset {
    fn publishes(&self) -> bool {
        matches!(self.opening, Request::PublishDataset { .. })
    }

    fn announce(&self, port: PortId, letters: &mut Vec<Letter>) {
        let memory = self.memory.as_ref().map(Descriptor::clone);
        if !self.is_open {
            return letters.push((self.opening.clone(), memory));
        }
        let (Request::PublishDataset { dataset, .. } | Request::OpenDataset { dataset, .. }) = &self.opening
        else {
            return;
        };
        let request = Request::ReopenDataset {
            port,
            dataset: dataset.clone(),
            publishes: self.publishes(),
            version: self.version,
            latest: self.latest,
            memory: memory.is_some(),
        };
        letters.push((request, memory));
        if self.is_kept {
            letters.push((Request::KeepDataset { request: 0, dataset: dataset.clone(), keep: true }, None));
        }
    }
}

fn keep(region: &str) -> Request {
    Request::Keep { request: 0, region: region.to_owned(), keep: true }
}

/// Whether a request says what is in the ledger as well, and so need not be sent when a broker has ended.
pub(crate) fn is_in_ledger(request: &Request) -> bool {
    match request {
        Request::OpenPublisher { .. }
        | Request::AddSegment { .. }
        | Request::OpenSubscriber { .. }
        | Request::OpenService { .. }
        | Request::OpenShared { .. }
        | Request::OfferShared { .. }
        | Request::Attach { .. }
        | Request::Attached { .. }
        | Request::Detach { .. }
        | Request::Close { .. }
        | Request::PublishDataset { .. }
        | Request::OpenDataset { .. }
        | Request::ReopenDataset { .. }
        | Request::Remembered { .. }
        | Request::Tied { .. }
        | Request::Announced
        | Request::TakeOver { .. }
        | Request::Taken
        | Request::Stop
        | Request::ShowReaders
        | Request::Hello { .. } => true,
        // Questions are asked anew by those who wait for the answer.
        Request::Inspect { .. }
        | Request::Keep { .. }
        | Request::KeepDataset { .. }
        | Request::Reserve { .. } => true,
        Request::MaySleep { .. } => false,
    }
}
