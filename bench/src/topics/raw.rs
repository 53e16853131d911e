//! The peer `raw`: bare shared memory, nothing but the loads, stores and futex calls that the row cannot do without. It
//! knows no names, no types, no late joiners and no deaths, so nothing that does can be expected to be faster.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use rustix::io::Errno;
use rustix::thread::futex;

use super::{Cell, Endpoint, join, latency, publish_cost, raw_ring, throughput};
use crate::child::{Link, PEER_AT};
use crate::payload::{self, Received};
use crate::samples::Samples;
use crate::shared_memory::{LINE, SharedMemory, Turns};

/// Words of a cache line, the payload of the smallest row.
const LINE_WORDS: usize = LINE / size_of::<u64>();

pub(super) fn cell(bench: &str) -> Option<Cell> {
    Some(match bench {
        "latency-spin" => Cell::Pair { parent: spin_parent, child: spin_child },
        "latency-wait" => Cell::Pair {
            parent: |link| latency::ask(Sleeping::open(link, true)?, link),
            child: |link| latency::answer(Sleeping::open(link, false)?, link),
        },
        "throughput" => Cell::Pair {
            parent: |link| throughput::send(raw_ring::Slots::open(link)?, link, 1),
            child: |link| throughput::receive(raw_ring::Slots::open(link)?, link),
        },
        "throughput-batch" => Cell::Pair {
            parent: |link| throughput::send(raw_ring::Packed::open(link)?, link, throughput::BATCH),
            child: |link| throughput::receive(raw_ring::Packed::open(link)?, link),
        },
        "publish-cost" => Cell::Pair { parent: publish, child: poll },
        "join" => Cell::Many { parent: |job| join::publish(job, join_publisher), child: join_child },
        _ => return None,
    })
}

fn spin_parent(link: &mut Link) -> anyhow::Result<Samples> {
    match link.job.words() {
        LINE_WORDS => latency::ask(BareLine::open(link)?, link),
        words => latency::ask(Turns::new(SharedMemory::open(&link.job)?, words, true), link),
    }
}

fn spin_child(link: &mut Link) -> anyhow::Result<()> {
    match link.job.words() {
        LINE_WORDS => latency::answer(BareLine::open(link)?, link),
        words => latency::answer(Turns::new(SharedMemory::open(&link.job)?, words, false), link),
    }
}

impl Endpoint for Turns {
    #[inline]
    fn send(&mut self, first: u64) -> anyhow::Result<()> {
        self.write(|words| payload::fill(words, first));
        Ok(())
    }

    #[inline]
    fn receive(&mut self) -> anyhow::Result<Received> {
        Ok(self.read(Received::read))
    }
}

/// A message that is exactly a cache line: its own last word, which no two messages in a row share, says that it is
/// complete. Both directions share the line: what comes back is written where the message was read, so that each costs
/// one transfer of one line.
struct BareLine {
    memory: SharedMemory,
    seen: u64,
}

impl BareLine {
    fn open(link: &Link) -> anyhow::Result<Self> {
        Ok(Self { memory: SharedMemory::open(&link.job)?, seen: 0 })
    }

    #[inline]
    fn line(&self) -> &[AtomicU64] {
        &self.memory.words()[PEER_AT..][..LINE_WORDS]
    }
}

impl Endpoint for BareLine {
    #[inline]
    fn send(&mut self, first: u64) -> anyhow::Result<()> {
        let last = first + LINE_WORDS as u64 - 1;
        let line = self.line();
        raw_ring::write(&line[..LINE_WORDS - 1], first);
        line[LINE_WORDS - 1].store(last, Ordering::Release);
        self.seen = last;
        Ok(())
    }

    #[inline]
    fn receive(&mut self) -> anyhow::Result<Received> {
        let line = self.line();
        while line[LINE_WORDS - 1].load(Ordering::Acquire) == self.seen {}
        Ok(raw_ring::read(line))
    }
}

/// A line, and a futex on which its reader sleeps.
struct Sleeping {
    line: BareLine,
    own_futex: usize,
    sent: u32,
    received: u32,
}

impl Sleeping {
    fn open(link: &Link, is_parent: bool) -> anyhow::Result<Self> {
        let line = BareLine::open(link)?;
        Ok(Self { line, own_futex: usize::from(!is_parent) * 2, sent: 0, received: 0 })
    }
}

impl Endpoint for Sleeping {
    fn send(&mut self, first: u64) -> anyhow::Result<()> {
        raw_ring::write(self.line.line(), first);
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
        Ok(raw_ring::read(self.line.line()))
    }
}

fn publish(link: &mut Link) -> anyhow::Result<Samples> {
    let mut ring = raw_ring::Slots::open(link)?;
    publish_cost::publish(link, |first| {
        ring.overwrite(first);
        Ok(())
    })
}

fn poll(link: &mut Link) -> anyhow::Result<()> {
    let ring = raw_ring::Slots::open(link)?;
    publish_cost::poll(link, vec![0; link.job.readers], |cursor| Ok(ring.poll(cursor)))
}

fn join_publisher(link: &Link) -> anyhow::Result<impl FnMut(u64) -> anyhow::Result<()> + use<>> {
    let mut ring = raw_ring::Slots::open(link)?;
    Ok(move |first| {
        ring.overwrite(first);
        Ok(())
    })
}

fn join_child(link: &mut Link) -> anyhow::Result<()> {
    join::receive(link, |link| {
        let ring = raw_ring::Slots::open(link)?;
        let mut cursor = 0;
        loop {
            if let Some(received) = ring.poll(&mut cursor) {
                return Ok((received, ring));
            }
        }
    })
}
