//! One counterpart of a client or a server: the ring to it. What comes from it is a feed (see `mail.rs`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onecopy_memory::board::Board;
use onecopy_memory::ring::RingWriter;

use crate::broker::protocol::PortId;
use crate::limits::CALLS_MAX;
use crate::node::handle::NodeHandle;
use crate::sender::Sender;

/// The way to one counterpart.
pub(super) struct Link {
    pub(super) peer: PortId,
    /// Its process.
    pub(super) pid: u32,
    pub(super) sender: Sender,
    /// It reads what is sent.
    pub(super) hears: bool,
    /// The broker said that it ended.
    pub(super) parted: bool,
    /// It has been heard, so when it is not any more, it ended.
    pub(super) was_heard: bool,
    /// For each call of a client, its number for as long as somebody waits for an answer.
    pub(super) interest: Option<Board>,
}

impl Link {
    pub(super) fn new(
        node: &Arc<NodeHandle>,
        peer: PortId,
        pid: u32,
        publisher: PortId,
        writer: RingWriter,
        budget_bytes: usize,
    ) -> Self {
        let sender = Sender::new(Arc::clone(node), publisher, writer, budget_bytes);
        Self { peer, pid, sender, hears: false, parted: false, was_heard: false, interest: None }
    }

    /// With a board for the calls of a client.
    pub(super) fn with_interest(mut self) -> Self {
        // The first chunk of the pool, so it is in the ring's own segment, which is larger than that.
        let chunk = self.sender.pool.allocate(Board::bytes(CALLS_MAX));
        self.interest = chunk.and_then(Board::new);
        self
    }

    /// Whether it has ended, as far as this side knows.
    pub(super) fn is_dead(&self) -> bool {
        self.parted || (self.hears && self.sender.writer.readers().count() == 0)
    }
}

/// A link as requests share it with their server.
pub(super) type SharedLink = Arc<Mutex<Link>>;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panics in between is user code that holds no half-made state of ours.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
