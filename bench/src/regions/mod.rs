//! A block of memory whose latest value everyone sees: the rows, and who offers which. `read-idle` and `read-busy` are
//! told in [`reading`], `write` in [`writing`], `watch-wake` beside the topics' latency, whose measure it is: the same
//! for every peer. How a peer keeps a value is told in the peer's file.

mod iceoryx2;
mod mmap_sync;
mod onecopy;
mod raw;
mod reading;
mod writing;

use anyhow::ensure;

use crate::cell::{self, Cell};
use crate::child::Link;
use crate::interleave::{self, Options, Suite};
use crate::job::{Job, Peer, Row, Unit};
use crate::payload;
use crate::{iceoryx2_node, onecopy_node};

/// The name of this subject on the command line.
pub(crate) const NAME: &str = "regions";

/// A peer's way to keep the latest value. One process writes it, any number of others read it.
trait Region: 'static {
    type Writer: Writer;
    type Reader: Reader;

    /// A reader may get a mixture of two values. Such values are counted and told; from other peers they end the run.
    const MAY_TEAR: bool = false;

    /// Creates the region `name`. It holds no value that counts until the first one is written.
    fn create(job: &Job, name: &str) -> anyhow::Result<Self::Writer>;

    /// Opens the region `name`, which exists.
    fn open(job: &Job, name: &str) -> anyhow::Result<Self::Reader>;
}

trait Writer {
    /// Makes a value whose words count up from `first` the latest one, writing every byte.
    fn write(&mut self, first: u64) -> anyhow::Result<()>;
}

trait Reader {
    /// Reads every byte of the latest value, which has so many words. Returns its first word, or [`payload::TORN`].
    fn read(&mut self, words: usize) -> anyhow::Result<u64>;
}

/// Reads, and what came of it.
struct Reading<R: Region> {
    reader: R::Reader,
    words: usize,
    reads: u64,
    changes: u64,
    torn: u64,
    last: u64,
}

impl<R: Region> Reading<R> {
    fn new(reader: R::Reader, words: usize) -> Self {
        Self { reader, words, reads: 0, changes: 0, torn: 0, last: 0 }
    }

    #[inline]
    fn read(&mut self) -> anyhow::Result<()> {
        let first = self.reader.read(self.words)?;
        if first == payload::TORN {
            ensure!(R::MAY_TEAR, "the value after {} came damaged", self.last);
            self.torn += 1;
        }
        self.reads += 1;
        self.changes += u64::from(first != self.last);
        self.last = first;
        Ok(())
    }
}

fn rows() -> Vec<Row> {
    let row = |bench, payload, readers| Row { bench, payload, readers, unit: Unit::Nanoseconds };
    vec![
        row("read-idle", 64, 1),
        row("read-idle", 4096, 1),
        row("read-busy", 64, 1),
        row("read-busy", 4096, 1),
        row("read-busy", 4096, 2),
        row("write", 64, 0),
        row("write", 64, 1),
        row("watch-wake", 64, 1),
    ]
}

fn cell(bench: &str, payload: usize, peer: Peer) -> Option<Cell> {
    match peer {
        Peer::Raw => raw::cell(bench, payload),
        Peer::Iceoryx2 => iceoryx2::cell(bench, payload),
        Peer::MmapSync => mmap_sync::cell(bench, payload),
        Peer::Onecopy => onecopy::cell(bench, payload),
        Peer::UnixSocket | Peer::Pipe | Peer::Samtools => None,
    }
}

/// The cells of a peer whose small values are `S` and whose large ones are `L`, but for `watch-wake`.
fn values<S: Region, L: Region>(bench: &str, payload: usize) -> Option<Cell> {
    Some(match (bench, payload) {
        ("read-idle" | "read-busy", 64) => {
            Cell::Pair { parent: reading::read::<S>, child: reading::write::<S> }
        }
        ("read-idle" | "read-busy", _) => {
            Cell::Pair { parent: reading::read::<L>, child: reading::write::<L> }
        }
        ("write", _) => Cell::Pair { parent: writing::write::<S>, child: writing::read::<S> },
        _ => return None,
    })
}

/// What the second process does.
pub(crate) fn answer(link: &mut Link) -> anyhow::Result<()> {
    cell::answer(cell(&link.job.bench, link.job.payload, link.job.peer), link)
}

/// Measures everything that `options` ask for.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let suite = Suite {
        rows: rows(),
        offers: |row, peer| cell(row.bench, row.payload, peer).is_some(),
        measure: |job| cell::measure(cell(&job.bench, job.payload, job.peer), job, NAME),
        bases: &[Peer::Iceoryx2, Peer::MmapSync, Peer::Raw],
    };
    let result = interleave::run(&suite, options);
    iceoryx2_node::clean_up();
    mmap_sync::clean_up();
    onecopy_node::clean_up();
    result
}
