//! `write`: what it costs the writer to make a new value the latest one, written in full, without pause. A
//! reader in the other process has the region open; with no readers in the row, it has read one value and
//! sleeps, with one, it reads without pause. Everything is timed in groups, as the clock would cost more than
//! the thing itself: the percentiles are of the groups' means. The mean is of the writing thread's own time.

use std::time::Instant;

use anyhow::ensure;

use super::{Reading, Region, Writer};
use crate::child::Link;
use crate::samples::Samples;
use crate::thread_clock::{self, Share};

const NAME: &str = "value";
const GROUP: u64 = 16;
/// Of the slice's time, before anything is recorded.
const WARM_UP: u32 = 8;

/// The first process: the writer, which is measured.
pub(super) fn write<R: Region>(link: &mut Link) -> anyhow::Result<Samples> {
    let has_reader = link.job.readers > 0;
    let mut writer = R::create(&link.job, NAME)?;
    let mut first = 1;
    writer.write(first)?;
    link.meet()?;
    link.meet()?;
    if has_reader {
        link.probe()?;
    }
    let warm_up = Instant::now();
    while warm_up.elapsed() < link.job.duration / WARM_UP {
        first += 1;
        writer.write(first)?;
    }
    let mut samples = Samples::new()?;
    let (before, running) = (first, thread_clock::now());
    let begin = Instant::now();
    let mut mark = begin;
    while mark - begin < link.job.duration {
        for _ in 0..GROUP {
            first += 1;
            writer.write(first)?;
        }
        let now = Instant::now();
        samples.record_time(now - mark, GROUP);
        mark = now;
    }
    let running = thread_clock::now() - running;
    samples.add_to_mean(running, first - before);
    link.stop();
    link.tell(0)?;
    let (changes, torn, share) = (link.hear()?, link.hear()?, link.hear()?);
    samples.add_torn(torn);
    if has_reader {
        samples.set_share(share);
        ensure!(changes > 1, "the reader saw no change of {first} values");
        link.probe()?;
    }
    Ok(samples)
}

/// The second process: the reader.
pub(super) fn read<R: Region>(link: &mut Link) -> anyhow::Result<()> {
    let has_reader = link.job.readers > 0;
    link.meet()?;
    let mut reading = Reading::<R>::new(R::open(&link.job, NAME)?, link.job.words());
    reading.read()?;
    link.meet()?;
    if has_reader {
        link.probe()?;
    }
    let share = Share::start();
    if has_reader {
        while !link.is_stopped() {
            reading.read()?;
        }
    }
    let share = share.percent();
    link.hear()?;
    link.tell(reading.changes)?;
    link.tell(reading.torn)?;
    link.tell(share)?;
    if has_reader {
        link.probe()?;
    }
    Ok(())
}
