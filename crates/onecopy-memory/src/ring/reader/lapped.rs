//! A reader whose next message is gone: where it goes on, and what it has lost.

use super::RingReader;
use crate::layout::{KIND_INLINE, Meta, WRITING};
use crate::ring::fault::RingFault;
use crate::sync::{Ordering, fence, load_acquire};

impl RingReader {
    /// The next message is gone, on a ring where that happens only to those that are not waited for any more.
    #[cold]
    pub(super) fn evicted(&mut self) -> RingFault {
        // As in `resync`.
        fence(Ordering::Acquire);
        let head = load_acquire(&self.ring.header().head);
        let missed = head.saturating_sub(self.cursor.max(self.start));
        self.lost = self.lost.saturating_add(missed);
        self.state.count_lost(self.lost);
        RingFault::Evicted { missed }
    }

    /// Moves to the oldest message that is still there, or past all that are gone.
    #[cold]
    pub(super) fn resync(&mut self) -> Result<(), RingFault> {
        // Pairs with the release in `raise_floor` and the release fence in `open_slot`: whatever told us that
        // our message is gone came after the head that counts it.
        fence(Ordering::Acquire);
        let head = load_acquire(&self.ring.header().head);
        // The slot of our next message has a later sequence, so the writer has long published ours.
        if head >= WRITING || head <= self.cursor {
            return Err(RingFault::CorruptHead { head });
        }
        let floor = self.ring.header().floor.load(Ordering::Relaxed);
        let capacity = self.ring.geometry.capacity;
        // The oldest messages are the next to be overwritten. A reader that was set there before and is lapped again so
        // soon is too slow to stay there, and would only take lines from the writer: it gives up half a ring.
        let again = self.resynced_at.is_some_and(|position| self.cursor - position < capacity / 4);
        let kept = if again { capacity / 2 } else { capacity };
        let earliest = head.saturating_sub(kept).max(self.cursor);
        let candidate = (earliest..head).find(|&position| {
            self.slot_at(position).is_some_and(|_| position >= floor || self.is_inline(position))
        });
        // Every message below the head that was looked at is gone: its slot has another, or its chunk was taken back.
        let position = candidate.unwrap_or(head);
        self.lost += position.saturating_sub(self.cursor.max(self.start));
        self.state.count_lost(self.lost);
        self.cursor = position;
        self.resynced_at = Some(position);
        self.tell();
        Ok(())
    }

    /// First position and end of the slot that starts at `position`, if one does.
    pub(super) fn slot_at(&self, position: u64) -> Option<(u64, u64)> {
        let slot = self.ring.slot(position);
        if load_acquire(&slot[0]) != position + 1 {
            return None;
        }
        let count = Meta::unpack(slot[1].load(Ordering::Relaxed)).count;
        // As in `unchanged`: the count must be that of this very message.
        fence(Ordering::Acquire);
        if slot[0].load(Ordering::Relaxed) != position + 1 {
            return None;
        }
        Some((position, position.checked_add(u64::from(count))?))
    }

    fn is_inline(&self, position: u64) -> bool {
        Meta::unpack(self.ring.slot(position)[1].load(Ordering::Relaxed)).kind == KIND_INLINE
    }
}
