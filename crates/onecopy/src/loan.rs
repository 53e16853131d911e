//! Memory lent to the user for one message (or a batch) until it is published. Large messages are written where
//! subscribers will read them; small ones into a buffer of the publisher, since storing them into the slot costs less
//! than any sharing would.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use onecopy_memory::pool::Chunk;

use crate::error::Error;
use crate::payload::{Payload, PlainData};
use crate::publisher::{Publisher, chunk_header_bytes};

/// Where a loan's bytes are.
pub(crate) enum Memory {
    Staged,
    Chunk(Chunk),
}

/// One message being written: derefs to the payload. Dropped without [`Loan::publish`], it was never there.
pub struct Loan<'p, P: Payload + ?Sized, H: PlainData = ()> {
    publisher: &'p mut Publisher<P, H>,
    /// `None` once given on.
    memory: Option<Memory>,
    bytes: usize,
}

impl<'p, P: Payload + ?Sized, H: PlainData> Loan<'p, P, H> {
    #[inline]
    pub(crate) fn new(publisher: &'p mut Publisher<P, H>, memory: Memory, bytes: usize) -> Self {
        Self { publisher, memory: Some(memory), bytes }
    }

    /// The user header, to be written. It keeps its value from message to message.
    pub fn header_mut(&mut self) -> &mut H {
        &mut self.publisher.header
    }

    /// The payload's bytes, to be written.
    #[inline]
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        match self.memory.as_mut().expect("a loan has its memory until it is published") {
            Memory::Staged => &mut self.publisher.staging.buffer()[..self.bytes],
            Memory::Chunk(chunk) => &mut chunk.bytes_mut()[chunk_header_bytes::<H>()..][..self.bytes],
        }
    }

    /// The payload's bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self.memory.as_ref().expect("a loan has its memory until it is published") {
            Memory::Staged => &self.publisher.staging.whole()[..self.bytes],
            Memory::Chunk(chunk) => &chunk.bytes()[chunk_header_bytes::<H>()..][..self.bytes],
        }
    }

    /// Hands the message to all subscribers. Costs the same for one or a hundred of them, and for any size.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a child process that inherited the publisher.
    #[inline]
    pub fn publish(mut self) -> Result<(), Error> {
        if self.publisher.sender.node.is_forked() {
            return Err(Error::Forked);
        }
        let Publisher { sender, staging, header, .. } = &mut *self.publisher;
        match self.memory.take().expect("a loan has its memory until it is published") {
            Memory::Staged => sender.writer.publish_inline(header.as_bytes(), &staging.whole()[..self.bytes]),
            Memory::Chunk(mut chunk) => {
                let length = chunk_header_bytes::<H>() + self.bytes;
                chunk.bytes_mut()[..size_of::<H>()].copy_from_slice(header.as_bytes());
                sender.writer.publish_chunk(chunk, length, 1);
            }
        }
        Ok(())
    }
}

impl<P: Payload + ?Sized, H: PlainData> Deref for Loan<'_, P, H> {
    type Target = P;

    #[inline]
    fn deref(&self) -> &P {
        P::from_bytes(self.as_bytes()).expect("a loan has the payload's length and alignment")
    }
}

impl<P: Payload + ?Sized, H: PlainData> DerefMut for Loan<'_, P, H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut P {
        P::from_bytes_mut(self.as_bytes_mut()).expect("a loan has the payload's length and alignment")
    }
}

impl<P: Payload + ?Sized, H: PlainData> Drop for Loan<'_, P, H> {
    fn drop(&mut self) {
        if let Some(Memory::Chunk(chunk)) = self.memory.take() {
            self.publisher.sender.pool.free(chunk);
        }
    }
}

/// Several messages being written: derefs to a slice of them. Dropped without [`Batch::publish`], they were never there.
pub struct Batch<'p, T: PlainData, H: PlainData = ()> {
    publisher: &'p mut Publisher<T, H>,
    /// `None` once given on.
    chunk: Option<Chunk>,
    count: usize,
    payload: PhantomData<T>,
}

impl<'p, T: PlainData, H: PlainData> Batch<'p, T, H> {
    pub(crate) fn new(publisher: &'p mut Publisher<T, H>, chunk: Chunk, count: usize) -> Self {
        Self { publisher, chunk: Some(chunk), count, payload: PhantomData }
    }

    /// The user header, which all messages of the batch share.
    pub fn header_mut(&mut self) -> &mut H {
        &mut self.publisher.header
    }

    /// Hands all messages to all subscribers at once.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a child process that inherited the publisher.
    #[inline]
    pub fn publish(mut self) -> Result<(), Error> {
        let Publisher { sender, header, .. } = &mut *self.publisher;
        if sender.node.is_forked() {
            return Err(Error::Forked);
        }
        let mut chunk = self.chunk.take().expect("a batch has its memory until it is published");
        chunk.bytes_mut()[..size_of::<H>()].copy_from_slice(header.as_bytes());
        let length = chunk_header_bytes::<H>() + self.count * size_of::<T>();
        sender.writer.publish_chunk(chunk, length, self.count as u64);
        Ok(())
    }

    fn range(&self) -> std::ops::Range<usize> {
        let start = chunk_header_bytes::<H>();
        start..start + self.count * size_of::<T>()
    }
}

impl<T: PlainData, H: PlainData> Deref for Batch<'_, T, H> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        let chunk = self.chunk.as_ref().expect("a batch has its memory until it is published");
        <[T]>::from_bytes(&chunk.bytes()[self.range()])
            .expect("a batch has its messages' length and alignment")
    }
}

impl<T: PlainData, H: PlainData> DerefMut for Batch<'_, T, H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        let range = self.range();
        let chunk = self.chunk.as_mut().expect("a batch has its memory until it is published");
        <[T]>::from_bytes_mut(&mut chunk.bytes_mut()[range])
            .expect("a batch has its messages' length and alignment")
    }
}

impl<T: PlainData, H: PlainData> Drop for Batch<'_, T, H> {
    fn drop(&mut self) {
        if let Some(chunk) = self.chunk.take() {
            self.publisher.sender.pool.free(chunk);
        }
    }
}
