//! This project's regions, with a single writer as they are by default. Small values are read as copies, large ones in
//! place, held for as long as the look takes. Waiting for a change is part of the region, so `watch-wake` needs nothing
//! beside it.

use std::time::Duration;

use onecopy::PlainData;
use onecopy::region;

use super::{Reader, Region, Writer};
use crate::cell::Cell;
use crate::child::Link;
use crate::endpoint::{Endpoint, Side};
use crate::job::Job;
use crate::payload::Received;
use crate::{latency, onecopy_node};

/// How long a reader that sleeps may wait before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn cell(bench: &str, payload: usize) -> Option<Cell> {
    match bench {
        "watch-wake" => Some(Cell::Pair {
            parent: |link| latency::ask(Watch::open(link, Side::Parent)?, link),
            child: |link| latency::answer(Watch::open(link, Side::Child)?, link),
        }),
        _ => super::values::<Small, Large>(bench, payload),
    }
}

/// 64 bytes, read as a copy.
struct Small;

/// 4 KiB, read in place.
struct Large;

struct Copying(region::Region<[u64; 8]>);

struct Holding(region::Region<[u64; 512]>);

struct Updates<const WORDS: usize>(region::Region<[u64; WORDS]>);

impl Region for Small {
    type Writer = Updates<8>;
    type Reader = Copying;

    fn create(job: &Job, name: &str) -> anyhow::Result<Updates<8>> {
        Updates::create(job, name)
    }

    fn open(job: &Job, name: &str) -> anyhow::Result<Copying> {
        Ok(Copying(onecopy_node::open(job)?.region(name)?.open()?))
    }
}

impl Region for Large {
    type Writer = Updates<512>;
    type Reader = Holding;

    fn create(job: &Job, name: &str) -> anyhow::Result<Updates<512>> {
        Updates::create(job, name)
    }

    fn open(job: &Job, name: &str) -> anyhow::Result<Holding> {
        Ok(Holding(onecopy_node::open(job)?.region(name)?.open()?))
    }
}

impl<const WORDS: usize> Updates<WORDS>
where
    [u64; WORDS]: PlainData,
{
    fn create(job: &Job, name: &str) -> anyhow::Result<Self> {
        Ok(Self(onecopy_node::open(job)?.region(name)?.create(&[0; WORDS])?))
    }
}

impl<const WORDS: usize> Writer for Updates<WORDS>
where
    [u64; WORDS]: PlainData,
{
    #[inline]
    fn write(&mut self, first: u64) -> anyhow::Result<()> {
        self.0.write(&std::array::from_fn(|index| first + index as u64))?;
        Ok(())
    }
}

impl Reader for Copying {
    #[inline(always)]
    fn read(&mut self, words: usize) -> anyhow::Result<u64> {
        Ok(Received::read(&self.0.get()?).first_if_whole(words))
    }
}

impl Reader for Holding {
    #[inline(always)]
    fn read(&mut self, words: usize) -> anyhow::Result<u64> {
        Ok(self.0.with(|value| Received::read(value).first_if_whole(words))?)
    }
}

/// A region in each direction.
struct Watch {
    updates: Updates<8>,
    region: region::Region<[u64; 8]>,
    seen: u64,
}

impl Watch {
    fn open(link: &mut Link, side: Side) -> anyhow::Result<Self> {
        let (outward, inward) = side.directions();
        let updates = Small::create(&link.job, outward)?;
        link.meet()?;
        let Copying(region) = Small::open(&link.job, inward)?;
        let seen = region.version()?;
        link.meet()?;
        Ok(Self { updates, region, seen })
    }
}

impl Endpoint for Watch {
    fn send(&mut self, first: u64) -> anyhow::Result<()> {
        self.updates.write(first)
    }

    fn receive(&mut self) -> anyhow::Result<Received> {
        let value = self.region.wait_for_change(self.seen, PATIENCE)?;
        self.seen = value.version();
        Ok(Received::read(&*value))
    }
}
