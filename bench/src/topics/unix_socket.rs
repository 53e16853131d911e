//! The peer `unix-socket`: a stream socket with an abstract name, so that it leaves no file.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use anyhow::Context;

use super::byte_stream::ByteStream;
use super::{Cell, Endpoint, join, latency, throughput};
use crate::child::Link;
use crate::job::Job;
use crate::samples::Samples;

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

fn address(job: &Job) -> anyhow::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("bench-{}", job.instance)).context("cannot name a socket")
}

fn parent(link: &mut Link, batch: u64) -> anyhow::Result<ByteStream> {
    let listener = UnixListener::bind_addr(&address(&link.job)?).context("cannot listen on a socket")?;
    link.meet()?;
    let (stream, _) = listener.accept().context("cannot accept a connection")?;
    byte_stream(stream, link.job.words(), batch)
}

fn child(link: &mut Link, batch: u64) -> anyhow::Result<ByteStream> {
    link.meet()?;
    byte_stream(connect(&link.job)?, link.job.words(), batch)
}

fn connect(job: &Job) -> anyhow::Result<UnixStream> {
    UnixStream::connect_addr(&address(job)?).context("cannot connect a socket")
}

fn byte_stream(stream: UnixStream, words: usize, batch: u64) -> anyhow::Result<ByteStream> {
    let writer = stream.try_clone().context("cannot duplicate a socket")?;
    Ok(ByteStream::new(stream.into(), writer.into(), words, batch))
}

fn join_parent(job: &Job) -> anyhow::Result<Samples> {
    let listener = UnixListener::bind_addr(&address(job)?).context("cannot listen on a socket")?;
    listener.set_nonblocking(true).context("cannot make a socket non-blocking")?;
    join::publish(job, |link| {
        let (listener, words) = (&listener, link.job.words());
        let mut subscriber = None;
        Ok(move |first| match listener.accept() {
            Ok((stream, _)) => subscriber.insert(byte_stream(stream, words, 1)?).send(first),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error).context("cannot accept a connection"),
        })
    })
}

fn join_child(link: &mut Link) -> anyhow::Result<()> {
    join::receive(link, |link| {
        let mut stream = byte_stream(connect(&link.job)?, link.job.words(), 1)?;
        Ok((stream.receive()?, stream))
    })
}
