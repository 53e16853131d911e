//! The connection of the peer `unix-socket`: a stream socket with an abstract name, so that it leaves no file.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use anyhow::Context;

use crate::byte_stream::{ByteStream, Sizes};
use crate::child::Link;
use crate::job::Job;

/// Listens for the second process of `job`.
pub(crate) fn listen(job: &Job) -> anyhow::Result<UnixListener> {
    UnixListener::bind_addr(&address(job)?).context("cannot listen on a socket")
}

/// Connects to the first process of `job`, which listens.
pub(crate) fn connect(job: &Job) -> anyhow::Result<UnixStream> {
    UnixStream::connect_addr(&address(job)?).context("cannot connect a socket")
}

/// The first process's end, once the second one calls [`child`].
pub(crate) fn parent(link: &mut Link, sizes: Sizes) -> anyhow::Result<ByteStream> {
    let listener = listen(&link.job)?;
    link.meet()?;
    let (stream, _) = listener.accept().context("cannot accept a connection")?;
    byte_stream(stream, sizes)
}

/// The second process's end.
pub(crate) fn child(link: &mut Link, sizes: Sizes) -> anyhow::Result<ByteStream> {
    link.meet()?;
    byte_stream(connect(&link.job)?, sizes)
}

/// Messages over `stream`.
pub(crate) fn byte_stream(stream: UnixStream, sizes: Sizes) -> anyhow::Result<ByteStream> {
    let writer = stream.try_clone().context("cannot duplicate a socket")?;
    Ok(ByteStream::new(stream.into(), writer.into(), sizes))
}

fn address(job: &Job) -> anyhow::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("bench-{}", job.instance)).context("cannot name a socket")
}
