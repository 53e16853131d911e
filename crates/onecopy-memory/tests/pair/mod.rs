//! A writer and its readers in one process, each over its own mapping of the shared segments, as two processes have
//! them.

#![allow(dead_code)]

use std::os::fd::OwnedFd;
use std::sync::Arc;

use onecopy_memory::hold::{PeerReader, ReaderTable};
use onecopy_memory::layout::SegmentKind;
use onecopy_memory::pool::{Chunk, Pool};
use onecopy_memory::ring::HeldChunk;
use onecopy_memory::ring::{
    Allocation, BudgetExhausted, Geometry, MessageParts, Received, RingFault, RingReader, RingWriter,
};
use onecopy_memory::segment::{Segment, View};

pub(crate) struct Publisher {
    pub(crate) writer: RingWriter,
    pub(crate) pool: Pool,
    /// What a broker would hand to subscribers.
    pub(crate) segments: Vec<OwnedFd>,
}

impl Publisher {
    pub(crate) fn new(geometry: Geometry, budget_bytes: usize) -> Self {
        let writer = RingWriter::create(geometry, 0).expect("memory for a ring");
        Self { writer, pool: Pool::new(budget_bytes), segments: Vec::new() }
    }

    pub(crate) fn allocate(&mut self, length: usize) -> Result<Chunk, BudgetExhausted> {
        loop {
            match self.writer.allocate(&mut self.pool, length)? {
                Allocation::Chunk(chunk) => return Ok(chunk),
                Allocation::Grow(bytes) => {
                    let segment = Segment::create(SegmentKind::Pool, bytes, 0).expect("memory for a segment");
                    self.segments.push(segment.descriptor().try_clone_to_owned().expect("a descriptor"));
                    self.pool.add(&segment);
                }
            }
        }
    }

    /// Publishes `count` messages of as many bytes each as `bytes` divided by `count`.
    pub(crate) fn publish(&mut self, bytes: &[u8], count: u64) -> Result<(), BudgetExhausted> {
        let mut chunk = self.allocate(bytes.len())?;
        chunk.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        self.writer.publish_chunk(chunk, 0, bytes.len(), count);
        Ok(())
    }

    /// Publishes inline the number of the message.
    pub(crate) fn publish_number(&mut self) {
        let number = self.writer.head().to_ne_bytes();
        self.writer.publish_inline(&[], &number);
    }

    /// Publishes as a chunk the number of the message, repeated.
    pub(crate) fn publish_chunk(&mut self, length: usize) -> Result<(), BudgetExhausted> {
        let bytes = [self.writer.head() as u8].repeat(length);
        self.publish(&bytes, 1)
    }

    pub(crate) fn subscribe(&self, table: &Arc<ReaderTable>, number: u32) -> Subscriber {
        let view = View::open(
            self.writer.descriptor().try_clone_to_owned().expect("a descriptor"),
            SegmentKind::Ring,
        );
        let mut reader =
            RingReader::open(&view.expect("an honest ring"), table, Box::new(())).expect("room in the table");
        let start = self.writer.readers().attach((1, number), peer(table, &reader));
        reader.start(start);
        Subscriber { reader }
    }
}

/// The writer's look at `reader`.
pub(crate) fn peer(table: &ReaderTable, reader: &RingReader) -> PeerReader {
    let table = table.descriptor().try_clone_to_owned().expect("a descriptor");
    let view = View::open(table, SegmentKind::Readers).expect("an honest table");
    PeerReader::open(&view, reader.state().block()).expect("a block inside the table")
}

pub(crate) struct Subscriber {
    pub(crate) reader: RingReader,
}

#[derive(Debug)]
pub(crate) enum Message {
    Inline(Vec<u8>),
    Chunk { chunk: HeldChunk, count: u64, skip: u64 },
}

impl Message {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline(bytes) => bytes,
            Self::Chunk { chunk, .. } => chunk.bytes(),
        }
    }
}

impl Subscriber {
    pub(crate) fn try_receive(&mut self, segments: &[OwnedFd]) -> Result<Option<Message>, RingFault> {
        loop {
            let (mut payload, mut chunk) = ([0; 256], None);
            let mut parts =
                MessageParts { header: &mut [], payload: &mut payload, exact: false, chunk: &mut chunk };
            match self.reader.receive(&mut parts)? {
                Received::Empty => return Ok(None),
                Received::Inline { length } => return Ok(Some(Message::Inline(payload[..length].to_vec()))),
                Received::Chunk { count, skip } => {
                    let chunk = chunk.expect("it was taken");
                    return Ok(Some(Message::Chunk { chunk, count, skip }));
                }
                Received::SegmentMissing { index } => {
                    let segment = segments[index as usize].try_clone().expect("a descriptor");
                    self.reader.add_segment(index, segment).expect("an honest segment");
                }
            }
        }
    }

    pub(crate) fn receive(&mut self, publisher: &Publisher) -> Option<Message> {
        self.try_receive(&publisher.segments).expect("the writer is honest")
    }

    /// Receives a message of [`Publisher::publish_number`].
    pub(crate) fn number(&mut self) -> Option<u64> {
        let message = self.try_receive(&[]).expect("the writer is honest")?;
        Some(u64::from_ne_bytes(message.bytes().try_into().expect("a number")))
    }
}
