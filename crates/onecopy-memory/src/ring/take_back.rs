//! Slots that are written next lie in the caches of those who read them a lap ago, so a writer asks for the line of
//! each message anew, and its store buffer, which drains in order, holds the stores of a few messages only: a stream
//! costs almost a line's way to and fro a message. So many slots are taken back at once, by one store for each line,
//! and as many requests are under way together as the core can have (docs/decisions/prefetch.md).

use super::RingWriter;
use crate::layout::LINE_BYTES;
use crate::sync::{AtomicU64, Ordering, fence};

/// Slots that are taken back at once: with one line each, half of what a store buffer takes.
const SLOTS: u64 = 32;

impl RingWriter {
    /// Takes back the lines that the next messages need, if they are as large as one that takes `words` words of
    /// its slot. Nothing changes in them.
    #[cold]
    #[inline(never)]
    pub(super) fn take_back_slots(&mut self, words: usize) {
        let count = SLOTS.min(self.ring.geometry.capacity / 4).max(1);
        // Whoever acquires a sequence that is stored again here sees all that its message's own store made visible.
        fence(Ordering::Release);
        for position in self.head..self.head + count {
            let slot = self.ring.slot(position);
            for word in slot[..words].iter().step_by(LINE_BYTES / size_of::<AtomicU64>()) {
                word.store(word.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        self.taken_back = self.head + count;
    }

    /// Takes back the slot of the next message, for models.
    #[cfg(loom)]
    pub fn take_back_for_model(&mut self) {
        self.take_back_slots(self.ring.geometry.slot_words());
    }
}
