//! The slots of a ring, and how far its writer is.
//!
//! A writer shows its position in the header once in some messages only: each store of a message takes room in the
//! store buffer, where it waits behind those to lines that readers have, and it is this room that bounds how many
//! messages are under way to a reader (docs/decisions/straight-copies.md). Whoever wants to know the position, a late
//! joiner or a reader that was lapped, walks on from there: a slot that has the sequence of the next message has that
//! message. So what it finds is as exact as if the position were stored with each message.

use crate::layout::{KIND_INLINE, Meta, RingHeader, WRITING};
use crate::sync::{AtomicU64, Ordering, fence, load_acquire};
use crate::window::{Pane, Window};

/// The position is shown once in so many messages, or more often in a small ring.
const SHOWN_EVERY_MAX: u64 = 8;

/// The header and the slots of one ring, as its writer or a reader has them mapped.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    header: Pane<RingHeader>,
    words: Window<AtomicU64>,
    /// A power of two.
    capacity: u64,
    slot_words: usize,
}

/// How far a writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Position of its next message.
    pub(crate) head: u64,
    /// Payload bytes that it has published.
    pub(crate) bytes: u64,
}

impl Slots {
    /// `capacity` slots of `slot_words`.
    ///
    /// # Panics
    ///
    /// If there are not so many words.
    pub(crate) fn new(
        header: Pane<RingHeader>,
        words: Window<AtomicU64>,
        capacity: u64,
        slot_words: usize,
    ) -> Self {
        assert!(capacity.is_power_of_two() && words.len() == capacity as usize * slot_words);
        Self { header, words, capacity, slot_words }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Pane<RingHeader> {
        &self.header
    }

    /// The words of the slot in which the message at `position` stands.
    #[inline(always)]
    pub(crate) fn slot(&self, position: u64) -> &[AtomicU64] {
        let first = (position & (self.capacity - 1)) as usize * self.slot_words;
        // SAFETY: the slot's number is below the capacity, and there are so many slots of words (see `new`).
        unsafe { self.words.get_unchecked(first..first + self.slot_words) }
    }

    /// Once in how many messages the writer shows its position: within half a ring, so that what is shown is still ahead
    /// of every message that was overwritten.
    #[inline(always)]
    pub(crate) fn shown_every(&self) -> u64 {
        (self.capacity / 2).min(SHOWN_EVERY_MAX)
    }

    /// Shows that the writer came to `head`, having published `bytes` since it came to what it showed last.
    #[inline(always)]
    pub(crate) fn show(&self, head: u64, bytes: u64) {
        // Nobody else stores it.
        let published_bytes = self.header.published_bytes.load(Ordering::Relaxed).wrapping_add(bytes);
        self.header.published_bytes.store(published_bytes, Ordering::Relaxed);
        // Release pairs with the acquire in `progress`: who reads it finds the slots below it filled.
        self.header.head.store(head, Ordering::Release);
    }

    /// Payload bytes of the messages from `first` to `end`, all of which are in their slots.
    pub(crate) fn inline_bytes(&self, first: u64, end: u64) -> u64 {
        let metas = (first..end).map(|position| Meta::unpack(self.slot(position)[1].load(Ordering::Relaxed)));
        metas.map(|meta| u64::from(meta.length)).sum()
    }

    /// Position of the writer's next message. Every message is below it whose publishing happened before the call.
    pub(crate) fn head(&self) -> u64 {
        self.progress().head
    }

    /// How far the writer is.
    pub(crate) fn progress(&self) -> Progress {
        let mut shown = self.shown();
        loop {
            if let Some(progress) = self.walk(shown) {
                return progress;
            }
            // Pairs with the release fence in the writer's `open_slot`: whatever took the slot from the message that we looked
            // for came after the writer had shown that it is far beyond.
            fence(Ordering::Acquire);
            let before = std::mem::replace(&mut shown, self.shown());
            if shown.head <= before.head {
                // No honest writer. Its position is checked by whoever needs it.
                return before;
            }
        }
    }

    fn shown(&self) -> Progress {
        // Pairs with the release in `show`.
        let head = load_acquire(&self.header.head);
        Progress { head, bytes: self.header.published_bytes.load(Ordering::Relaxed) }
    }

    /// Goes from message to message; `None` if the writer came round meanwhile.
    fn walk(&self, shown: Progress) -> Option<Progress> {
        let mut progress = shown;
        for _ in 0..self.shown_every() {
            let position = progress.head;
            if position >= WRITING {
                break;
            }
            let slot = self.slot(position);
            // Pairs with the release in the writer's `close_slot`.
            let sequence = load_acquire(&slot[0]);
            if sequence & !WRITING > position + 1 {
                return None;
            }
            if sequence != position + 1 {
                break;
            }
            let meta = Meta::unpack(slot[1].load(Ordering::Relaxed));
            // Pairs with the release fence in `open_slot`: these are the words of this very message.
            fence(Ordering::Acquire);
            if slot[0].load(Ordering::Relaxed) != sequence {
                return None;
            }
            progress.head += u64::from(meta.count);
            // What lies in a chunk is shown at once.
            if meta.kind == KIND_INLINE {
                progress.bytes = progress.bytes.wrapping_add(u64::from(meta.length));
            }
        }
        Some(progress)
    }
}
