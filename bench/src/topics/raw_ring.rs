//! The rings of the peer `raw`, for streams of messages: [`Slots`] with a sequence number in each slot, which is best
//! for messages published one by one, and [`Packed`] with a common counter, which is best for many at a time.

use std::sync::atomic::{AtomicU64, Ordering};

use super::throughput::BATCH;
use crate::child::{Link, PEER_AT};
use crate::endpoint::Endpoint;
use crate::payload::Received;
use crate::raw_line::{read, write};
use crate::shared_memory::SharedMemory;

/// Fits the second-level cache with all strides used here.
const CAPACITY: u64 = 4096;
/// After how many messages a reader tells its writer how far it is.
const TELL_EVERY: u64 = 256;
/// Where the counters and the slots are, in words; each counter has two lines, as lines are fetched in pairs.
const HEAD_AT: usize = PEER_AT;
const TAIL_AT: usize = PEER_AT + 16;
const SLOTS_AT: usize = PEER_AT + 32;

/// The reader's progress as both sides use it.
struct Progress {
    /// Messages written, or read, by this side
    done: u64,
    /// How far the writer knows the reader to be
    known_tail: u64,
}

impl Progress {
    /// Spins until `count` slots are free.
    #[inline]
    fn reserve(&mut self, memory: &SharedMemory, count: u64) {
        while self.done + count - self.known_tail > CAPACITY {
            self.known_tail = memory.words()[TAIL_AT].load(Ordering::Acquire);
        }
    }

    /// Counts a message read.
    #[inline]
    fn advance(&mut self, memory: &SharedMemory) {
        self.done += 1;
        if self.done.is_multiple_of(TELL_EVERY) {
            memory.words()[TAIL_AT].store(self.done, Ordering::Release);
        }
    }
}

/// Slots of a sequence number and a payload, at the closest stride of whole 16 bytes.
pub(super) struct Slots {
    memory: SharedMemory,
    words: usize,
    stride: usize,
    progress: Progress,
}

impl Slots {
    pub(super) fn open(link: &Link) -> anyhow::Result<Self> {
        let words = link.job.words();
        let stride = (words + 1).next_multiple_of(2);
        let progress = Progress { done: 0, known_tail: 0 };
        Ok(Self { memory: SharedMemory::open(&link.job)?, words, stride, progress })
    }

    /// The sequence number and the payload of the slot for message number `index`.
    #[inline]
    fn slot(&self, index: u64) -> (&AtomicU64, &[AtomicU64]) {
        let at = SLOTS_AT + (index % CAPACITY) as usize * self.stride;
        let slot = &self.memory.words()[at..at + self.words + 1];
        (&slot[0], &slot[1..])
    }

    /// Writes the next message over the oldest one, whether it was read or not.
    #[inline]
    pub(super) fn overwrite(&mut self, first: u64) {
        let index = self.progress.done;
        let (sequence, payload) = self.slot(index);
        // Nobody who sees a word of the new message may still see the old number.
        sequence.store(0, Ordering::Relaxed);
        std::sync::atomic::fence(Ordering::Release);
        write(payload, first);
        sequence.store(index + 1, Ordering::Release);
        self.progress.done += 1;
    }

    /// The next message for a reader that may be overtaken, and then goes on at the newest one it meets.
    #[inline]
    pub(super) fn poll(&self, cursor: &mut u64) -> Option<Received> {
        let (sequence, payload) = self.slot(*cursor);
        let before = sequence.load(Ordering::Acquire);
        if before <= *cursor {
            return None;
        }
        let received = read(payload);
        std::sync::atomic::fence(Ordering::Acquire);
        if sequence.load(Ordering::Relaxed) != before {
            return None;
        }
        *cursor = before;
        Some(received)
    }
}

impl Endpoint for Slots {
    #[inline]
    fn send(&mut self, first: u64) -> anyhow::Result<()> {
        self.progress.reserve(&self.memory, 1);
        let (sequence, payload) = self.slot(self.progress.done);
        write(payload, first);
        sequence.store(self.progress.done + 1, Ordering::Release);
        self.progress.done += 1;
        Ok(())
    }

    #[inline]
    fn receive(&mut self) -> anyhow::Result<Received> {
        let (sequence, payload) = self.slot(self.progress.done);
        while sequence.load(Ordering::Acquire) != self.progress.done + 1 {}
        let received = read(payload);
        self.progress.advance(&self.memory);
        Ok(received)
    }
}

/// Payloads side by side, and one counter of the messages written, stored once a batch.
pub(super) struct Packed {
    memory: SharedMemory,
    words: usize,
    known_head: u64,
    progress: Progress,
}

impl Packed {
    pub(super) fn open(link: &Link) -> anyhow::Result<Self> {
        let progress = Progress { done: 0, known_tail: 0 };
        Ok(Self { memory: SharedMemory::open(&link.job)?, words: link.job.words(), known_head: 0, progress })
    }

    #[inline]
    fn payload(&self, index: u64) -> &[AtomicU64] {
        &self.memory.words()[SLOTS_AT + (index % CAPACITY) as usize * self.words..][..self.words]
    }
}

impl Endpoint for Packed {
    #[inline]
    fn send(&mut self, first: u64) -> anyhow::Result<()> {
        self.progress.reserve(&self.memory, BATCH);
        for index in 0..BATCH {
            write(self.payload(self.progress.done + index), first + index);
        }
        self.progress.done += BATCH;
        self.memory.words()[HEAD_AT].store(self.progress.done, Ordering::Release);
        Ok(())
    }

    #[inline]
    fn receive(&mut self) -> anyhow::Result<Received> {
        while self.known_head == self.progress.done {
            self.known_head = self.memory.words()[HEAD_AT].load(Ordering::Acquire);
        }
        let received = read(self.payload(self.progress.done));
        self.progress.advance(&self.memory);
        Ok(received)
    }
}
