//! The peer `raw`: bare shared memory, nothing but the loads, stores and futex calls that the row cannot do without. It
//! knows no names, no types, no late joiners and no deaths, so nothing that does can be expected to be faster.

use super::{join, publish_cost, raw_ring, throughput};
use crate::cell::Cell;
use crate::child::Link;
use crate::endpoint::{Endpoint, Side};
use crate::latency;
use crate::payload::{self, Received};
use crate::raw_line::{BareLine, LINE_WORDS, SleepingLine};
use crate::samples::Samples;
use crate::shared_memory::{SharedMemory, Turns};

pub(super) fn cell(bench: &str) -> Option<Cell> {
    Some(match bench {
        "latency-spin" => Cell::Pair { parent: spin_parent, child: spin_child },
        "latency-wait" => Cell::Pair {
            parent: |link| latency::ask(SleepingLine::new(BareLine::shared(link)?, Side::Parent), link),
            child: |link| latency::answer(SleepingLine::new(BareLine::shared(link)?, Side::Child), link),
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
        LINE_WORDS => latency::ask(BareLine::shared(link)?, link),
        words => latency::ask(Turns::new(SharedMemory::open(&link.job)?, [words; 2], true), link),
    }
}

fn spin_child(link: &mut Link) -> anyhow::Result<()> {
    match link.job.words() {
        LINE_WORDS => latency::answer(BareLine::shared(link)?, link),
        words => latency::answer(Turns::new(SharedMemory::open(&link.job)?, [words; 2], false), link),
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
