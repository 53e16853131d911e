//! What the models share: bounds of the search, and a writer with a reader on the heap.

#![allow(dead_code)]

use onecopy_memory::hold::{PeerReader, ReaderTable};
use onecopy_memory::readers::ReaderKey;
use onecopy_memory::ring::{Geometry, InlineParts, Received, RingReader, RingWriter};
use onecopy_memory::sync::COMPILER_FENCE_ONLY;

/// Explores `model` with at most `preemptions` involuntary thread switches, or as many as the environment says.
pub(crate) fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound =
        Some(builder.preemption_bound.map_or(preemptions, |most| most.min(preemptions)));
    builder.max_branches = 20_000;
    builder.check(model);
}

/// [`check`] of something that must hold without the pair of a light and a heavy barrier.
pub(crate) fn check_without_barriers(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    COMPILER_FENCE_ONLY.set(true);
    check(preemptions, model);
}

/// A race that all threads of a model run before anything else. loom remembers one last access per atomic, so a thread
/// that loads a word before it stores to it hides that the store races with another's load; orders that it would miss
/// for that reason are found once it has a reason to start the threads in every order.
#[derive(Default)]
pub(crate) struct Start(loom::sync::atomic::AtomicU64);

impl Start {
    pub(crate) fn race(&self) {
        self.0.fetch_add(1, loom::sync::atomic::Ordering::Relaxed);
    }
}

/// A ring of two slots.
pub(crate) fn writer(history: u64, reliable: bool) -> RingWriter {
    RingWriter::heap(Geometry::new(2, history, 16, reliable))
}

/// The key of the reader number `number`.
pub(crate) fn key(number: u32) -> ReaderKey {
    (1, number)
}

/// A reader that the writer knows, at the writer's head.
pub(crate) fn attached(writer: &mut RingWriter, number: u32) -> RingReader {
    let mut reader = RingReader::of(writer, &ReaderTable::heap(1));
    let start = writer.readers().attach(key(number), PeerReader::of(reader.state()));
    reader.start(start);
    reader
}

/// Publishes the message whose words say where it stands.
pub(crate) fn publish(writer: &mut RingWriter) {
    let position = writer.head();
    let payload = [position, !position].map(u64::to_ne_bytes);
    writer.publish_inline(&[], payload.as_flattened());
}

/// Receives one message, checks that it is whole, and gives its position.
pub(crate) fn receive(reader: &mut RingReader) -> Option<u64> {
    let mut payload = [0; 16];
    let mut parts = InlineParts { header: &mut [], payload: &mut payload, exact: true };
    match reader.receive(&mut parts).expect("the writer is honest") {
        Received::Inline { length } => assert_eq!(length, 16),
        Received::Empty | Received::SegmentMissing { .. } => return None,
        other => panic!("only inline messages were sent: {other:?}"),
    }
    let (words, _) = payload.as_chunks::<8>();
    let (position, inverse) = (u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1]));
    assert_eq!(position, !inverse, "torn");
    assert_eq!(position + 1, reader.cursor(), "the message of another position");
    Some(position)
}
