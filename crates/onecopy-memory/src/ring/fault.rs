//! What can go wrong with a ring as a reader sees it.

use crate::counted::counted;
use crate::hold::HoldError;
use crate::segment::SegmentError;

/// The ring's writer is broken or hostile: this reader gives it up.
///
/// ```
/// use onecopy_memory::ring::RingFault;
///
/// // A reader that was waited for in vain; its subscriber may open anew.
/// let told = RingFault::Evicted { missed: 3 }.to_string();
/// assert!(told.ends_with("which had not read 3 messages"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingFault {
    /// A slot's fields make no sense.
    #[error(
        "slot of message {position} is corrupt ({what}): its publisher is broken or hostile, and is ignored from now on"
    )]
    CorruptSlot {
        /// Number of the message.
        position: u64,
        /// Which field.
        what: &'static str,
    },
    /// The position in the header makes no sense.
    #[error(
        "ring position {head} is corrupt: its publisher is broken or hostile, and is ignored from now on"
    )]
    CorruptHead {
        /// What stood there.
        head: u64,
    },
    /// The next message of a reliable ring is gone: the writer waited for this reader, and went on without it.
    #[error("its publisher went on without this subscriber, which had not read {}", counted(*missed, "message"))]
    Evicted {
        /// Messages that it did not get.
        missed: u64,
    },
    /// No room to note a further held message: the reader's own limit, the message stays to be received.
    #[error(transparent)]
    Hold(#[from] HoldError),
}

/// Why a reader could not be set up.
///
/// ```
/// # use onecopy_memory::{hold::ReaderTable, layout::SegmentKind, segment::{Segment, SegmentError, View}};
/// # use onecopy_memory::ring::{OpenError, RingReader};
/// // A segment that says it is a ring, and has no slots.
/// let segment = Segment::create(SegmentKind::Ring, 8192, 0)?;
/// let view = View::open(segment.descriptor().try_clone_to_owned()?, SegmentKind::Ring)?;
/// let refused = RingReader::open(&view, &ReaderTable::create()?, Box::new(()));
/// assert!(matches!(refused, Err(OpenError::Segment(SegmentError::Geometry { capacity: 0, .. }))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// What was offered is no ring.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// No room for a further reader.
    #[error(transparent)]
    Hold(#[from] HoldError),
}
