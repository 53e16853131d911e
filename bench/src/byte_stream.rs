//! What the kernel's byte streams, the Unix socket and the pipe, have in common: a message is written from a buffer of
//! the sender's, copied by the kernel, and read into a buffer of the receiver's.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, bail};
use rustix::io::Errno;
use zerocopy::IntoBytes;

use crate::endpoint::Endpoint;
use crate::payload::{self, Received};

/// Bytes asked for in one read, if a message is not longer: many small messages then share a system call.
const READ_BYTES: usize = 1 << 16;

/// What goes through one side of a pair of byte streams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Words of a message sent
    pub(crate) outgoing: usize,
    /// Messages that one call sends
    pub(crate) batch: u64,
    /// Words of a message received
    pub(crate) incoming: usize,
}

impl Sizes {
    /// The same both ways.
    pub(crate) fn both(words: usize, batch: u64) -> Self {
        Self { outgoing: words, batch, incoming: words }
    }
}

/// One side of a pair of byte streams. On non-blocking descriptors it polls, on blocking ones it sleeps.
pub(crate) struct ByteStream {
    reader: OwnedFd,
    writer: OwnedFd,
    /// What one call sends
    outgoing: Vec<u64>,
    sizes: Sizes,
    incoming: Vec<u64>,
    taken_bytes: usize,
    filled_bytes: usize,
}

impl ByteStream {
    pub(crate) fn new(reader: OwnedFd, writer: OwnedFd, sizes: Sizes) -> Self {
        let read_words = (READ_BYTES / size_of::<u64>()).max(sizes.incoming);
        Self {
            reader,
            writer,
            outgoing: vec![0; sizes.outgoing * sizes.batch as usize],
            sizes,
            incoming: vec![0; read_words],
            taken_bytes: 0,
            filled_bytes: 0,
        }
    }

    pub(crate) fn set_nonblocking(&self) -> anyhow::Result<()> {
        for descriptor in [&self.reader, &self.writer] {
            rustix::io::ioctl_fionbio(descriptor, true).context("cannot make a descriptor non-blocking")?;
        }
        Ok(())
    }

    /// Reads until a whole message is in the buffer.
    fn fill_up(&mut self) -> anyhow::Result<()> {
        let message_bytes = self.sizes.incoming * size_of::<u64>();
        if self.filled_bytes - self.taken_bytes >= message_bytes {
            return Ok(());
        }
        let bytes = self.incoming.as_mut_bytes();
        bytes.copy_within(self.taken_bytes..self.filled_bytes, 0);
        self.filled_bytes -= self.taken_bytes;
        self.taken_bytes = 0;
        while self.filled_bytes < message_bytes {
            let Some(free) = bytes.get_mut(self.filled_bytes..) else { bail!("the buffer is too small") };
            match rustix::io::read(self.reader.as_fd(), free) {
                Ok(0) => bail!("the stream ended"),
                Ok(count) => self.filled_bytes += count,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot read"),
            }
        }
        Ok(())
    }
}

impl Endpoint for ByteStream {
    fn send(&mut self, first: u64) -> anyhow::Result<()> {
        for (message, first) in self.outgoing.chunks_exact_mut(self.sizes.outgoing).zip(first..) {
            payload::fill(message, first);
        }
        let mut rest = self.outgoing.as_bytes();
        while !rest.is_empty() {
            match rustix::io::write(self.writer.as_fd(), rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot write"),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> anyhow::Result<Received> {
        self.fill_up()?;
        let start = self.taken_bytes / size_of::<u64>();
        let words = self.sizes.incoming;
        let message = self.incoming.get(start..start + words).context("the buffer is too small")?;
        self.taken_bytes += words * size_of::<u64>();
        Ok(Received::read(message))
    }
}

/// Opens a descriptor of the first process.
pub(crate) fn open_of_parent(parent_pid: u32, descriptor: u64, is_writer: bool) -> anyhow::Result<OwnedFd> {
    let path = format!("/proc/{parent_pid}/fd/{descriptor}");
    let file = OpenOptions::new().read(!is_writer).write(is_writer).open(&path);
    Ok(file.with_context(|| format!("cannot open {path}"))?.into())
}
