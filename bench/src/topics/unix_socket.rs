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
    byte_stream(stream, link, batch)
}

fn child(link: &mut Link, batch: u64) -> anyhow::Result<ByteStream> {
    link.meet()?;
    byte_stream(connect(&link.job)?, link, batch)
}

fn connect(job: &Job) -> anyhow::Result<UnixStream> {
    UnixStream::connect_addr(&address(job)?).context("cannot connect a socket")
}

fn byte_stream(stream: UnixStream, link: &Link, batch: u64) -> anyhow::Result<ByteStream> {
    let writer = stream.try_clone().context("cannot duplicate a socket")?;
    Ok(ByteStream::new(stream.into(), writer.into(), link.job.words(), batch))
}

fn join_parent(job: &Job) -> anyhow::Result<Samples> {
    let listener = UnixListener::bind_addr(&address(job)?).context("cannot listen on a socket")?;
    listener.set_nonblocking(true).context("cannot make a socket non-blocking")?;
    join::publish(job, |link| {
        let listener = &listener;
        let mut subscriber = None;
        Ok(move |first| match listener.accept() {
            Ok((stream, _)) => subscriber.insert(byte_stream(stream, link, 1)?).send(first),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error).context("cannot accept a connection"),
        })
    })
}

fn join_child(link: &mut Link) -> anyhow::Result<()> {
    join::receive(link, |link| {
        let mut stream = byte_stream(connect(&link.job)?, link, 1)?;
        Ok((stream.receive()?, stream))
    })
}
