//! The peer `raw`: a bare seqlock over several copies of the value. The version says which copy is the latest, and
//! the writer writes the one after it, so that a reader starts over only if the writer came all the way round
//! meanwhile. Values are read in place, word by word, with what the language allows for memory that another process
//! may write meanwhile (relaxed atomic loads, which compilers do not turn into vector instructions), and the version
//! is looked at again afterwards. It knows no names, no sizes and no second writer. In `watch-wake` it is a line and
//! a futex for each direction.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::{Reader, Region, Writer};
use crate::cell::Cell;
use crate::child::PEER_AT;
use crate::endpoint::Side;
use crate::job::Job;
use crate::latency;
use crate::payload::Received;
use crate::raw_line::{self, BareLine, SleepingLine};
use crate::shared_memory::SharedMemory;

/// Sums that are added up side by side.
const LANES: usize = 4;
/// Copies of the value. With two, a writer without pause overtakes its reader again and again; with many, the
/// reader has few of them in its cache.
const COPIES: u64 = 8;
/// Where the copies are, in words from the version: on lines of their own, as lines are fetched in pairs.
const COPIES_AT: usize = 16;

pub(super) fn cell(bench: &str, payload: usize) -> Option<Cell> {
    match bench {
        "watch-wake" => Some(Cell::Pair {
            parent: |link| {
                let line = BareLine::each_way(link, Side::Parent)?;
                latency::ask(SleepingLine::new(line, Side::Parent), link)
            },
            child: |link| {
                let line = BareLine::each_way(link, Side::Child)?;
                latency::answer(SleepingLine::new(line, Side::Child), link)
            },
        }),
        _ => super::values::<Seqlock<8>, Seqlock<512>>(bench, payload),
    }
}

struct Seqlock<const WORDS: usize> {
    memory: SharedMemory,
}

impl<const WORDS: usize> Seqlock<WORDS> {
    fn map(job: &Job) -> anyhow::Result<Self> {
        Ok(Self { memory: SharedMemory::open(job)? })
    }

    #[inline]
    fn version(&self) -> &AtomicU64 {
        &self.memory.words()[PEER_AT]
    }

    #[inline]
    fn copy(&self, version: u64) -> &[AtomicU64] {
        &self.memory.words()[PEER_AT + COPIES_AT + (version % COPIES) as usize * WORDS..][..WORDS]
    }
}

impl<const WORDS: usize> Region for Seqlock<WORDS> {
    type Writer = Self;
    type Reader = Self;

    fn create(job: &Job, _name: &str) -> anyhow::Result<Self> {
        Self::map(job)
    }

    fn open(job: &Job, _name: &str) -> anyhow::Result<Self> {
        Self::map(job)
    }
}

impl<const WORDS: usize> Writer for Seqlock<WORDS> {
    #[inline]
    fn write(&mut self, first: u64) -> anyhow::Result<()> {
        let version = self.version().load(Ordering::Relaxed) + 1;
        // Whoever sees a word of this value also sees the version before it, and does not trust what was in this copy.
        fence(Ordering::Release);
        raw_line::write(self.copy(version), first);
        self.version().store(version, Ordering::Release);
        Ok(())
    }
}

impl<const WORDS: usize> Reader for Seqlock<WORDS> {
    #[inline(always)]
    fn read(&mut self, words: usize) -> anyhow::Result<u64> {
        loop {
            let version = self.version().load(Ordering::Acquire);
            let received = read(self.copy(version));
            fence(Ordering::Acquire);
            if self.version().load(Ordering::Relaxed) - version < COPIES - 1 {
                return Ok(received.first_if_whole(words));
            }
        }
    }
}

/// Reads a value word by word, in several sums, so that none has to wait for the one before it.
#[inline]
fn read(words: &[AtomicU64]) -> Received {
    let first = words.first().map_or(0, |word| word.load(Ordering::Relaxed));
    let mut lanes = [0_u64; LANES];
    for words in words.chunks_exact(LANES) {
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = lane.wrapping_add(word.load(Ordering::Relaxed));
        }
    }
    Received { first, sum: lanes.iter().fold(0, |sum: u64, lane| sum.wrapping_add(*lane)) }
}
