//! What a message consists of on the receiving side: its header, and either the bytes that were copied out of a slot or
//! a hold on the publisher's memory.

use onecopy_memory::layout::INLINE_BYTES_MAX;
use onecopy_memory::ring::HeldChunk;
use zerocopy::IntoBytes;

use crate::payload::{Payload, PlainData};

/// Bytes of a message that travels inside a slot. Aligned, so that no sixteen bytes that are copied at once cross into
/// another cache line: such a store takes part in no forwarding, and whoever loads it waits for all stores before it.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct InlineBytes {
    words: [u64; INLINE_BYTES_MAX / 8],
    length: usize,
}

impl InlineBytes {
    pub(crate) fn new() -> Self {
        Self { words: [0; INLINE_BYTES_MAX / 8], length: 0 }
    }

    /// The whole buffer, to be filled.
    #[inline]
    pub(crate) fn buffer(&mut self) -> &mut [u8] {
        self.words.as_mut_bytes()
    }

    /// The whole buffer, as it was filled last.
    #[inline]
    pub(crate) fn whole(&self) -> &[u8] {
        self.words.as_bytes()
    }

    /// Says how much of the buffer is message; `false` if that is no `P`, or a `P` that must not be here: the buffer is
    /// moved, so what it is aligned for now it may not be later.
    #[inline]
    pub(crate) fn set_length<P: Payload + ?Sized>(&mut self, length: usize) -> bool {
        self.length = length.min(INLINE_BYTES_MAX);
        P::INLINE_BYTES <= INLINE_BYTES_MAX
            && match P::EXACT_BYTES {
                Some(bytes) => bytes == length,
                None => length <= INLINE_BYTES_MAX && P::from_bytes(self.bytes()).is_some(),
            }
    }

    /// Says how much of the buffer is message, of whatever type.
    #[inline]
    pub(crate) fn set_bytes(&mut self, length: usize) {
        self.length = length.min(INLINE_BYTES_MAX);
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.words.as_bytes()[..self.length]
    }
}

/// One received message.
pub(crate) struct Content<H> {
    pub(crate) header: H,
    pub(crate) inline: InlineBytes,
    /// Set if the payload is not in `inline`, but where its publisher has written it.
    pub(crate) held: Option<HeldChunk>,
    /// Where the payload begins in what is held; it ends with that.
    pub(crate) held_offset: usize,
}

impl<H: PlainData> Content<H> {
    pub(crate) fn empty() -> Self {
        Self { header: H::new_zeroed(), inline: InlineBytes::new(), held: None, held_offset: 0 }
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.held {
            None => self.inline.bytes(),
            Some(chunk) => &chunk.bytes()[self.held_offset..],
        }
    }

    /// Whether the bytes are a `P`, and stay one wherever the message is moved.
    #[inline]
    pub(crate) fn is<P: Payload + ?Sized>(&self) -> bool {
        let bytes = self.bytes();
        P::EXACT_BYTES.is_none_or(|exact| exact == bytes.len())
            && (self.held.is_some() || P::INLINE_BYTES <= INLINE_BYTES_MAX)
            && P::from_bytes(bytes).is_some()
    }

    #[inline]
    pub(crate) fn payload<P: Payload + ?Sized>(&self) -> &P {
        P::from_bytes(self.bytes()).expect("length and alignment were checked when the message was received")
    }

    /// Makes what is held the message, whose payload begins at `offset`, behind the header; `false` if it is
    /// too short for that.
    #[inline]
    pub(crate) fn open_chunk(&mut self, offset: usize) -> bool {
        let Some(chunk) = self.held.as_ref().filter(|chunk| chunk.bytes().len() >= offset) else {
            return false;
        };
        self.header = read_header(chunk);
        self.held_offset = offset;
        true
    }

    /// Out of the way of small messages, which have nothing to let go of.
    #[cold]
    pub(crate) fn let_go(&mut self) {
        self.held = None;
    }

    /// Moves the message out, hold and all.
    pub(crate) fn take(&mut self) -> Self {
        let mut header = H::new_zeroed();
        header.as_mut_bytes().copy_from_slice(self.header.as_bytes());
        Self { header, inline: self.inline, held: self.held.take(), held_offset: self.held_offset }
    }
}

/// The header at the start of a chunk that was found to be long enough for one.
#[inline]
pub(crate) fn read_header<H: PlainData>(chunk: &HeldChunk) -> H {
    match H::read_from_prefix(chunk.bytes()) {
        Ok((header, _)) => header,
        Err(_) => H::new_zeroed(),
    }
}
