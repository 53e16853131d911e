//! Requests to a server and its responses: the rows, and who offers which. All of them are round trips, measured as
//! [`round_trip`] tells, the same for every peer; how a peer carries request and response, in the peer's file.
//!
//! A row's payload is the response's; the request has 64 bytes in all of them. For the response of 1 MiB the server's
//! writing and the client's reading of every byte are part of the round trip.

mod iceoryx2;
mod onecopy;
mod raw;
mod round_trip;
mod unix_socket;

use crate::cell::{self, Cell};
use crate::child::Link;
use crate::interleave::{self, Options, Suite};
use crate::job::{Peer, Row, Unit};
use crate::{iceoryx2_node, onecopy_node};

/// The name of this subject on the command line.
pub(crate) const NAME: &str = "services";

/// Words of a request, in every row.
const REQUEST_WORDS: usize = 8;

fn rows() -> Vec<Row> {
    let row = |bench, payload| Row { bench, payload, readers: 1, unit: Unit::Nanoseconds };
    vec![row("rtt-spin", 64), row("rtt-wait", 64), row("rtt-spin", 1 << 20)]
}

fn cell(bench: &str, peer: Peer) -> Option<Cell> {
    match peer {
        Peer::Raw => raw::cell(bench),
        Peer::Iceoryx2 => iceoryx2::cell(bench),
        Peer::UnixSocket => unix_socket::cell(bench),
        Peer::Onecopy => onecopy::cell(bench),
        Peer::Pipe | Peer::MmapSync | Peer::Samtools => None,
    }
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
        bases: &[Peer::Iceoryx2, Peer::UnixSocket, Peer::Raw],
    };
    let result = interleave::run(&suite, options);
    iceoryx2_node::clean_up();
    onecopy_node::clean_up();
    result
}
