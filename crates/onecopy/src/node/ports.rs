//! What a node has open, as its control thread needs it: publishers with the readers attached to them, subscribers
//! with their inboxes. What another broker would have to be told of them is in `ledger.rs`.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use onecopy_memory::dataset::SealedDataset;
use onecopy_memory::hold::ReaderState;
use onecopy_memory::readers::{ReaderKey, Readers};
use onecopy_memory::region::{RegionReader, Seat, SharedRegion};
use onecopy_memory::ring::{Geometry, RingReader};
use onecopy_memory::segment::View;

use super::datasets::Newest;
use super::lease::SubscriberLease;
use crate::broker::protocol::{NodeId, PortId, Role, Route};
use crate::error::OpenError;
use crate::inbox::Inbox;
use crate::payload_type::PayloadType;

/// Publishers and subscribers of one node.
#[derive(Debug, Default)]
pub(super) struct Ports {
    pub(super) publishers: HashMap<PortId, PublisherPort>,
    pub(super) subscribers: HashMap<PortId, SubscriberPort>,
    pub(super) shared: HashMap<PortId, SharedPort>,
    pub(super) datasets: HashMap<PortId, DatasetPort>,
    /// Reader segments of other nodes that our publishers look at.
    views: HashMap<ReaderSegment, View>,
    /// Which reader segment each attached subscriber lies in.
    attached: HashMap<Route, ReaderSegment>,
    pub(super) connection: Connection,
    /// The node's last handle is being dropped.
    pub(super) closing: bool,
    next_serial: u32,
}

type ReaderSegment = (NodeId, u32);

/// How the node stands with its broker.
#[derive(Debug, Default)]
pub(super) enum Connection {
    #[default]
    Up,
    /// The broker ended it, saying why.
    Refused(crate::broker::protocol::Refusal),
    /// The node has ended.
    Gone,
}

/// A publisher, to the control thread.
#[derive(Debug)]
pub(super) struct PublisherPort {
    pub(super) readers: Arc<Readers>,
    pub(super) opening: Opening,
    /// The client or server that publishes, if one does: it waits for its counterparts to listen.
    pub(super) from: Option<PortId>,
    /// That counterpart.
    pub(super) to: Option<PortId>,
}

/// A subscriber, to the control thread.
#[derive(Debug)]
pub(super) struct SubscriberPort {
    pub(super) inbox: Arc<Inbox>,
    pub(super) lease: Arc<SubscriberLease>,
    pub(super) expected: Option<PayloadType>,
    /// Publishers that are there already are heard from now on, not from their history on.
    pub(super) skip_history: bool,
    pub(super) opening: Opening,
    /// Readers that their publishers have not attached yet.
    pub(super) attaching: HashMap<PortId, Attaching>,
    /// Set for a client or a server.
    pub(super) correspondence: Option<Correspondence>,
    /// It reads a region's value, not messages.
    pub(super) reads_region: bool,
}

/// What a client or a server needs to answer the broker's introductions.
#[derive(Debug)]
pub(super) struct Correspondence {
    pub(super) role: Role,
    /// Of the rings that it publishes to its counterparts.
    pub(super) geometry: Geometry,
}

/// A reader on its way to the subscriber.
#[derive(Debug)]
pub(super) struct Attaching {
    pub(super) reader: Reader,
    pub(super) payload: PayloadType,
    pub(super) from: Option<PortId>,
    /// What its publisher had published before is not wanted: position of the first message that is.
    pub(super) wanted_from: u64,
}

/// What a subscriber reads.
#[derive(Debug)]
pub(super) enum Reader {
    Ring(RingReader),
    Region(RegionReader),
}

impl Reader {
    pub(super) fn state(&self) -> &Arc<ReaderState> {
        match self {
            Self::Ring(reader) => reader.state(),
            Self::Region(reader) => reader.state(),
        }
    }
}

/// A participant of a region that several may write, to the control thread.
#[derive(Debug)]
pub(super) struct SharedPort {
    pub(super) inbox: Arc<Inbox>,
    pub(super) opening: Opening,
    /// What the broker said when it gave the seat.
    pub(super) seated: Option<Seated>,
    /// Who else takes part, with their processes.
    pub(super) living: HashMap<Seat, u32>,
    /// What is to be told of deaths.
    pub(super) region: Option<Arc<SharedRegion>>,
}

/// A version of a dataset, published or open, to the control thread.
#[derive(Debug)]
pub(super) struct DatasetPort {
    pub(super) opening: Opening,
    /// It published the version; otherwise it opened it.
    pub(super) publishes: bool,
    /// The memory of a version that was opened, until whoever opens it takes it.
    pub(super) memory: Option<Arc<OwnedFd>>,
    /// What was published, if it is kept from being swapped out. It is let go when there is a newer version.
    pub(super) locked: Option<SealedDataset>,
    /// Which version that is; 0 while there is none.
    pub(super) version: u64,
    /// What is to be told of newer versions.
    pub(super) newest: Arc<Newest>,
}

/// A place in a region that several may write.
#[derive(Debug, Clone)]
pub(crate) struct Seated {
    pub(crate) seat: Seat,
    pub(crate) has_memory: bool,
}

/// How far the opening of a port has come.
#[derive(Debug, Default)]
pub(super) enum Opening {
    /// Not answered yet.
    #[default]
    Asked,
    /// Open; those who were there are on their way.
    Opened,
    /// Everyone who was there is connected.
    Settled,
    /// Not to be.
    Failed(OpenError),
}

impl Ports {
    /// A number that no other port of this node has had.
    pub(super) fn next_serial(&mut self) -> u32 {
        self.next_serial += 1;
        self.next_serial
    }

    pub(super) fn opening_mut(&mut self, port: PortId) -> Option<&mut Opening> {
        if let Some(publisher) = self.publishers.get_mut(&port) {
            return Some(&mut publisher.opening);
        }
        if let Some(shared) = self.shared.get_mut(&port) {
            return Some(&mut shared.opening);
        }
        if let Some(dataset) = self.datasets.get_mut(&port) {
            return Some(&mut dataset.opening);
        }
        self.subscribers.get_mut(&port).map(|subscriber| &mut subscriber.opening)
    }

    /// The mapping of another node's reader segment: made once, however many of its subscribers we serve.
    pub(super) fn view(
        &mut self,
        segment: ReaderSegment,
        open: impl FnOnce() -> Result<View, onecopy_memory::segment::SegmentError>,
    ) -> Result<View, onecopy_memory::segment::SegmentError> {
        if let Some(view) = self.views.get(&segment) {
            return Ok(view.clone());
        }
        let view = open()?;
        self.views.insert(segment, view.clone());
        Ok(view)
    }

    pub(super) fn note_attached(&mut self, route: Route, segment: ReaderSegment) {
        self.attached.insert(route, segment);
    }

    pub(super) fn attached_routes(&self) -> impl Iterator<Item = Route> {
        self.attached.keys().copied()
    }

    /// Forgets routes and the mappings that only they needed.
    pub(super) fn forget_routes(&mut self, gone: impl Fn(&Route) -> bool) {
        self.attached.retain(|route, _| !gone(route));
        let Self { views, attached, .. } = self;
        views.retain(|segment, _| attached.values().any(|used| used == segment));
    }
}

/// How a publisher's list of readers calls the subscriber at the end of `route`.
pub(super) fn reader_key(route: Route) -> ReaderKey {
    (route.subscriber.node.0, route.subscriber.serial)
}
