//! A request or response on its way out: written where the other side will read it if it is large, else into a buffer.

use onecopy_memory::layout::INLINE_BYTES_MAX;
use onecopy_memory::pool::Chunk;

use crate::content::InlineBytes;
use crate::draft::chunk_header_bytes;
use crate::error::LoanError;
use crate::payload::{Payload, PlainData};
use crate::sender::Sender;

/// Memory for one message, taken from a sender.
pub(super) struct Outgoing {
    staging: InlineBytes,
    chunk: Option<Chunk>,
    /// Where the payload begins in the chunk.
    offset: usize,
    bytes: usize,
}

impl Outgoing {
    /// Memory for a payload of `bytes`.
    pub(super) fn take<P: Payload + ?Sized, H: PlainData>(
        sender: &mut Sender,
        bytes: usize,
    ) -> Result<Self, LoanError> {
        sender.check_room(1)?;
        let offset = chunk_header_bytes::<H>();
        let chunk = if fits_slot::<P, H>(sender, bytes) { None } else { Some(sender.chunk(offset + bytes)?) };
        Ok(Self { staging: InlineBytes::new(), chunk, offset, bytes })
    }

    /// Memory with a copy of a payload.
    pub(super) fn copy<P: Payload + ?Sized, H: PlainData>(
        sender: &mut Sender,
        payload: &[u8],
    ) -> Result<Self, LoanError> {
        let mut outgoing = Self::take::<P, H>(sender, payload.len())?;
        outgoing.payload_mut().copy_from_slice(payload);
        Ok(outgoing)
    }

    /// Bytes of its chunk; 0 if it travels in a slot.
    pub(super) fn chunk_bytes(&self) -> usize {
        self.chunk.as_ref().map_or(0, Chunk::capacity)
    }

    pub(super) fn payload(&self) -> &[u8] {
        match &self.chunk {
            None => &self.staging.whole()[..self.bytes],
            Some(chunk) => &chunk.bytes()[self.offset..][..self.bytes],
        }
    }

    pub(super) fn payload_mut(&mut self) -> &mut [u8] {
        match &mut self.chunk {
            None => &mut self.staging.buffer()[..self.bytes],
            Some(chunk) => &mut chunk.bytes_mut()[self.offset..][..self.bytes],
        }
    }

    /// Publishes it. It was taken from this very sender.
    pub(super) fn publish<H: PlainData>(mut self, sender: &mut Sender, header: &H) {
        match self.chunk.take() {
            None => sender.writer.publish_inline(header.as_bytes(), self.payload()),
            Some(mut chunk) => {
                chunk.bytes_mut()[..size_of::<H>()].copy_from_slice(header.as_bytes());
                sender.writer.publish_chunk(chunk, self.offset, self.bytes, 1);
                sender.pool.take_back_next(self.offset + self.bytes);
            }
        }
    }

    /// Gives the memory back unpublished.
    pub(super) fn discard(self, sender: &mut Sender) {
        if let Some(chunk) = self.chunk {
            sender.pool.free(chunk);
        }
    }
}

/// Publishes a copy of `payload`.
#[inline]
pub(super) fn send<P: Payload + ?Sized, H: PlainData>(
    sender: &mut Sender,
    header: &H,
    payload: &[u8],
) -> Result<(), LoanError> {
    if fits_slot::<P, H>(sender, payload.len()) {
        sender.check_room(1)?;
        sender.writer.publish_inline(header.as_bytes(), payload);
    } else {
        Outgoing::copy::<P, H>(sender, payload)?.publish(sender, header);
    }
    Ok(())
}

/// Bytes of the chunk that a payload of `bytes` takes; 0 if it travels in a slot.
#[inline]
pub(super) fn chunk_bytes<P: Payload + ?Sized, H: PlainData>(sender: &Sender, bytes: usize) -> usize {
    if fits_slot::<P, H>(sender, bytes) { 0 } else { chunk_header_bytes::<H>().saturating_add(bytes) }
}

/// Whether a payload of `bytes` is sent without memory of its own.
#[inline]
pub(super) fn fits_slot<P: Payload + ?Sized, H: PlainData>(sender: &Sender, bytes: usize) -> bool {
    let header_bytes = size_of::<H>().next_multiple_of(8);
    P::INLINE_BYTES <= INLINE_BYTES_MAX && header_bytes + bytes <= sender.writer.geometry().inline_bytes_max()
}
