//! A message while it is being written: the publisher's counterpart of what a subscriber has received. It stays in its
//! place in the publisher, so that a loan is a mere reference; a loan that carried the memory would be moved through
//! the stack for each message, and such moves wait behind the stores to the ring (docs/decisions/store-forwarding.md).

use onecopy_memory::layout::LINE_BYTES;
use onecopy_memory::pool::Chunk;

use crate::content::InlineBytes;
use crate::payload::{Payload, PlainData};

/// Memory for the next message.
pub(crate) struct Draft<H> {
    /// Keeps its value from message to message.
    pub(crate) header: H,
    /// Where a message that travels in its slot is written, before it is stored there.
    staging: InlineBytes,
    /// Where a larger one is written.
    pub(crate) chunk: Option<Chunk>,
    /// Bytes of the payload; not kept up to date where its type has but one size and it fits a slot.
    pub(crate) bytes: usize,
}

/// Bytes before the payload in a chunk: the header, then up to the next line.
pub(crate) const fn chunk_header_bytes<H>() -> usize {
    size_of::<H>().next_multiple_of(LINE_BYTES)
}

impl<H: PlainData> Draft<H> {
    pub(crate) fn new() -> Self {
        Self { header: H::new_zeroed(), staging: InlineBytes::new(), chunk: None, bytes: 0 }
    }

    /// The payload, one `P`; of a batch, `[T]`.
    #[inline]
    pub(crate) fn payload<P: Payload + ?Sized>(&self) -> &[u8] {
        let bytes = self.payload_bytes::<P>();
        match &self.chunk {
            None => &self.staging.whole()[..bytes],
            Some(chunk) => &chunk.bytes()[chunk_header_bytes::<H>()..][..bytes],
        }
    }

    #[inline]
    pub(crate) fn payload_mut<P: Payload + ?Sized>(&mut self) -> &mut [u8] {
        let bytes = self.payload_bytes::<P>();
        match &mut self.chunk {
            None => &mut self.staging.buffer()[..bytes],
            Some(chunk) => &mut chunk.bytes_mut()[chunk_header_bytes::<H>()..][..bytes],
        }
    }

    /// Known to the compiler where the type has but one size.
    #[inline]
    fn payload_bytes<P: Payload + ?Sized>(&self) -> usize {
        P::EXACT_BYTES.unwrap_or(self.bytes)
    }

    /// The payload and what it is to be sent with, if it travels in its slot.
    #[inline]
    pub(crate) fn staged<P: Payload + ?Sized>(&self) -> Option<(&[u8], &[u8])> {
        let bytes = self.payload_bytes::<P>();
        self.chunk.is_none().then(|| (self.header.as_bytes(), &self.staging.whole()[..bytes]))
    }

    /// The chunk, with the header written into it.
    pub(crate) fn take_chunk(&mut self) -> Option<Chunk> {
        let mut chunk = self.chunk.take()?;
        chunk.bytes_mut()[..size_of::<H>()].copy_from_slice(self.header.as_bytes());
        Some(chunk)
    }
}
