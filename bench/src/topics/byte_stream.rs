//! What the kernel's byte streams, the Unix socket and the pipe, have in common: a message is written from a buffer of
//! the sender's, copied by the kernel, and read into a buffer of the receiver's.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, bail};
use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::Endpoint;
use crate::payload::{self, Received};

/// Bytes asked for in one read, if a message is not longer: many small messages then share a system call.
const READ_BYTES: usize = 1 << 16;

/// One side of a pair of byte streams. On non-blocking descriptors it polls, on blocking ones it sleeps.
pub(super) struct ByteStream {
    reader: OwnedFd,
    writer: OwnedFd,
    /// What one call sends
    outgoing: Vec<u64>,
    words: usize,
    incoming: Vec<u64>,
    taken_bytes: usize,
    filled_bytes: usize,
}

impl ByteStream {
    pub(super) fn new(reader: OwnedFd, writer: OwnedFd, words: usize, batch: u64) -> Self {
        let read_words = (READ_BYTES / size_of::<u64>()).max(words);
        Self {
            reader,
            writer,
            outgoing: vec![0; words * batch as usize],
            words,
            incoming: vec![0; read_words],
            taken_bytes: 0,
            filled_bytes: 0,
        }
    }

    pub(super) fn set_nonblocking(&self) -> anyhow::Result<()> {
        for descriptor in [&self.reader, &self.writer] {
            rustix::io::ioctl_fionbio(descriptor, true).context("cannot make a descriptor non-blocking")?;
        }
        Ok(())
    }

    /// Reads until a whole message is in the buffer.
    fn fill_up(&mut self) -> anyhow::Result<()> {
        let message_bytes = self.words * size_of::<u64>();
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
        for (message, first) in self.outgoing.chunks_exact_mut(self.words).zip(first..) {
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
        let message = self.incoming.get(start..start + self.words).context("the buffer is too small")?;
        self.taken_bytes += self.words * size_of::<u64>();
        Ok(Received::read(message))
    }
}

/// Opens a descriptor of the first process.
pub(super) fn open_of_parent(parent_pid: u32, descriptor: u64, is_writer: bool) -> anyhow::Result<OwnedFd> {
    let path = format!("/proc/{parent_pid}/fd/{descriptor}");
    let file = OpenOptions::new().read(!is_writer).write(is_writer).open(&path);
    Ok(file.with_context(|| format!("cannot open {path}"))?.into())
}
