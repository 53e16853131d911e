//! What the models share: bounds of the search, and a writer with a reader on the heap.

#![allow(dead_code)]

use onecopy_memory::hold::{PeerReader, ReaderTable};
use onecopy_memory::readers::ReaderKey;
use onecopy_memory::ring::{Geometry, MessageParts, Received, RingReader, RingWriter};
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

/// The same, reliable, of a writer that waits for nobody.
pub(crate) fn impatient_writer() -> RingWriter {
    RingWriter::heap(Geometry::new(2, 0, 16, true).with_evict_after(std::time::Duration::ZERO))
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
    let mut parts = MessageParts { header: &mut [], payload: &mut payload, exact: true, chunk: &mut None };
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

/// A region's value that says which version it is.
pub(crate) fn value(version: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice([version, !version].map(u64::to_ne_bytes).as_flattened());
    bytes
}

/// The bytes of a region's copies, each a version. loom fails the model when one is written while another thread may
/// still be reading it.
#[derive(Clone)]
pub(crate) struct Contents(std::sync::Arc<[loom::cell::UnsafeCell<u64>; 4]>);

// SAFETY: what a model is to find out; loom's cells report every unordered access.
unsafe impl Sync for Contents {}
// SAFETY: as above.
unsafe impl Send for Contents {}

impl Contents {
    /// With `version` in the first copy.
    pub(crate) fn new(version: u64) -> Self {
        let contents = Self(std::sync::Arc::new(std::array::from_fn(|_| loom::cell::UnsafeCell::new(0))));
        contents.write(0, version);
        contents
    }

    pub(crate) fn write(&self, copy: usize, version: u64) {
        self.0[copy].with_mut(|cell| {
            // SAFETY: loom reports an access at the same time.
            unsafe { *cell = version }
        });
    }

    pub(crate) fn expect(&self, copy: usize, version: u64) {
        self.0[copy].with(|cell| {
            // SAFETY: loom reports an access at the same time.
            assert_eq!(unsafe { *cell }, version, "the copy was overwritten while held");
        });
    }
}
