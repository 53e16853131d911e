//! A received message. Small ones were copied out of the ring's slot and live in the value itself; large ones stay in
//! the publisher's memory and are held there until the value is dropped.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use onecopy_memory::hold::HeldChunk;
use onecopy_memory::layout::INLINE_BYTES_MAX;
use zerocopy::IntoBytes;

use crate::payload::{Payload, PlainData};

/// A message, readable as the payload (`*message`, `message.field`, `message.len()`), with its header.
///
/// Dropping it gives large memory back to the publisher, from whichever thread. Keep as many as you like, but mind
/// that what is held counts against the publisher's byte budget.
///
/// A publisher that keeps the protocol never changes a held message. A broken or hostile one could change *values*
/// under your eyes (never sizes, never validity: any bytes are a valid payload); use [`Message::to_vec`] or
/// [`Message::copy`] before you check and use a value that comes from someone you don't trust.
pub struct Message<P: Payload + ?Sized, H: PlainData = ()> {
    header: H,
    body: Body,
    payload: PhantomData<fn() -> Box<P>>,
}

/// Bytes of a message that travelled inside a slot. Words, for the alignment.
#[derive(Clone, Copy)]
pub(crate) struct InlineBytes {
    words: [u64; INLINE_BYTES_MAX / 8],
    length: usize,
}

impl InlineBytes {
    #[inline]
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

    /// Says how much of the buffer is message; `false` if that is more than there is.
    #[inline]
    pub(crate) fn set_length(&mut self, length: usize) -> bool {
        self.length = length.min(INLINE_BYTES_MAX);
        length <= INLINE_BYTES_MAX
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.words.as_bytes()[..self.length]
    }
}

/// Where a message's payload is.
pub(crate) enum Body {
    Inline(InlineBytes),
    /// The payload begins at this offset of the chunk and ends with it.
    Held(HeldChunk, usize),
    /// One of several messages of a chunk.
    Shared {
        chunk: Arc<HeldChunk>,
        offset: usize,
        length: usize,
    },
}

impl Body {
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline(inline) => inline.bytes(),
            Self::Held(chunk, offset) => &chunk.bytes()[*offset..],
            Self::Shared { chunk, offset, length } => &chunk.bytes()[*offset..*offset + *length],
        }
    }
}

impl<P: Payload + ?Sized, H: PlainData> Message<P, H> {
    /// `None` if the bytes are no `P`: their publisher is broken.
    #[inline]
    pub(crate) fn new(header: H, body: Body) -> Option<Self> {
        P::from_bytes(body.bytes())?;
        Some(Self { header, body, payload: PhantomData })
    }

    /// The user header that the publisher sent along.
    pub fn header(&self) -> &H {
        &self.header
    }

    /// The payload's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.body.bytes()
    }

    /// Whether the message is held in its publisher's memory, rather than copied out of a slot.
    pub fn is_held(&self) -> bool {
        !matches!(self.body, Body::Inline(_))
    }
}

impl<T: PlainData + Copy, H: PlainData> Message<T, H> {
    /// A copy of the payload that nobody else can touch.
    pub fn copy(&self) -> T {
        **self
    }
}

impl<T: PlainData + Copy, H: PlainData> Message<[T], H> {
    /// A copy of the payload that nobody else can touch.
    pub fn to_vec(&self) -> Vec<T> {
        self.deref().to_vec()
    }
}

impl<P: Payload + ?Sized, H: PlainData> Deref for Message<P, H> {
    type Target = P;

    #[inline]
    fn deref(&self) -> &P {
        // Length and alignment are fixed for the message's life, and `new` saw that they fit.
        P::from_bytes(self.body.bytes()).expect("checked when the message was made")
    }
}

impl<P: Payload + ?Sized + fmt::Debug, H: PlainData> fmt::Debug for Message<P, H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Message").field(&&**self).finish()
    }
}
