//! The peer `pipe`: one pipe in each direction, as the shell would make them, of the default capacity.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::Context;
use rustix::pipe::{PipeFlags, pipe_with};

use super::byte_stream::{ByteStream, open_of_parent};
use super::{Cell, Endpoint, latency, throughput};
use crate::child::Link;

pub(super) fn cell(bench: &str) -> Option<Cell> {
    Some(match bench {
        "latency-spin" => Cell::Pair {
            parent: |link| latency::ask(link, &mut polling(parent(link, 1)?)?),
            child: |link| latency::answer(link, &mut polling(child(link, 1)?)?),
        },
        "latency-wait" => Cell::Pair {
            parent: |link| latency::ask(link, &mut parent(link, 1)?),
            child: |link| latency::answer(link, &mut child(link, 1)?),
        },
        "throughput" => Cell::Pair {
            parent: |link| throughput::send(link, &mut parent(link, 1)?, 1),
            child: |link| throughput::receive(link, &mut child(link, 1)?),
        },
        "throughput-batch" => Cell::Pair {
            parent: |link| throughput::send(link, &mut parent(link, throughput::BATCH)?, throughput::BATCH),
            child: |link| throughput::receive(link, &mut child(link, throughput::BATCH)?),
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
    // The child opens its ends anew; this process closes its own copies of them, so that either side sees the other end.
    link.meet()?;
    Ok(ByteStream::new(own_reader, own_writer, link.job.words(), batch))
}

fn child(link: &mut Link, batch: u64) -> anyhow::Result<ByteStream> {
    let (reader, writer) = (link.hear()?, link.hear()?);
    let reader = open_of_parent(link.job.parent_pid, reader, false)?;
    let writer = open_of_parent(link.job.parent_pid, writer, true)?;
    link.meet()?;
    Ok(ByteStream::new(reader, writer, link.job.words(), batch))
}

fn new_pipe() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC).context("cannot create a pipe")
}
