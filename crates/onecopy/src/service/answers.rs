//! What a server has sent in answer to one request, and how far ahead of its client a stream of answers may be.
//!
//! A stream has a window: answers that were sent, and that its client has not taken. The client says what it has taken
//! (see `interest.rs`), so it can receive all that is sent and keep it for whoever asks; a stream that nobody
//! reads ends up with a full window and a server that waits, and the ring stays free for the answers to other
//! calls.

use std::collections::VecDeque;

use super::interest::Interest;
use crate::limits::{
    CALLS_MAX, STREAM_ANSWERS_MAX, STREAM_BYTES_DIVISOR, STREAM_CHUNKS_MAX, STREAMS_BYTES_DIVISOR,
};
use crate::sender::Sender;

#[derive(Debug)]
pub(super) struct Answers {
    /// The last one was sent, or none is wanted.
    pub(super) are_over: bool,
    /// They are several, some of them in chunks, as far as its server has shown.
    are_chunks: bool,
    /// Bytes of the chunks that are lent for answers, and not sent.
    pub(super) lent_bytes: usize,
    /// In a box of its own: most requests have one answer, and are moved about.
    stream: Option<Box<Window>>,
}

/// How far a stream of answers is ahead of its client.
#[derive(Debug, Default)]
struct Window {
    /// Answers of the stream.
    sent: u64,
    /// Of those, as its client said last.
    taken: u64,
    /// Those in chunks that were not taken: their numbers and bytes.
    large: VecDeque<(u64, usize)>,
    large_bytes: usize,
}

/// Memory that an answer takes beside its slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnswerMemory {
    /// Bytes of its chunk; 0 if it travels in its slot.
    pub(super) chunk_bytes: usize,
    /// Of those, what is lent already: all or none.
    pub(super) lent_bytes: usize,
}

impl Answers {
    pub(super) fn new(are_over: bool) -> Self {
        Self { are_over, are_chunks: false, lent_bytes: 0, stream: None }
    }

    /// Whether the stream may have another answer.
    pub(super) fn has_room(
        &mut self,
        interest: Option<&Interest>,
        sender: &mut Sender,
        memory: AnswerMemory,
    ) -> bool {
        let budget_bytes = sender.pool.budget_bytes();
        let AnswerMemory { chunk_bytes, lent_bytes } = memory;
        if chunk_bytes > budget_bytes {
            // It never has, whatever is taken: whoever looks for the memory says so.
            return true;
        }
        self.are_chunks |= chunk_bytes > 0;
        let others_bytes = self.lent_bytes - lent_bytes;
        let is_in_window = match &mut self.stream {
            None => Window::default().has_room(chunk_bytes, others_bytes, budget_bytes),
            Some(window) => {
                window.has_room(chunk_bytes, others_bytes, budget_bytes) || {
                    window.look(interest);
                    window.has_room(chunk_bytes, others_bytes, budget_bytes)
                }
            }
        };
        is_in_window && leaves_room(sender, memory)
    }

    /// Whether a chunk of `chunk_bytes` may be lent for an answer, or a slot (0). A call's first chunk may be
    /// its last answer, which has all memory, whatever its server means to do with it; only one of several can
    /// be that, and a stream of chunks may as well wait for its client to read what comes before the last.
    pub(super) fn may_lend(
        &mut self,
        interest: Option<&Interest>,
        sender: &mut Sender,
        chunk_bytes: usize,
    ) -> bool {
        let may_be_last = self.lent_bytes == 0 && !self.are_chunks;
        chunk_bytes == 0
            || may_be_last
            || self.has_room(interest, sender, AnswerMemory { chunk_bytes, lent_bytes: 0 })
    }

    /// Another answer of the stream was sent.
    pub(super) fn sent(&mut self, chunk_bytes: usize) {
        self.stream.get_or_insert_default().sent(chunk_bytes);
    }
}

impl Window {
    fn sent(&mut self, chunk_bytes: usize) {
        if chunk_bytes > 0 {
            self.large.push_back((self.sent, chunk_bytes));
            self.large_bytes += chunk_bytes;
        }
        self.sent += 1;
    }

    /// Whether there is room for an answer in a chunk of `chunk_bytes`, beside others that are lent.
    fn has_room(&self, chunk_bytes: usize, others_bytes: usize, budget_bytes: usize) -> bool {
        let is_large_in_window = || {
            let bytes = self.large_bytes.saturating_add(others_bytes).saturating_add(chunk_bytes);
            self.large.len() < STREAM_CHUNKS_MAX && bytes <= budget_bytes / STREAM_BYTES_DIVISOR
        };
        self.sent - self.taken < STREAM_ANSWERS_MAX as u64
            && (chunk_bytes == 0 || (self.large.is_empty() && others_bytes == 0) || is_large_in_window())
    }

    /// Learns what was taken. A client that says what can't be gains nothing: it may not read, and it may not unread.
    fn look(&mut self, interest: Option<&Interest>) {
        self.taken = interest.map_or(self.sent, Interest::taken).clamp(self.taken, self.sent);
        while let Some((_, bytes)) = self.large.pop_front_if(|(number, _)| *number < self.taken) {
            self.large_bytes -= bytes;
        }
    }
}

/// Whether a stream's next answer leaves what there is for the last answers to all calls of the client,
/// however slowly its streams are read.
fn leaves_room(sender: &mut Sender, memory: AnswerMemory) -> bool {
    sender.writer.has_room(1 + CALLS_MAX as u64)
        && (memory.chunk_bytes == 0 || leaves_memory(sender, memory) || {
            sender.writer.collect(&mut sender.pool);
            leaves_memory(sender, memory)
        })
}

/// An answer that is larger than the share of all streams has to have all of the memory to itself.
fn leaves_memory(sender: &Sender, memory: AnswerMemory) -> bool {
    let others_bytes = sender.pool.used_bytes() - memory.lent_bytes;
    let share_bytes = sender.pool.budget_bytes() / STREAMS_BYTES_DIVISOR;
    others_bytes == 0 || others_bytes.saturating_add(memory.chunk_bytes) <= share_bytes
}
