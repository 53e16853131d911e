//! What publishers, clients and servers send with: a ring, the pool for what does not fit its slots, and the connection
//! over which the pool's growth is announced.

use std::sync::Arc;

use onecopy_memory::layout::SegmentKind;
use onecopy_memory::pool::{Chunk, Pool};
use onecopy_memory::ring::{Allocation, BudgetExhausted, RingWriter};
use onecopy_memory::segment::Segment;

use crate::broker::protocol::PortId;
use crate::broker::transport::TransportError;
use crate::error::LoanError;
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

    /// Puts memory for a message of `length` bytes, header included, into `place`: not returned, for a chunk that is moved
    /// just after it was made costs more than all else here (docs/decisions/store-forwarding.md).
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
                    if let Err(cause) = self.grow(bytes) {
                        let chunk = self.writer.allocate_without_growth(&mut self.pool, length);
                        return chunk.map_err(|exhausted| self.without_growth(exhausted, cause));
                    }
                }
                Err(exhausted) => return Err(self.without_growth(exhausted, exhausted.into())),
            }
        }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), LoanError> {
        let segment = Segment::create(SegmentKind::Pool, bytes, 0)?;
        let index = self.pool.segments() as u32;
        let replaced = self.pool.replaced_by(bytes);
        // Subscribers need it before they can look into its chunks; they wait for it if a message is faster.
        if let Err(error) = self.node.announce_segment(self.port, index, replaced, &segment) {
            if matches!(error, TransportError::Closed) {
                self.pool.set_growth(false);
            }
            return Err(error.into());
        }
        self.pool.add(&segment);
        self.writer.show_pool(&self.pool);
        Ok(())
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
