//! Messages from a publisher to its subscribers: the rows, and who offers which. How a row is measured is told in the
//! file of its name, the same for every peer; how a peer carries a message, in the peer's file.

mod byte_stream;
mod iceoryx2;
mod join;
mod latency;
mod memory;
mod onecopy;
mod pipe;
mod publish_cost;
mod raw;
mod raw_ring;
mod throughput;
mod unix_socket;

use anyhow::Context;

use crate::child::{self, Link};
use crate::interleave::{self, Options, Slice, Suite};
use crate::job::{Job, Peer, Row, Unit};
use crate::payload::Received;
use crate::samples::Samples;

/// The name of this subject on the command line.
pub(crate) const NAME: &str = "topics";

/// What a peer does in a row: a function for either process.
pub(crate) enum Cell {
    /// One second process for the whole slice
    Pair { parent: fn(&mut Link) -> anyhow::Result<Samples>, child: fn(&mut Link) -> anyhow::Result<()> },
    /// Many second processes one after the other, started by `parent`
    Many { parent: fn(&Job) -> anyhow::Result<Samples>, child: fn(&mut Link) -> anyhow::Result<()> },
}

/// One side's way to send messages to the other side and to receive from it.
pub(crate) trait Endpoint {
    /// Sends a message whose words count up from `first`, writing every byte. In a batch row: as many messages as a
    /// batch holds, the next one beginning with `first + 1`, and so on.
    fn send(&mut self, first: u64) -> anyhow::Result<()>;

    /// Receives the next message, waiting as the row asks, and reads every byte.
    fn receive(&mut self) -> anyhow::Result<Received>;
}

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
    }
}

/// The rival's cost grows with its readers: 32 show it, and 128 would only take time from the other rows.
fn offers(row: &Row, peer: Peer) -> bool {
    cell(row.bench, peer).is_some() && (peer, row.readers) != (Peer::Iceoryx2, 128)
}

fn measure(job: Job) -> anyhow::Result<Slice> {
    match cell(&job.bench, job.peer).context("this peer has no such row")? {
        Cell::Pair { parent, .. } => child::run(job, NAME, |link| {
            let samples = parent(link)?;
            Ok(Slice { samples, probes: link.probes().to_vec() })
        }),
        Cell::Many { parent, .. } => Ok(Slice { samples: parent(&job)?, probes: Vec::new() }),
    }
}

/// What the second process does.
pub(crate) fn answer(link: &mut Link) -> anyhow::Result<()> {
    match cell(&link.job.bench, link.job.peer).context("this peer has no such row")? {
        Cell::Pair { child, .. } | Cell::Many { child, .. } => child(link),
    }
}

/// Measures everything that `options` ask for.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let result = interleave::run(&Suite { rows: rows(), offers, measure }, options);
    iceoryx2::clean_up();
    onecopy::clean_up();
    result
}
