//! The peer `unix-socket`: a stream of messages each way.

use std::io::ErrorKind;

use anyhow::Context;

use super::{join, throughput};
use crate::byte_stream::{ByteStream, Sizes};
use crate::cell::Cell;
use crate::child::Link;
use crate::endpoint::Endpoint;
use crate::job::Job;
use crate::samples::Samples;
use crate::{latency, socket};

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
        "join" => Cell::Many { parent: join_parent, child: join_child },
        _ => return None,
    })
}

fn polling(stream: ByteStream) -> anyhow::Result<impl Endpoint> {
    stream.set_nonblocking()?;
    Ok(stream)
}

fn parent(link: &mut Link, batch: u64) -> anyhow::Result<ByteStream> {
    socket::parent(link, Sizes::both(link.job.words(), batch))
}

fn child(link: &mut Link, batch: u64) -> anyhow::Result<ByteStream> {
    socket::child(link, Sizes::both(link.job.words(), batch))
}

fn join_parent(job: &Job) -> anyhow::Result<Samples> {
    let listener = socket::listen(job)?;
    listener.set_nonblocking(true).context("cannot make a socket non-blocking")?;
    join::publish(job, |link| {
        let (listener, sizes) = (&listener, Sizes::both(link.job.words(), 1));
        let mut subscriber = None;
        Ok(move |first| match listener.accept() {
            Ok((stream, _)) => subscriber.insert(socket::byte_stream(stream, sizes)?).send(first),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error).context("cannot accept a connection"),
        })
    })
}

fn join_child(link: &mut Link) -> anyhow::Result<()> {
    join::receive(link, |link| {
        let mut stream = socket::byte_stream(socket::connect(&link.job)?, Sizes::both(link.job.words(), 1))?;
        Ok((stream.receive()?, stream))
    })
}
