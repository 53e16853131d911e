//! What publishers, clients and servers send with: a ring, the pool for what does not fit its slots, and the connection
//! over which the pool's growth is announced.

use std::sync::Arc;
use std::time::Instant;

use onecopy_memory::layout::SegmentKind;
use onecopy_memory::pool::{Chunk, Pool, SegmentSet};
use onecopy_memory::ring::{Allocation, BudgetExhausted, RingWriter};
use onecopy_memory::segment::Segment;
use onecopy_memory::wait::Woken;

use crate::broker::protocol::PortId;
use crate::broker::transport::TransportError;
use crate::error::LoanError;
use crate::limits::GROWTH_TIMEOUT;
use crate::node::handle::NodeHandle;

/// Ring, pool and connection: what does not depend on the payload's type.
pub(crate) struct Sender {
    pub(crate) node: Arc<NodeHandle>,
    pub(crate) port: PortId,
    pub(crate) writer: RingWriter,
    pub(crate) pool: Pool,
}

impl Sender {
    pub(crate) fn new(node: Arc<NodeHandle>, port: PortId, writer: RingWriter, budget_bytes: usize) -> Self {
        Self { pool: writer.create_pool(budget_bytes), port, node, writer }
    }

    #[inline]
    pub(crate) fn check_room(&mut self, count: u64) -> Result<(), LoanError> {
        if self.node.is_forked() {
            return Err(LoanError::Forked);
        }
        if self.writer.has_room(count) { Ok(()) } else { Err(LoanError::Full) }
    }

    /// Puts memory for a message of `length` bytes, header included, into `place`: not returned, for a chunk
    /// that is moved just after it was made costs more than all else here
    /// (docs/decisions/store-forwarding.md).
    #[inline]
    pub(crate) fn chunk_into(&mut self, place: &mut Option<Chunk>, length: usize) -> Result<(), LoanError> {
        *place = self.pool.allocate_recent(length);
        if place.is_none() {
            *place = Some(self.chunk(length)?);
        }
        Ok(())
    }

    /// Memory for a message of `length` bytes, header included.
    #[inline(never)]
    pub(crate) fn chunk(&mut self, length: usize) -> Result<Chunk, LoanError> {
        loop {
            match self.writer.allocate(&mut self.pool, length) {
                Ok(Allocation::Chunk(chunk)) => return Ok(chunk),
                Ok(Allocation::Grow(bytes)) => {
                    if let Err(cause) = self.grow(bytes, length) {
                        let chunk = self.writer.allocate_without_growth(&mut self.pool, length);
                        return chunk.map_err(|exhausted| self.without_growth(exhausted, cause));
                    }
                }
                Err(exhausted) => return Err(self.without_growth(exhausted, exhausted.into())),
            }
        }
    }

    /// Adds a segment of `bytes`, or if there may not be so many, of as many as a message of `length` bytes needs, and
    /// at least half of what there may be: pools have few segments.
    fn grow(&mut self, bytes: usize, length: usize) -> Result<(), LoanError> {
        let refused = match self.add_segment(bytes) {
            Err(LoanError::Refused(refused)) => refused,
            added => return added,
        };
        let least = self.pool.growth_least(length).filter(|least| *least < bytes);
        let Some(least) = least else { return Err(refused.into()) };
        // Whoever has no room for the message either is told so at once.
        self.reserve(&Segment::create(SegmentKind::Pool, least, 0)?, self.pool.replaced_by(least))?;
        let mut bytes = bytes / 2;
        while bytes > least {
            match self.add_segment(bytes) {
                Err(LoanError::Refused(_)) => bytes /= 2,
                added => return added,
            }
        }
        self.add_segment(least)
    }

    /// Has the segment counted, where somebody counts.
    fn reserve(&self, segment: &Segment, replaced: SegmentSet) -> Result<(), LoanError> {
        let reserved = self.node.reserve(self.port, segment.descriptor(), replaced, GROWTH_TIMEOUT);
        reserved.map_err(LoanError::from_growth)
    }

    fn add_segment(&mut self, bytes: usize) -> Result<(), LoanError> {
        let segment = Segment::create(SegmentKind::Pool, bytes, 0)?;
        let index = self.pool.segments() as u32;
        let replaced = self.pool.replaced_by(bytes);
        let announced = self.reserve(&segment, replaced).and_then(|()| {
            // Subscribers need it before they can look into its chunks; they wait for it if a message is faster.
            Ok(self.node.announce_segment(self.port, index, replaced, &segment)?)
        });
        if let Err(error) = announced {
            if matches!(error, LoanError::Transport(TransportError::Closed)) {
                self.pool.set_growth(false);
            }
            return Err(error);
        }
        self.pool.add(&segment);
        self.writer.show_pool(&self.pool);
        Ok(())
    }

    /// Waits for readers to make it possible that a message finds room, and `chunk_bytes` of memory if it
    /// takes a chunk: what it found none for before is `cause`.
    ///
    /// # Errors
    ///
    /// The cause, if no reader can change it; [`LoanError::Timeout`] at the deadline.
    #[cold]
    pub(crate) fn wait_for_readers(
        &mut self,
        cause: LoanError,
        chunk_bytes: Option<usize>,
        deadline: Option<Instant>,
    ) -> Result<(), LoanError> {
        let is_for_readers = matches!(
            cause,
            LoanError::Full
                | LoanError::Budget(_)
                | LoanError::BrokerGone { .. }
                | LoanError::BrokerSilent
                | LoanError::Refused(_)
        );
        if !is_for_readers {
            return Err(cause);
        }
        // What may not grow now has to do with what there is.
        let is_held_up = matches!(cause, LoanError::BrokerSilent | LoanError::Refused(_));
        let may_grow = self.pool.set_growth(self.pool.may_grow() && !is_held_up);
        let waited = self.wait_for_memory(cause, chunk_bytes, deadline);
        self.pool.set_growth(may_grow);
        waited
    }

    fn wait_for_memory(
        &mut self,
        cause: LoanError,
        chunk_bytes: Option<usize>,
        deadline: Option<Instant>,
    ) -> Result<(), LoanError> {
        let Self { writer, pool, node, port } = self;
        if chunk_bytes.is_some_and(|bytes| !pool.may_ever_hold(bytes)) {
            return Err(cause);
        }
        let woken = writer.wait_for_readers(deadline, |writer| {
            writer.has_room(1) && chunk_bytes.is_none_or(|bytes| writer.may_allocate(pool, bytes))
        });
        match woken {
            // Without subscribers there was nobody to wait for.
            Woken::TimedOut if node.attached_to(*port) == 0 => Err(cause),
            Woken::TimedOut => Err(LoanError::Timeout),
            _ => Ok(()),
        }
    }

    /// Why there is no memory: for `cause`, unless it is that no broker is there to hand out more.
    fn without_growth(&self, exhausted: BudgetExhausted, cause: LoanError) -> LoanError {
        if self.pool.may_grow() {
            return cause;
        }
        LoanError::BrokerGone {
            requested_bytes: exhausted.requested_bytes,
            memory_bytes: self.pool.committed_bytes(),
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.node.close(self.port);
    }
}
