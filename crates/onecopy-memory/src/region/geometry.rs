//! Sizes of a region, from which every offset in it follows.

use crate::counted::counted;
use crate::layout::{
    ALIGNMENT_MAX, COPIES, COPY_HEADER_WORDS, FLAG_SHARED, LINE_BYTES, NOTE_BYTES_MAX, REGION_BYTES_MAX,
    RegionHeader, SEAT_LINES, SEATS_OFFSET, SMALL_ALIGNMENT_MAX, SMALL_BYTES_MAX, SeatLine,
};
use crate::region::WriteError;
use crate::segment::SegmentError;
use crate::sync::Ordering;

/// Sizes of a region, fixed when it is made.
///
/// See [`RegionGeometry::new`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionGeometry {
    capacity_bytes: usize,
    alignment_bytes: usize,
    small: bool,
    shared: bool,
    note_bytes: u16,
}

/// Where the copies lie. It follows from the sizes, and is looked up with every read and write, so it is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// Words from one copy to the next.
    pub(super) copy_stride: usize,
    /// Words of a copy that are in use: its header, and its value if that is small.
    pub(super) copy_words: usize,
    /// Where the bytes of the first copy are, from the start of the segment.
    payloads_offset: usize,
    /// Bytes from one copy's bytes to the next one's.
    payload_stride: usize,
}

impl Places {
    /// Where the bytes of a copy are, from the start of the segment.
    #[inline]
    pub(super) fn payload_offset(&self, copy: usize) -> usize {
        self.payloads_offset + copy * self.payload_stride
    }
}

/// No region can have these sizes.
///
/// ```
/// use onecopy_memory::layout::{ALIGNMENT_MAX, REGION_BYTES_MAX};
/// use onecopy_memory::region::{GeometryError, RegionGeometry};
///
/// assert_eq!(RegionGeometry::new(48, 6), Err(GeometryError::Alignment { alignment_bytes: 6 }));
/// assert!(RegionGeometry::new(REGION_BYTES_MAX, ALIGNMENT_MAX).is_ok());
/// let refused = RegionGeometry::new(REGION_BYTES_MAX + 1, 1);
/// assert_eq!(refused, Err(GeometryError::Capacity { capacity_bytes: REGION_BYTES_MAX + 1 }));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// Larger than any region.
    #[error("a region of {capacity_bytes} bytes is too large: the most is {REGION_BYTES_MAX}")]
    Capacity {
        /// What was asked for.
        capacity_bytes: usize,
    },
    /// More of a note than a region takes.
    #[error("a region takes no note of {note_bytes} bytes: the most is {NOTE_BYTES_MAX}")]
    Note {
        /// How long it is.
        note_bytes: usize,
    },
    /// Not an alignment, or a stricter one than a page's.
    #[error("a region can't be aligned to {}: use a power of two up to {ALIGNMENT_MAX}",
        counted(*alignment_bytes, "byte"))]
    Alignment {
        /// What was asked for.
        alignment_bytes: usize,
    },
}

impl RegionGeometry {
    /// A region for values of up to `capacity_bytes` that begin at multiples of `alignment_bytes`.
    ///
    /// ```
    /// use onecopy_memory::layout::{SMALL_ALIGNMENT_MAX, SMALL_BYTES_MAX};
    /// use onecopy_memory::region::RegionGeometry;
    ///
    /// let geometry = RegionGeometry::new(48, 8)?;
    /// assert_eq!((geometry.capacity_bytes(), geometry.alignment_bytes()), (48, 8));
    /// assert!(geometry.is_small());
    /// assert!(RegionGeometry::new(SMALL_BYTES_MAX, SMALL_ALIGNMENT_MAX)?.is_small());
    /// assert!(!RegionGeometry::new(SMALL_BYTES_MAX + 1, 1)?.is_small());
    /// # Ok::<(), onecopy_memory::region::GeometryError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`GeometryError`] beyond [`REGION_BYTES_MAX`] or [`ALIGNMENT_MAX`].
    pub fn new(capacity_bytes: usize, alignment_bytes: usize) -> Result<Self, GeometryError> {
        if capacity_bytes > REGION_BYTES_MAX {
            return Err(GeometryError::Capacity { capacity_bytes });
        }
        if !alignment_bytes.is_power_of_two() || alignment_bytes > ALIGNMENT_MAX {
            return Err(GeometryError::Alignment { alignment_bytes });
        }
        let small = capacity_bytes <= SMALL_BYTES_MAX && alignment_bytes <= SMALL_ALIGNMENT_MAX;
        Ok(Self { capacity_bytes, alignment_bytes, small, shared: false, note_bytes: 0 })
    }

    /// The same with a lock, and seats for its writers.
    pub(super) fn shared(self) -> Self {
        Self { shared: true, ..self }
    }

    /// The same with room for a note of so many bytes.
    pub(super) fn with_note(self, note_bytes: usize) -> Result<Self, GeometryError> {
        let short = u16::try_from(note_bytes).ok().filter(|_| note_bytes <= NOTE_BYTES_MAX);
        Ok(Self { note_bytes: short.ok_or(GeometryError::Note { note_bytes })?, ..self })
    }

    pub(super) fn note_bytes(&self) -> usize {
        usize::from(self.note_bytes)
    }

    pub(super) fn note_words(&self) -> usize {
        self.note_bytes().div_ceil(8)
    }

    /// Largest value in bytes.
    pub fn capacity_bytes(&self) -> usize {
        self.capacity_bytes
    }

    /// Alignment of the value in bytes.
    pub fn alignment_bytes(&self) -> usize {
        self.alignment_bytes
    }

    /// Whether values are copied out; otherwise they are held in place.
    #[inline]
    pub fn is_small(&self) -> bool {
        self.small
    }

    /// Refuses a value that does not fit.
    #[inline]
    pub(super) fn check_length(&self, length_bytes: usize) -> Result<(), WriteError> {
        if length_bytes <= self.capacity_bytes {
            Ok(())
        } else {
            Err(WriteError::TooLarge { length_bytes, capacity_bytes: self.capacity_bytes })
        }
    }

    pub(super) fn seat_lines(&self) -> usize {
        if self.shared { SEAT_LINES } else { 0 }
    }

    pub(super) fn copies_offset(&self) -> usize {
        SEATS_OFFSET + self.seat_lines() * size_of::<SeatLine>()
    }

    /// A large value's header has a line, its bytes lie elsewhere.
    pub(super) fn places(&self) -> Places {
        const LINE_WORDS: usize = LINE_BYTES / 8;
        if self.is_small() {
            let copy_words = COPY_HEADER_WORDS + self.capacity_bytes.div_ceil(8);
            let copy_stride = copy_words.next_multiple_of(LINE_WORDS);
            let payloads_offset = self.copies_offset() + COPY_HEADER_WORDS * 8;
            return Places { copy_stride, copy_words, payloads_offset, payload_stride: copy_stride * 8 };
        }
        let unit = self.payload_unit();
        let payloads_offset = (self.copies_offset() + COPIES * LINE_BYTES).next_multiple_of(unit);
        let payload_stride = self.capacity_bytes.next_multiple_of(unit);
        Places { copy_stride: LINE_WORDS, copy_words: COPY_HEADER_WORDS, payloads_offset, payload_stride }
    }

    /// Large values don't share pages, smaller ones no lines.
    fn payload_unit(&self) -> usize {
        if self.capacity_bytes >= ALIGNMENT_MAX {
            ALIGNMENT_MAX
        } else {
            self.alignment_bytes.max(LINE_BYTES)
        }
    }

    /// Where the copies end, and the note begins.
    pub(super) fn note_offset(&self) -> usize {
        if self.is_small() {
            self.copies_offset() + COPIES * self.places().copy_stride * 8
        } else {
            self.places().payload_offset(COPIES)
        }
    }

    pub(super) fn total_bytes(&self) -> usize {
        self.note_offset() + self.note_words() * 8
    }

    pub(super) fn write_to(&self, header: &RegionHeader) {
        header.capacity_bytes.store(self.capacity_bytes as u64, Ordering::Relaxed);
        header.alignment_bytes.store(self.alignment_bytes as u64, Ordering::Relaxed);
        header.flags.store(if self.shared { FLAG_SHARED } else { 0 }, Ordering::Relaxed);
        header.note_bytes.store(u64::from(self.note_bytes), Ordering::Relaxed);
    }

    /// Reads each field once and checks the copies against what is expected and the size of the memory.
    pub(super) fn read_from(
        header: &RegionHeader,
        shared: bool,
        total_bytes: usize,
    ) -> Result<Self, SegmentError> {
        let capacity_bytes = header.capacity_bytes.load(Ordering::Relaxed);
        let alignment_bytes = header.alignment_bytes.load(Ordering::Relaxed);
        let flags = header.flags.load(Ordering::Relaxed);
        let note_bytes = header.note_bytes.load(Ordering::Relaxed);
        let expected_flags = if shared { FLAG_SHARED } else { 0 };
        let claimed = Self::new(capacity_bytes as usize, alignment_bytes as usize).ok();
        claimed
            .and_then(|geometry| geometry.with_note(usize::try_from(note_bytes).ok()?).ok())
            .map(|geometry| Self { shared, ..geometry })
            .filter(|geometry| flags == expected_flags && geometry.total_bytes() == total_bytes)
            .ok_or(SegmentError::RegionGeometry {
                capacity_bytes,
                alignment_bytes,
                flags,
                total_bytes: total_bytes as u64,
            })
    }
}
