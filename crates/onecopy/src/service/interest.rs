//! What a client shows its server of each call, beside the requests: the call's number for as long as
//! somebody waits for it, and how many answers of a stream have been taken. Both lie in one cache line, so
//! that a server that looks at the one has the other.

use onecopy_memory::board::{Board, PeerWords};
use onecopy_memory::pool::Pool;
use onecopy_memory::ring::RingReader;

use super::calls::index_of;
use crate::limits::CALLS_MAX;

/// Words of a call: its number, and what was taken.
const WORDS: usize = 2;

/// The client's side, for all its calls at one server.
pub(super) struct InterestBoard {
    board: Board,
}

impl InterestBoard {
    /// Memory that it takes of the requests'.
    pub(super) fn bytes() -> usize {
        Board::bytes(WORDS * CALLS_MAX)
    }

    /// The first chunk of a pool that has so much memory in the ring's own segment.
    pub(super) fn new(pool: &mut Pool) -> Self {
        let board = pool.allocate(Self::bytes()).and_then(Board::new);
        Self { board: board.expect("the first chunk of an arena that is as large as the board") }
    }

    /// Somebody waits for a call from now on, and has taken nothing. Returns where its server finds that.
    pub(super) fn show(&self, id: u64) -> u64 {
        let first = WORDS * index_of(id);
        self.board.set(first + 1, 0);
        self.board.set(first, id);
        self.board.offset_of(first)
    }

    /// So many of its answers were taken.
    pub(super) fn show_taken(&self, id: u64, taken: u64) {
        self.board.set(WORDS * index_of(id) + 1, taken);
    }

    /// Nobody waits for it any more.
    pub(super) fn withdraw(&self, id: u64) {
        self.board.set(WORDS * index_of(id), 0);
    }
}

/// The server's look at one call.
pub(super) struct Interest {
    words: PeerWords,
}

impl Interest {
    /// `None` if there is nothing at `offset`: then nobody can cancel the call.
    #[inline]
    pub(super) fn find(reader: &RingReader, offset: u64) -> Option<Self> {
        Some(Self { words: reader.words(offset, WORDS)? })
    }

    /// Whether somebody waits for this call.
    #[inline]
    pub(super) fn is_in(&self, id: u64) -> bool {
        self.words.load(0) == id
    }

    /// Answers to it that were taken, as its client says.
    pub(super) fn taken(&self) -> u64 {
        self.words.load(1)
    }
}
