//! The smallest message of the peer `raw`: one cache line, and a futex beside it for a reader that sleeps.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use rustix::io::Errno;
use rustix::thread::futex;

use crate::child::{Link, PEER_AT};
use crate::endpoint::{Endpoint, Side};
use crate::payload::Received;
use crate::shared_memory::{LINE, SharedMemory};

/// Words of a cache line.
pub(crate) const LINE_WORDS: usize = LINE / size_of::<u64>();
/// From one direction's line to the other's: two lines, as lines are fetched in pairs.
const STRIDE: usize = 2 * LINE_WORDS;

/// Writes a message word by word.
#[inline]
pub(crate) fn write(words: &[AtomicU64], first: u64) {
    for (word, value) in words.iter().zip(first..) {
        word.store(value, Ordering::Relaxed);
    }
}

/// Reads a message word by word.
#[inline]
pub(crate) fn read(words: &[AtomicU64]) -> Received {
    let first = words.first().map_or(0, |word| word.load(Ordering::Relaxed));
    let sum = words.iter().fold(0, |sum: u64, word| sum.wrapping_add(word.load(Ordering::Relaxed)));
    Received { first, sum }
}

/// A message that is exactly a cache line: its own last word, which no two messages in a row share, says that it is
/// complete.
pub(crate) struct BareLine {
    memory: SharedMemory,
    own_at: usize,
    other_at: usize,
    seen: u64,
}

impl BareLine {
    /// Both directions share the line: what comes back is written where the message was read, so that each costs one
    /// transfer of one line.
    pub(crate) fn shared(link: &Link) -> anyhow::Result<Self> {
        Ok(Self { memory: SharedMemory::open(&link.job)?, own_at: PEER_AT, other_at: PEER_AT, seen: 0 })
    }

    /// A line each way, as a channel that may not overwrite the question with the answer has to have.
    pub(crate) fn each_way(link: &Link, side: Side) -> anyhow::Result<Self> {
        let (there, back) = (PEER_AT, PEER_AT + STRIDE);
        let (own_at, other_at) = if side == Side::Parent { (there, back) } else { (back, there) };
        Ok(Self { memory: SharedMemory::open(&link.job)?, own_at, other_at, seen: 0 })
    }

    #[inline]
    fn line(&self, at: usize) -> &[AtomicU64] {
        &self.memory.words()[at..][..LINE_WORDS]
    }
}

impl Endpoint for BareLine {
    #[inline]
    fn send(&mut self, first: u64) -> anyhow::Result<()> {
        let last = first + LINE_WORDS as u64 - 1;
        let line = self.line(self.own_at);
        write(&line[..LINE_WORDS - 1], first);
        line[LINE_WORDS - 1].store(last, Ordering::Release);
        if self.own_at == self.other_at {
            self.seen = last;
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self) -> anyhow::Result<Received> {
        let line = self.line(self.other_at);
        let last = loop {
            let last = line[LINE_WORDS - 1].load(Ordering::Acquire);
            if last != self.seen {
                break last;
            }
        };
        let received = read(line);
        self.seen = last;
        Ok(received)
    }
}

/// A line, and a futex on which its reader sleeps.
pub(crate) struct SleepingLine {
    line: BareLine,
    own_futex: usize,
    sent: u32,
    received: u32,
}

impl SleepingLine {
    /// Adds a futex for each direction to `line`.
    pub(crate) fn new(line: BareLine, side: Side) -> Self {
        Self { line, own_futex: if side == Side::Parent { 0 } else { 2 }, sent: 0, received: 0 }
    }
}

impl Endpoint for SleepingLine {
    fn send(&mut self, first: u64) -> anyhow::Result<()> {
        write(self.line.line(self.line.own_at), first);
        let word = self.line.memory.futex(self.own_futex);
        self.sent = self.sent.wrapping_add(1);
        word.store(self.sent, Ordering::Release);
        futex::wake(word, futex::Flags::empty(), 1).context("cannot wake the other process")?;
        Ok(())
    }

    fn receive(&mut self) -> anyhow::Result<Received> {
        let word = self.line.memory.futex(2 - self.own_futex);
        while word.load(Ordering::Acquire) == self.received {
            match futex::wait(word, futex::Flags::empty(), self.received, None) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot sleep"),
            }
        }
        self.received = self.received.wrapping_add(1);
        Ok(read(self.line.line(self.line.other_at)))
    }
}
