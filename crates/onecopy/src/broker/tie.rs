//! What a port of a returning node was tied to when its broker ended. Each side tells its half; see `returning.rs`.

use onecopy_memory::pool::SegmentSet;
use serde::{Deserialize, Serialize};

use super::ids::{NodeId, PortId, Route};
use super::segment_bits;

/// One side's half of a tie between two ports.
///
/// ```
/// use onecopy::broker::protocol::{NodeId, PortId, Route, Tie};
///
/// let port = |node, serial| PortId { node: NodeId(node), serial };
/// let route = Route { publisher: port(1, 1), subscriber: port(2, 1) };
/// // The publisher's half, as its node announces it to the next broker.
/// let half = Tie::Reader(route);
/// assert_eq!((half.port(), half.other()), (route.publisher, route.subscriber));
/// assert_eq!(half.other_node(), NodeId(2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tie {
    /// Of a publisher: it looks at that subscriber's reader state.
    Reader(Route),
    /// Of a subscriber: it has a reader of that publisher.
    Source {
        /// The two.
        route: Route,
        /// It was told where to start, and may hold messages.
        attached: bool,
        /// The segments of the publisher's pool that it has.
        #[serde(with = "segment_bits")]
        segments: SegmentSet,
    },
    /// Of a client or a server: it was introduced to that counterpart.
    Met {
        /// The client or server.
        port: PortId,
        /// The counterpart.
        peer: PortId,
    },
    /// Of somebody who takes part in a shared region: that other port has this seat.
    Seat {
        /// Who says so.
        port: PortId,
        /// Of whom.
        other: PortId,
        /// The seat.
        seat: u32,
    },
}

impl Tie {
    /// The port that is tied.
    pub fn port(&self) -> PortId {
        match self {
            Self::Reader(route) => route.publisher,
            Self::Source { route, .. } => route.subscriber,
            Self::Met { port, .. } | Self::Seat { port, .. } => *port,
        }
    }

    /// The port that it is tied to.
    pub fn other(&self) -> PortId {
        match self {
            Self::Reader(route) => route.subscriber,
            Self::Source { route, .. } => route.publisher,
            Self::Met { peer, .. } => *peer,
            Self::Seat { other, .. } => *other,
        }
    }

    /// The node of the port that it is tied to.
    pub fn other_node(&self) -> NodeId {
        self.other().node
    }
}
