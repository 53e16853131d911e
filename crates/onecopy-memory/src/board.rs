//! Words that a writer shows to its reader beside the messages: for what changes after a message was published. They
//! lie in a chunk of the writer's ring, so the reader has them mapped, and can do nothing but look.

use crate::layout::LINE_BYTES;
use crate::pool::Chunk;
use crate::sync::{AtomicU64, Ordering, load_acquire};
use crate::window::Window;

/// The writer's side: words that it sets.
///
/// ```
/// use onecopy_memory::board::Board;
/// use onecopy_memory::ring::{Geometry, RingWriter};
///
/// let writer = RingWriter::create(Geometry::new(16, 0, 48, true).with_arena(4096), 0)?;
/// let mut pool = writer.create_pool(4096);
/// let board = Board::new(pool.allocate(Board::bytes(8)).expect("the arena has room")).expect("a real chunk");
/// board.set(3, 42);
/// # Ok::<(), onecopy_memory::segment::SegmentError>(())
/// ```
#[derive(Debug)]
pub struct Board {
    words: Window<AtomicU64>,
    /// Where the words are in the segment.
    offset: u64,
    /// Keeps the memory from being given to a message.
    _chunk: Chunk,
}

impl Board {
    /// Bytes that a board of `words` words needs.
    pub fn bytes(words: usize) -> usize {
        (words * size_of::<u64>()).next_multiple_of(LINE_BYTES)
    }

    /// A board over the whole of a chunk; `None` for a chunk that is not in the ring's own segment, where no reader would
    /// find it.
    pub fn new(chunk: Chunk) -> Option<Self> {
        let offset = chunk.address().offset;
        let words = chunk.words().filter(|_| chunk.address().segment == 0)?;
        words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        Some(Self { words, offset, _chunk: chunk })
    }

    /// A board of one word on the heap, for models, and as a reader sees it.
    #[cfg(loom)]
    pub fn heap() -> (Self, PeerWords) {
        let words = Window::heap(vec![AtomicU64::new(0)]);
        let shown = words.clone();
        (Self { words, offset: 0, _chunk: Chunk::model(0) }, PeerWords { words: shown })
    }

    /// Sets word `index`. What was set before a message was published is seen by whoever has received the message.
    ///
    /// # Panics
    ///
    /// If there is no such word.
    #[inline]
    pub fn set(&self, index: usize, value: u64) {
        // Release: pairs with the acquire in `PeerWords::load`.
        self.words[index].store(value, Ordering::Release);
    }

    /// Where a reader finds word `index`, for [`crate::ring::RingReader::words`].
    #[inline]
    pub fn offset_of(&self, index: usize) -> u64 {
        self.offset + (index * size_of::<u64>()) as u64
    }
}

/// Words on another process's board that lie one behind the other.
///
/// Seen by the reader of a [`Board`].
///
/// ```
/// # use onecopy_memory::{board::Board, hold::ReaderTable, layout::SegmentKind, segment::View};
/// # use onecopy_memory::ring::{Geometry, RingReader, RingWriter};
/// let writer = RingWriter::create(Geometry::new(16, 0, 48, true).with_arena(4096), 0)?;
/// let chunk = writer.create_pool(4096).allocate(Board::bytes(8)).ok_or("the arena has room")?;
/// let board = Board::new(chunk).ok_or("the arena is in the ring's segment")?;
///
/// let view = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Ring)?;
/// let reader = RingReader::open(&view, &ReaderTable::create()?, Box::new(()))?;
/// let words = reader.words(board.offset_of(6), 2).ok_or("they are in the segment")?;
/// board.set(7, 42);
/// assert_eq!((words.load(0), words.load(1)), (0, 42));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PeerWords {
    pub(crate) words: Window<AtomicU64>,
}

impl PeerWords {
    /// The value of word `index` now.
    ///
    /// # Panics
    ///
    /// If there are not so many.
    #[inline]
    pub fn load(&self, index: usize) -> u64 {
        load_acquire(&self.words[index])
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::hold::ReaderTable;
    use crate::layout::SegmentKind;
    use crate::ring::{Geometry, RingReader, RingWriter};
    use crate::segment::View;

    #[test]
    fn a_reader_sees_the_words_and_nothing_outside_the_segment() {
        let writer = RingWriter::create(Geometry::new(16, 0, 48, true).with_arena(4096), 0).unwrap();
        let mut pool = writer.create_pool(4096);
        let board = Board::new(pool.allocate(Board::bytes(8)).unwrap()).unwrap();
        let view = View::open(writer.descriptor().try_clone_to_owned().unwrap(), SegmentKind::Ring).unwrap();
        let reader = RingReader::open(&view, &ReaderTable::create().unwrap(), Box::new(())).unwrap();
        let words = reader.words(board.offset_of(6), 2).unwrap();
        assert_eq!((words.load(0), words.load(1)), (0, 0));
        board.set(7, 42);
        assert_eq!((words.load(0), words.load(1)), (0, 42));
        let end = view.total_bytes() as u64;
        for hostile in [end, end - 8, u64::MAX, u64::MAX - 7, u64::MAX - 15, board.offset_of(7) + 1] {
            assert!(reader.words(hostile, 2).is_none(), "{hostile}");
        }
    }
}
