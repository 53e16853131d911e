//! A node's readers and clients as seen from outside. Nothing found there is trusted: numbers are only ever shown.

use std::os::fd::OwnedFd;

use super::client::CallEvent;
use super::latency::Latencies;
use crate::hold::PeerReader;
use crate::layout::{
    BLOCKS_MAX, CLIENT_EVENTS, CLIENTS_MAX, CLIENTS_OFFSET, COUNTERS_OFFSET, ClientCounters, CountersHeader,
    LATENCY_BUCKETS, LINE_BYTES, ReaderCounters, SegmentKind,
};
use crate::segment::{SegmentError, View};
use crate::sync::{Ordering, fence, load_acquire};
use crate::window::Window;

/// Most blocks that are looked at: as many as a node may have ports. Looking gives memory to what had none,
/// and a node that lies about its blocks must not make its observers take more than 4 MiB.
const BLOCKS_OBSERVED_MAX: u64 = 65_536;

/// Sees the counters of a node, and is seen by nobody.
///
/// See [`super::ClientTally`] for an example.
#[derive(Debug)]
pub struct NodeObserver {
    view: View,
    header: Window<CountersHeader>,
    readers: Window<ReaderCounters>,
    clients: Window<ClientCounters>,
}

/// One reader of a node, to be looked at again and again.
///
/// ```
/// # use onecopy_memory::{counters::NodeObserver, hold::ReaderTable, layout::SegmentKind, segment::View};
/// # use onecopy_memory::ring::{Geometry, RingReader, RingWriter};
/// let writer = RingWriter::create(Geometry::new(16, 0, 48, false), 0)?;
/// let table = ReaderTable::create()?;
/// let view = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Ring)?;
/// let reader = RingReader::open(&view, &table, Box::new(()))?;
/// // Subscriber 5 of this node reads what writer 9 of node 3 publishes.
/// reader.state().identify(5, (3, 9));
///
/// let observer = NodeObserver::open(table.descriptor().try_clone_to_owned()?)?;
/// let (subscriber, writer, probe) = observer.readers().remove(0);
/// assert_eq!((subscriber, writer), (5, (3, 9)));
/// let report = probe.look().ok_or("it is there")?;
/// assert_eq!((report.start, report.held), (None, 0));
/// drop(reader);
/// assert_eq!(probe.look(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReaderProbe {
    identity: (u64, u64, u64),
    counters: Window<ReaderCounters>,
    block: usize,
    peer: PeerReader,
}

/// What a reader had counted at one moment.
///
/// See [`ReaderProbe`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderReport {
    /// The first message that was for it; `None` before its writer has attached it.
    pub start: Option<u64>,
    /// Where it stands: told when it has nothing more to read, and every so many messages on the way.
    pub cursor: u64,
    /// Messages that were overwritten before it got to them.
    pub lost: u64,
    /// How often it went to sleep, modulo 2³¹.
    pub sleeps: u32,
    /// Whether it sleeps, or is about to.
    pub is_asleep: bool,
    /// Messages that it holds where they are.
    pub held: u64,
}

/// What a client had counted at one moment.
///
/// See [`super::ClientTally`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientReport {
    /// Its number within its node.
    pub client: u32,
    events: [u64; CLIENT_EVENTS],
    /// Its calls by the time until their first answer.
    pub latencies: Latencies,
}

impl ClientReport {
    /// How often it happened.
    ///
    /// See [`ClientTally`](super::ClientTally) for an example.
    pub fn events(&self, event: CallEvent) -> u64 {
        self.events[event as usize]
    }
}

impl NodeObserver {
    /// Maps a node's reader segment for looking at its counters.
    ///
    /// # Errors
    ///
    /// What [`View::open`] says, and [`SegmentError::NotASegment`] for one that is too small to have counters.
    pub fn open(descriptor: OwnedFd) -> Result<Self, SegmentError> {
        let view = View::open(descriptor, SegmentKind::Readers)?;
        let mapping = view.mapping();
        let header = Window::new(mapping, COUNTERS_OFFSET, 1).ok_or(SegmentError::NotASegment)?;
        let readers = Window::new(mapping, COUNTERS_OFFSET + LINE_BYTES, BLOCKS_MAX);
        let readers = readers.ok_or(SegmentError::NotASegment)?;
        let clients = Window::new(mapping, CLIENTS_OFFSET, CLIENTS_MAX).ok_or(SegmentError::NotASegment)?;
        Ok(Self { header, readers, clients, view })
    }

    /// Version of the library that the node runs: major, minor, patch.
    ///
    /// ```
    /// use onecopy_memory::{counters::NodeObserver, hold::ReaderTable};
    ///
    /// let table = ReaderTable::create()?;
    /// let observer = NodeObserver::open(table.descriptor().try_clone_to_owned()?)?;
    /// let [major, minor, patch] = observer.library_version();
    /// assert_eq!(format!("{major}.{minor}.{patch}"), env!("CARGO_PKG_VERSION"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn library_version(&self) -> [u16; 3] {
        let packed = self.header[0].library_version.load(Ordering::Relaxed);
        [(packed >> 32) as u16, (packed >> 16) as u16, packed as u16]
    }

    /// The readers that there are now, each with the number of its subscriber within the node, and the node
    /// and number of its writer.
    pub fn readers(&self) -> Vec<(u32, (u64, u32), ReaderProbe)> {
        let end = self.header[0].blocks_end.load(Ordering::Relaxed).min(BLOCKS_OBSERVED_MAX) as usize;
        let lines = self.readers.iter().take(end).enumerate();
        let found = lines.filter_map(|(block, line)| {
            let identity @ (reader, writer_node, writer) = identity(line)?;
            let (reader, writer) = (u32::try_from(reader).ok()?, u32::try_from(writer).ok()?);
            let peer = PeerReader::open(&self.view, block as u32)?;
            let probe = ReaderProbe { identity, counters: self.readers.clone(), block, peer };
            Some((reader, (writer_node, writer), probe))
        });
        found.collect()
    }

    /// What the clients that there are now have counted.
    ///
    /// See [`ClientTally`](super::ClientTally) for an example.
    pub fn clients(&self) -> Vec<ClientReport> {
        let end = self.header[0].clients_end.load(Ordering::Relaxed);
        let end = usize::try_from(end).unwrap_or(usize::MAX);
        self.clients.iter().take(end).filter_map(client).collect()
    }
}

impl ReaderProbe {
    /// What it counts, as of now; `None` once it has ended.
    pub fn look(&self) -> Option<ReaderReport> {
        let line = &self.counters[self.block];
        if identity(line)? != self.identity {
            return None;
        }
        let start = line.start.load(Ordering::Relaxed);
        let mut held = 0;
        // A chain that makes no sense is shown as far as it makes some.
        let _honest = self.peer.for_each_held(|_| held += 1);
        let report = ReaderReport {
            start: (start != u64::MAX).then_some(start),
            cursor: self.peer.cursor(),
            lost: line.lost.load(Ordering::Relaxed),
            sleeps: self.peer.sleeps(),
            is_asleep: self.peer.sleeping() != 0,
            held,
        };
        // Whatever was read above belongs to the reader that was there before, if that is still there.
        fence(Ordering::Acquire);
        (line.reader.load(Ordering::Relaxed) == self.identity.0).then_some(report)
    }
}

/// Whose line it is; `None` if it is nobody's.
fn identity(line: &ReaderCounters) -> Option<(u64, u64, u64)> {
    // Pairs with the release in `ReaderState::identify`.
    let reader = load_acquire(&line.reader);
    let writer = (line.writer_node.load(Ordering::Relaxed), line.writer.load(Ordering::Relaxed));
    (reader != 0).then_some((reader, writer.0, writer.1))
}

fn client(counters: &ClientCounters) -> Option<ClientReport> {
    // Pairs with the release in `ClientTally::new`.
    let number = load_acquire(&counters.client);
    let events = std::array::from_fn(|event| counters.events[event].load(Ordering::Relaxed));
    let buckets = (0..LATENCY_BUCKETS).map(|bucket| counters.latencies[bucket].load(Ordering::Relaxed));
    let latencies = Latencies { buckets: buckets.collect() };
    // As in `ReaderProbe::look`.
    fence(Ordering::Acquire);
    if counters.client.load(Ordering::Relaxed) != number {
        return None;
    }
    let client = u32::try_from(number).ok().filter(|client| *client != 0)?;
    Some(ClientReport { client, events, latencies })
}
