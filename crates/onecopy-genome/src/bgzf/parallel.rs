//! All blocks of a file, inflated by several threads and handed to one, in the file's order.
//!
//! Whoever is idle takes the next run of blocks off the file, inflates it and does what can be done without
//! knowing what came before; the caller's thread then gets the runs one after the other. Runs are small
//! enough for a processor's own cache, and only a fixed number of them is under way, so memory does not
//! depend on the file.

use std::fs::File;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::block::{CUT_OFF, Frame};
use super::{BLOCK_BYTES_MAX, END_MARKER};
use crate::error::GenomeError;
use crate::ordered;

/// Content of a run at which no further block is added: with its compressed bytes it stays in a cache of 1 MiB.
const RUN_CONTENT_BYTES: usize = 512 << 10;
/// What is read of the file at a time.
const READ_BYTES: usize = 1 << 20;

/// A run of blocks.
#[derive(Default)]
pub(crate) struct Batch<T> {
    /// Place in the file, and in `content`, of each block.
    blocks: Vec<(u64, usize)>,
    /// What the blocks hold, end to end.
    pub(crate) content: Vec<u8>,
    /// Where the next run begins in the file.
    pub(crate) end_offset: u64,
    /// What the thread made of it that inflated it.
    pub(crate) made: T,
    compressed: Vec<u8>,
    frames: Vec<Frame>,
}

impl<T> Batch<T> {
    /// Gives the virtual offsets of bytes of `content`, or of its end, one after the other, which only go
    /// forward. Counts as htslib does: what follows a block's last byte is at the next block, even if that
    /// one is empty.
    pub(crate) fn virtual_offsets(&self) -> impl FnMut(usize) -> u64 {
        // Blocks that begin before the place that was asked for last.
        let mut before = 0;
        move |position| {
            while self.blocks.get(before).is_some_and(|&(_, start)| start < position) {
                before += 1;
            }
            match self.blocks.get(before) {
                Some(&(offset, start)) if start == position => super::virtual_offset(offset, 0),
                _ if position == self.content.len() => super::virtual_offset(self.end_offset, 0),
                _ => {
                    let (offset, start) = self.blocks[before - 1];
                    super::virtual_offset(offset, (position - start) as u16)
                }
            }
        }
    }

    /// Where the first block lies in the file.
    pub(crate) fn offset(&self) -> u64 {
        self.blocks.first().map_or(self.end_offset, |block| block.0)
    }

    fn clear(&mut self) {
        self.blocks.clear();
        self.compressed.clear();
        self.frames.clear();
    }

    fn inflate(
        &mut self,
        decompressor: &mut libdeflater::Decompressor,
        path: &Path,
    ) -> Result<(), GenomeError> {
        let (mut from, mut start) = (0, 0);
        for (frame, &(offset, _)) in self.frames.iter().zip(&self.blocks) {
            let malformed = |what| GenomeError::Malformed { path: path.to_owned(), offset, what };
            let block = &self.compressed[from..from + frame.bytes];
            let end = start + frame.content_bytes(block).map_err(malformed)?;
            if self.content.len() < end {
                self.content.resize(end, 0);
            }
            frame.inflate(block, &mut self.content[start..end], decompressor).map_err(malformed)?;
            from += frame.bytes;
            start = end;
        }
        self.content.truncate(start);
        Ok(())
    }
}

/// What is done with the blocks.
pub(crate) struct Order<'a> {
    /// The open file.
    pub(crate) file: &'a File,
    /// For errors.
    pub(crate) path: &'a Path,
    /// Where the first block begins.
    pub(crate) start: u64,
    /// How many threads inflate.
    pub(crate) threads: NonZero<usize>,
}

/// Gives all runs to `consume`, in order, after `work` has seen each, in any order and on several threads.
pub(crate) fn in_order<T: Default + Send>(
    order: &Order<'_>,
    work: impl Fn(&mut Batch<T>) + Sync,
    mut consume: impl FnMut(&mut Batch<T>) -> Result<(), GenomeError>,
) -> Result<(), GenomeError> {
    // Memory that was touched once is used again: fresh pages for every run would cost an eighth of the time.
    let spare = Mutex::new(Vec::new());
    let lock = || spare.lock().unwrap_or_else(PoisonError::into_inner);
    let mut feed = Feed::new(order);
    ordered::run(
        order.threads,
        || {
            let mut batch = lock().pop().unwrap_or_default();
            Ok(feed.fill(&mut batch)?.then_some(batch))
        },
        || Ok(libdeflater::Decompressor::new()),
        |decompressor, mut batch| {
            batch.inflate(decompressor, order.path)?;
            work(&mut batch);
            Ok(batch)
        },
        |mut batch| {
            consume(&mut batch)?;
            lock().push(batch);
            Ok(())
        },
    )
}

/// The file, from which runs are taken.
struct Feed<'a> {
    order: &'a Order<'a>,
    /// Read ahead, from `from` on.
    ahead: Vec<u8>,
    from: usize,
    /// Where `ahead[from]` lies in the file.
    offset: u64,
    is_at_end: bool,
    has_end_marker: bool,
}

impl<'a> Feed<'a> {
    fn new(order: &'a Order<'a>) -> Self {
        Self {
            order,
            ahead: Vec::new(),
            from: 0,
            offset: order.start,
            is_at_end: false,
            has_end_marker: false,
        }
    }

    /// Moves whole blocks into the batch. False if there are none left.
    fn fill<T>(&mut self, batch: &mut Batch<T>) -> Result<bool, GenomeError> {
        batch.clear();
        let mut content_bytes = 0;
        let mut was_empty = false;
        // A run that ended before an empty block would hide where the record after it begins.
        while content_bytes < RUN_CONTENT_BYTES || was_empty || self.next_is_empty()? {
            let Some((frame, bytes)) = self.next_frame()? else { break };
            let block = &self.ahead[self.from..self.from + frame.bytes];
            self.has_end_marker = *block == END_MARKER;
            was_empty = bytes == 0;
            batch.compressed.extend_from_slice(block);
            batch.frames.push(frame);
            batch.blocks.push((self.offset, content_bytes));
            content_bytes += bytes;
            self.from += frame.bytes;
            self.offset += frame.bytes as u64;
        }
        batch.end_offset = self.offset;
        if batch.frames.is_empty() && !self.has_end_marker {
            let what = "the block is missing that marks the end";
            return Err(GenomeError::Truncated { path: self.order.path.to_owned(), what });
        }
        Ok(!batch.frames.is_empty())
    }

    fn next_is_empty(&mut self) -> Result<bool, GenomeError> {
        Ok(self.next_frame()?.is_some_and(|(_, bytes)| bytes == 0))
    }

    /// The frame of the block at `from` and the size of its content. `None` at the end of the file.
    fn next_frame(&mut self) -> Result<Option<(Frame, usize)>, GenomeError> {
        if self.ahead.len() - self.from < BLOCK_BYTES_MAX && !self.is_at_end {
            self.read_ahead()?;
        }
        let rest = &self.ahead[self.from..];
        if rest.is_empty() {
            return Ok(None);
        }
        let malformed =
            |what| GenomeError::Malformed { path: self.order.path.to_owned(), offset: self.offset, what };
        match Frame::parse(rest) {
            Ok(frame) if frame.bytes <= rest.len() => {
                Ok(Some((frame, frame.content_bytes(rest).map_err(malformed)?)))
            }
            Ok(_) | Err(CUT_OFF) => {
                let what = "it ends within a block";
                Err(GenomeError::Truncated { path: self.order.path.to_owned(), what })
            }
            Err(what) => Err(malformed(what)),
        }
    }

    fn read_ahead(&mut self) -> Result<(), GenomeError> {
        self.ahead.drain(..self.from);
        self.from = 0;
        let known = self.ahead.len();
        self.ahead.resize(known + READ_BYTES, 0);
        let mut end = known;
        while end < self.ahead.len() {
            let offset = self.offset + end as u64;
            match self.order.file.read_at(&mut self.ahead[end..], offset) {
                Ok(0) => {
                    self.is_at_end = true;
                    break;
                }
                Ok(bytes) => end += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(GenomeError::file("read", self.order.path)(error)),
            }
        }
        self.ahead.truncate(end);
        Ok(())
    }
}
