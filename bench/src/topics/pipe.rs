//! The peer `pipe`: one pipe in each direction, as the shell would make them, of the default capacity.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::Context;
use rustix::pipe::{PipeFlags, pipe_with};

use super::throughput;
use crate::byte_stream::{ByteStream, Sizes, open_of_parent};
use crate::cell::Cell;
use crate::child::Link;
use crate::endpoint::Endpoint;
use crate::latency;

pub(super) fn cell(bench: &str) -> Option<Cell> {
    Some(match bench {
        "latency-spin" => Cell::Pair {
            parent: |link| latency::ask(polling(parent(link, 1)?)?, link),
            child: |link| latency::answer(polling(child(link, 1)?)?, link),
        },
        "latency-wait" => Cell::Pair {
            parent: |link| latency::ask(parent(link, 1)?, link),
            child: |link| latency::answer(child(link, 1)?, link),
        },
        "throughput" => Cell::Pair {
            parent: |link| throughput::send(parent(link, 1)?, link, 1),
            child: |link| throughput::receive(child(link, 1)?, link),
        },
        "throughput-batch" => Cell::Pair {
            parent: |link| throughput::send(parent(link, throughput::BATCH)?, link, throughput::BATCH),
            child: |link| throughput::receive(child(link, throughput::BATCH)?, link),
        },
        _ => return None,
    })
}

fn polling(stream: ByteStream) -> anyhow::Result<impl Endpoint> {
    stream.set_nonblocking()?;
    Ok(stream)
}

fn parent(link: &mut Link, batch: u64) -> anyhow::Result<ByteStream> {
    let (own_reader, their_writer) = new_pipe()?;
    let (their_reader, own_writer) = new_pipe()?;
    link.tell(their_reader.as_raw_fd() as u64)?;
    link.tell(their_writer.as_raw_fd() as u64)?;
    // The child opens its ends anew; this process closes its own copies of them, so that either side sees the
    // other end.
    link.meet()?;
    Ok(ByteStream::new(own_reader, own_writer, Sizes::both(link.job.words(), batch)))
}

fn child(link: &mut Link, batch: u64) -> anyhow::Result<ByteStream> {
    let (reader, writer) = (link.hear()?, link.hear()?);
    let reader = open_of_parent(link.job.parent_pid, reader, false)?;
    let writer = open_of_parent(link.job.parent_pid, writer, true)?;
    link.meet()?;
    Ok(ByteStream::new(reader, writer, Sizes::both(link.job.words(), batch)))
}

fn new_pipe() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC).context("cannot create a pipe")
}
