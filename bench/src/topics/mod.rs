//! Messages from a publisher to its subscribers: the rows, and who offers which. How a row is measured is told in the
//! file of its name (latency, which other subjects measure too, one folder up), the same for every peer; how a peer
//! carries a message, in the peer's file.

mod iceoryx2;
mod join;
mod memory;
mod onecopy;
mod pipe;
mod publish_cost;
mod raw;
mod raw_ring;
mod throughput;
mod unix_socket;

use crate::cell::{self, Cell};
use crate::child::Link;
use crate::interleave::{self, Options, Suite};
use crate::job::{Peer, Row, Unit};
use crate::{iceoryx2_node, onecopy_node};

/// The name of this subject on the command line.
pub(crate) const NAME: &str = "topics";

fn rows() -> Vec<Row> {
    let row = |bench, payload, readers, unit| Row { bench, payload, readers, unit };
    vec![
        row("latency-spin", 64, 1, Unit::Nanoseconds),
        row("latency-spin", 4096, 1, Unit::Nanoseconds),
        row("latency-spin", 1 << 20, 1, Unit::Nanoseconds),
        row("latency-wait", 64, 1, Unit::Nanoseconds),
        row("throughput", 64, 1, Unit::MessagesPerSecond),
        row("throughput", 48, 1, Unit::MessagesPerSecond),
        row("throughput-batch", 64, 1, Unit::MessagesPerSecond),
        row("publish-cost", 64, 1, Unit::Nanoseconds),
        row("publish-cost", 64, 32, Unit::Nanoseconds),
        row("publish-cost", 64, 128, Unit::Nanoseconds),
        row("join", 64, 1, Unit::Nanoseconds),
        row("memory", 1 << 20, 1, Unit::Bytes),
        row("memory", 1 << 20, 8, Unit::Bytes),
    ]
}

fn cell(bench: &str, peer: Peer) -> Option<Cell> {
    match peer {
        Peer::Raw => raw::cell(bench),
        Peer::Iceoryx2 => iceoryx2::cell(bench),
        Peer::UnixSocket => unix_socket::cell(bench),
        Peer::Pipe => pipe::cell(bench),
        Peer::Onecopy => onecopy::cell(bench),
        Peer::MmapSync | Peer::Samtools => None,
    }
}

/// The rival's cost grows with its readers: 32 show it, and 128 would only take time from the other rows.
fn offers(row: &Row, peer: Peer) -> bool {
    cell(row.bench, peer).is_some() && (peer, row.readers) != (Peer::Iceoryx2, 128)
}

/// What the second process does.
pub(crate) fn answer(link: &mut Link) -> anyhow::Result<()> {
    cell::answer(cell(&link.job.bench, link.job.peer), link)
}

/// Measures everything that `options` ask for.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let suite = Suite {
        rows: rows(),
        offers,
        measure: |job| cell::measure(cell(&job.bench, job.peer), job, NAME),
        bases: &[Peer::Iceoryx2, Peer::Raw],
    };
    let result = interleave::run(&suite, options);
    iceoryx2_node::clean_up();
    onecopy_node::clean_up();
    result
}
