//! Bytes that are loaded once and read by many: the rows, and who offers which. The second process publishes;
//! the first one, which is measured, opens and reads. How a row is measured is told in the peer's file.

mod onecopy;
mod raw;

use std::time::Instant;

use anyhow::ensure;

use crate::cell::{self, Cell};
use crate::child::Link;
use crate::interleave::{self, Options, Suite};
use crate::job::{Job, Peer, Row, Unit};
use crate::onecopy_node;
use crate::samples::Samples;

/// The name of this subject on the command line.
pub(crate) const NAME: &str = "datasets";

/// What is read at once: as much as a record of an index.
type Record = [u64; 2];

/// Reads timed together, because the clock costs as much as several.
const GROUP: u64 = 64;

fn rows() -> Vec<Row> {
    let row = |bench, payload| Row { bench, payload, readers: 1, unit: Unit::Nanoseconds };
    vec![
        row("open", 1 << 20),
        row("open", 1 << 30),
        row("read", 64 << 20),
        row("read-huge", 64 << 20),
        row("read-file", 64 << 20),
    ]
}

fn cell(bench: &str, peer: Peer) -> Option<Cell> {
    match peer {
        Peer::Raw => raw::cell(bench),
        Peer::Onecopy => onecopy::cell(bench),
        Peer::Iceoryx2 | Peer::MmapSync | Peer::UnixSocket | Peer::Pipe | Peer::Samtools => None,
    }
}

/// Records that can be told from each other: each says where it stands.
fn fill(records: &mut [Record]) {
    for (place, record) in records.iter_mut().enumerate() {
        *record = [place as u64, !(place as u64)];
    }
}

/// Reads at random places, each of which depends on what was read before, as in a search.
fn read_at_random(
    job: &Job,
    records: usize,
    mut read: impl FnMut(usize) -> anyhow::Result<Record>,
) -> anyhow::Result<Samples> {
    let mut samples = Samples::new()?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let begin = Instant::now();
    let mut mark = begin;
    let mut reads = 0;
    while mark - begin < job.duration {
        for _ in 0..GROUP {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let place = (state % records as u64) as usize;
            let [found, inverse] = read(place)?;
            // The next place can't be known before this record has come. Taken before the comparison, behind which the
            // compiler knows what was found and no longer waits for it.
            state = state.wrapping_add(std::hint::black_box(found) ^ place as u64);
            ensure!(found == place as u64 && inverse == !found, "record {place} is another");
        }
        reads += GROUP;
        let now = Instant::now();
        samples.record_time(now - mark, GROUP);
        mark = now;
    }
    samples.add_to_mean(mark - begin, reads);
    Ok(samples)
}

/// What the second process does.
pub(crate) fn answer(link: &mut Link) -> anyhow::Result<()> {
    cell::answer(cell(&link.job.bench, link.job.peer), link)
}

/// Measures everything that `options` ask for.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let suite = Suite {
        rows: rows(),
        offers: |row, peer| cell(row.bench, peer).is_some(),
        measure: |job| cell::measure(cell(&job.bench, job.peer), job, NAME),
        bases: &[Peer::Raw],
    };
    let result = interleave::run(&suite, options);
    onecopy_node::clean_up();
    result
}
