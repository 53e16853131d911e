//! Standard input, read until it ends or a signal comes.

use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;

use rustix::event::PollFlags;
use rustix::io::retry_on_intr;

use crate::failure::Failure;
use crate::signals::{Signals, Woken};

/// What is read at once: a pipe's whole buffer.
const BUFFER_BYTES: usize = 64 << 10;

/// Standard input in pieces.
pub(crate) struct Input<'s> {
    reader: BufReader<Interruptible<'s>>,
}

impl<'s> Input<'s> {
    pub(crate) fn new(signals: &'s Signals) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER_BYTES, Interruptible { signals, interrupted: false }) }
    }

    /// The next line without its end, in `line`; `false` at the end of the input.
    pub(crate) fn line(&mut self, line: &mut Vec<u8>) -> Result<bool, Failure> {
        line.clear();
        let read = self.reader.read_until(b'\n', line).map_err(failed)?;
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        Ok(read > 0 && !self.interrupted())
    }

    /// The next `bytes` bytes, or fewer at the end of the input; `false` if there is none.
    pub(crate) fn frame(&mut self, frame: &mut Vec<u8>, bytes: u64) -> Result<bool, Failure> {
        frame.clear();
        let read = (&mut self.reader).take(bytes).read_to_end(frame).map_err(failed)?;
        Ok(read > 0 && !self.interrupted())
    }

    /// All of it; `false` if a signal came before its end.
    pub(crate) fn whole(&mut self, whole: &mut Vec<u8>) -> Result<bool, Failure> {
        whole.clear();
        self.reader.read_to_end(whole).map_err(failed)?;
        Ok(!self.interrupted())
    }

    /// Whether a signal, rather than the input, ended it. What was being read then is incomplete.
    fn interrupted(&self) -> bool {
        self.reader.get_ref().interrupted
    }
}

fn failed(source: io::Error) -> Failure {
    Failure::system("read standard input")(source)
}

struct Interruptible<'s> {
    signals: &'s Signals,
    interrupted: bool,
}

impl Read for Interruptible<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        let woken = self.signals.wait(&[(stdin.as_fd(), PollFlags::IN)], None).map_err(io::Error::other)?;
        if woken == Woken::Signal {
            self.interrupted = true;
            return Ok(0);
        }
        // Not through `Stdin`, whose buffer would hide from `wait` what it has read ahead.
        Ok(retry_on_intr(|| rustix::io::read(stdin.as_fd(), &mut *buffer))?)
    }
}
