//! Messages that came together in one chunk, given out one by one. The batch is held as a whole until its last message
//! is out; a message too large to be copied takes a hold of its own.

use std::ops::Range;

use onecopy_memory::layout::INLINE_BYTES_MAX;
use onecopy_memory::ring::HeldChunk;

use crate::content::{Content, read_header};
use crate::error::ReceiveError;

use crate::payload::{Payload, PlainData};

/// What is left of a batch.
pub(crate) struct BatchRest {
    chunk: HeldChunk,
    /// Where the first message of the batch begins.
    offset: usize,
    message_bytes: usize,
    /// Numbers of the messages within the batch that were not given out yet.
    left: Range<usize>,
}

impl BatchRest {
    pub(crate) fn new(chunk: HeldChunk, offset: usize, message_bytes: usize, left: Range<usize>) -> Self {
        Self { chunk, offset, message_bytes, left }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Makes the next one the content. There must be one.
    #[inline]
    pub(crate) fn next_into<P: Payload + ?Sized, H: PlainData>(
        &mut self,
        content: &mut Content<H>,
    ) -> Result<(), ReceiveError> {
        let start = self.offset + self.left.start * self.message_bytes;
        match P::EXACT_BYTES {
            // Copying a small message costs less than noting that it is held.
            Some(bytes) if P::INLINE_BYTES <= INLINE_BYTES_MAX => {
                content.inline.buffer()[..bytes].copy_from_slice(&self.chunk.bytes()[start..start + bytes]);
                content.inline.set_length::<P>(bytes);
                content.held = None;
            }
            _ => {
                let chunk = self.chunk.part(start, self.message_bytes).map_err(ReceiveError::TooManyHeld)?;
                content.held = Some(chunk);
                content.held_offset = 0;
            }
        }
        content.header = read_header(&self.chunk);
        self.left.start += 1;
        Ok(())
    }
}
