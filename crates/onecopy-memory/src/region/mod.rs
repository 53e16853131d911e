//! A named block whose latest value everyone sees: sixteen copies of the value, and one word that says which of them
//! is current.
//!
//! A writer fills a copy that is neither current nor held, then stores `current`: that one store is the commit. So a
//! writer that dies at any instruction leaves the last committed value, and a reader never waits for anybody. Small
//! values are copied out, with a second look at the copy's sequence (a seqlock, but one whose reader tries again only
//! if the writer came all the way round). Large ones are read in place: the reader enters what it read in `current`
//! into its held table, and looks whether `current` is still the same; if it is, then every later search for a free
//! copy finds the entry.
//!
//! | | |
//! |---|---|
//! | [`RegionWriter`], [`RegionReader`] | one writer; everyone else has the region mapped read-only |
//! | [`SharedRegion`] | several writers of the same trust, a [`Seat`] each, and a lock that outlives its holders |
//!
//! Versions count from what the creator says, at least 1, so that a larger segment can continue the versions of the
//! one it replaces.

mod fault;
mod geometry;
mod guard;
mod held;
mod lock;
mod observer;
mod reader;
mod seat;
mod shared;
mod writer;

pub use fault::{CompareError, LockError, OpenError, ReadError, RegionFault, WriteError};
pub use geometry::{GeometryError, RegionGeometry};
pub use guard::Guard;
pub use held::HeldValue;
pub use observer::RegionObserver;
pub use reader::RegionReader;
pub use seat::Seat;
pub use shared::SharedRegion;
pub use writer::{Draft, RegionWriter};

use geometry::Places;

use std::ptr::NonNull;

use zerocopy::{FromBytes, IntoBytes};

use crate::layout::{
    COPIES, COPY_BITS, COPY_HEADER_WORDS, REGION_HEADER_OFFSET, RING_HEADER_OFFSET, RegionHeader, RingHeader,
    SEATS_OFFSET, SMALL_ALIGNMENT_MAX, SMALL_BYTES_MAX, SeatLine, VERSION_MAX, WRITING,
};
use crate::mapping::Mapping;
use crate::segment::SegmentError;
use crate::sync::{Arc, AtomicU64, Ordering, fence, load_acquire};
use crate::window::{Pane, Window};
use crate::words::{load_bytes, store_bytes};

/// How often a reader whose copy was overwritten while it looked tries again. An honest writer must come round once
/// for each try; one that keeps the words moving for ever must not keep us for ever.
const READ_TRIES: usize = 10_000;

/// Among how many copies small values rotate.
#[cfg(not(loom))]
const ROTATION: usize = COPIES;
/// So few that a model's reader is lapped.
#[cfg(loom)]
const ROTATION: usize = 2;

/// What a reader was given.
///
/// See [`RegionReader`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// Number of the write that it comes from.
    pub version: u64,
    /// Its bytes, which may be more or fewer than the caller has room for.
    pub length: usize,
}

/// [`RegionHeader::current`], unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Current {
    version: u64,
    copy: usize,
}

impl Current {
    #[inline]
    fn pack(self) -> u64 {
        self.version << COPY_BITS | self.copy as u64
    }

    /// Any word unpacks: the copy's number is one of [`COPIES`], the version is compared with the copy's.
    #[inline]
    fn unpack(word: u64) -> Self {
        Self { version: word >> COPY_BITS, copy: (word & (COPIES as u64 - 1)) as usize }
    }

    fn next_version(self) -> Result<u64, WriteError> {
        if self.version < VERSION_MAX { Ok(self.version + 1) } else { Err(WriteError::VersionsExhausted) }
    }
}

/// The shared words of one region, as its writer or a reader has them mapped.
#[derive(Debug, Clone)]
struct Region {
    /// The words for waking, which lie where a ring has them.
    waking: Pane<RingHeader>,
    header: Pane<RegionHeader>,
    seats: Window<SeatLine>,
    copies: Window<AtomicU64>,
    /// Absent in a model only.
    mapping: Option<Arc<Mapping>>,
    geometry: RegionGeometry,
    places: Places,
}

impl Region {
    fn over(mapping: &Arc<Mapping>, geometry: RegionGeometry) -> Option<Self> {
        Some(Self {
            waking: Pane::new(mapping, RING_HEADER_OFFSET)?,
            header: Pane::new(mapping, REGION_HEADER_OFFSET)?,
            seats: Window::new(mapping, SEATS_OFFSET, geometry.seat_lines())?,
            copies: Window::new(mapping, geometry.copies_offset(), COPIES * geometry.places().copy_stride)?,
            mapping: Some(Arc::clone(mapping)),
            geometry,
            places: geometry.places(),
        })
    }

    /// Checks the geometry that somebody else wrote.
    fn open(mapping: &Arc<Mapping>, shared: bool) -> Result<Self, SegmentError> {
        let header = Pane::<RegionHeader>::new(mapping, REGION_HEADER_OFFSET);
        let header = header.ok_or(SegmentError::NotASegment)?;
        let geometry = RegionGeometry::read_from(&header, shared, mapping.len())?;
        Self::over(mapping, geometry).ok_or(SegmentError::NotASegment)
    }

    #[cfg(loom)]
    fn heap(geometry: RegionGeometry, seat_lines: usize) -> Self {
        let words = COPIES * geometry.places().copy_stride;
        Self {
            waking: Pane::heap(RingHeader::default()),
            header: Pane::heap(RegionHeader::default()),
            seats: Window::heap((0..seat_lines).map(|_| SeatLine::default()).collect()),
            copies: Window::heap((0..words).map(|_| AtomicU64::new(0)).collect()),
            mapping: None,
            geometry,
            places: geometry.places(),
        }
    }

    /// The first value of a region that nobody else knows yet.
    fn start(&self, first_version: u64, value: &[u8]) -> Result<Current, WriteError> {
        self.geometry.check_length(value.len())?;
        if !(1..=VERSION_MAX).contains(&first_version) {
            return Err(WriteError::VersionsExhausted);
        }
        self.geometry.write_to(self.header());
        let first = Current { version: first_version, copy: 0 };
        if self.geometry.is_small() {
            self.fill_small(first, value);
        } else if !value.is_empty() {
            // SAFETY: nobody else has the segment yet.
            unsafe { &mut *self.payload(first.copy, value.len()).as_ptr() }.copy_from_slice(value);
        }
        self.commit(first, value.len());
        Ok(first)
    }

    /// Writes the note of a region that nobody else knows yet: as long as the geometry says.
    fn write_note(&self, note: &[u8]) {
        if let Some(words) = self.note_words() {
            store_bytes(&words, note);
        }
    }

    /// What whoever made the region noted. In a shared region, anybody may have written it since.
    fn note(&self) -> Vec<u8> {
        let mut note = vec![0; self.geometry.note_bytes()];
        if let Some(words) = self.note_words() {
            load_bytes(&words, &mut note);
        }
        note
    }

    /// Looked for when it is asked for, which is seldom. A model has none.
    fn note_words(&self) -> Option<Window<AtomicU64>> {
        Window::new(self.mapping.as_ref()?, self.geometry.note_offset(), self.geometry.note_words())
    }

    #[inline]
    fn header(&self) -> &RegionHeader {
        &self.header
    }

    /// The words of a copy: sequence, length, and the value if it is small.
    #[inline(always)]
    fn copy(&self, copy: usize) -> &[AtomicU64] {
        assert!(copy < COPIES, "copies are numbered below the number of copies");
        let Places { copy_stride, copy_words, .. } = self.places;
        debug_assert!(copy_words <= copy_stride && COPIES * copy_stride <= self.copies.len());
        // SAFETY: the window has `COPIES` strides (see `over` and `heap`), `copy` is below `COPIES`, and a
        // copy is no longer than a stride.
        unsafe { self.copies.get_unchecked(copy * copy_stride..copy * copy_stride + copy_words) }
    }

    /// The bytes of a copy. Who may read or write them is the caller's argument.
    ///
    /// # Panics
    ///
    /// In a model, which has no bytes; and if `length` is beyond the capacity.
    #[inline]
    fn payload(&self, copy: usize, length: usize) -> NonNull<[u8]> {
        assert!(length <= self.geometry.capacity_bytes(), "values were checked against the capacity");
        let mapping = self.mapping.as_ref().expect("only a model has no mapping");
        let base = mapping.range(self.places.payload_offset(copy), length);
        NonNull::slice_from_raw_parts(base.expect("the copies lie inside the mapping"), length)
    }

    #[inline]
    fn current_word(&self) -> u64 {
        // Pairs with the release in `commit`.
        load_acquire(&self.header().current)
    }

    #[inline]
    fn current(&self) -> Current {
        Current::unpack(self.current_word())
    }

    /// Copies a small value of just this type out. `None` if that is not what is there, or it was overwritten
    /// meanwhile: [`Self::read_small`] tells which.
    #[inline(always)]
    fn read_exact<T: FromBytes + IntoBytes>(&self) -> Option<T> {
        let Current { version, copy } = self.current();
        let copy = self.copy(copy);
        let words = copy.get(COPY_HEADER_WORDS..COPY_HEADER_WORDS + size_of::<T>().div_ceil(8))?;
        let length = copy[1].load(Ordering::Relaxed);
        let mut value = T::new_zeroed();
        load_bytes(words, value.as_mut_bytes());
        // As in `read_small`.
        fence(Ordering::Acquire);
        (copy[0].load(Ordering::Relaxed) == version && length == size_of::<T>() as u64).then_some(value)
    }

    /// Copies a small value out: as much of it as `value` has room for.
    #[inline]
    fn read_small(&self, value: &mut [u8]) -> Result<Value, RegionFault> {
        let mut word = self.current_word();
        for _ in 0..READ_TRIES {
            let Current { version, copy } = Current::unpack(word);
            let copy = self.copy(copy);
            let length = copy[1].load(Ordering::Relaxed);
            let words = &copy[COPY_HEADER_WORDS..];
            let wanted = value.len().min(length as usize).min(words.len() * 8);
            load_bytes(words, &mut value[..wanted]);
            // Pairs with the release fence in `fill_small`: who has read any newer word then also sees the
            // newer sequence. No first look is needed: the load of `current` made all of this version
            // visible.
            fence(Ordering::Acquire);
            if copy[0].load(Ordering::Relaxed) == version {
                let length = self.checked_length(version, length)?;
                return Ok(Value { version, length });
            }
            // Pairs with the release of the mark in `fill_small`: the copy is written again only after
            // another became current, and who has seen the newer sequence sees that too.
            fence(Ordering::Acquire);
            let before = std::mem::replace(&mut word, self.current_word());
            if word == before {
                return Err(RegionFault::CorruptSequence { version });
            }
        }
        Err(RegionFault::Unsettled)
    }

    #[inline]
    fn checked_length(&self, version: u64, length: u64) -> Result<usize, RegionFault> {
        if version == 0 {
            return Err(RegionFault::NoValue);
        }
        let length_bytes = usize::try_from(length).ok();
        length_bytes
            .filter(|length| *length <= self.geometry.capacity_bytes())
            .ok_or(RegionFault::CorruptLength { version, length })
    }

    /// Finds the current value, after `protect` was told what stands in `current`: `None` if it moved on meanwhile, and
    /// the copy may be overwritten. `protect` must end with the reader's side of a barrier on both.
    #[inline]
    fn claim(&self, word: u64) -> Result<Option<(Current, usize)>, RegionFault> {
        // The writer stores `current`, has a fence, and looks for holds before it chooses a copy. So if we
        // find `current` as it was, our entry is in front of that fence, and seen by whoever looks for a copy
        // from now on.
        if self.header().current.load(Ordering::Relaxed) != word {
            return Ok(None);
        }
        let current = Current::unpack(word);
        let copy = self.copy(current.copy);
        if copy[0].load(Ordering::Relaxed) != current.version {
            return Err(RegionFault::CorruptSequence { version: current.version });
        }
        let length = self.checked_length(current.version, copy[1].load(Ordering::Relaxed))?;
        Ok(Some((current, length)))
    }

    /// The copy for the next small value. Readers of whatever stands there notice.
    #[inline]
    fn next_small(current: Current) -> usize {
        (current.copy + 1) % ROTATION
    }

    /// The copy for the next large value: the lowest that is neither current nor held, so that as few as possible have
    /// memory behind them. `held` is the set of held copies, looked up after a full fence.
    fn next_large(current: Current, held: u16) -> Result<usize, WriteError> {
        let free = !(held | 1 << current.copy);
        if free == 0 { Err(WriteError::AllHeld) } else { Ok(free.trailing_zeros() as usize) }
    }

    /// Writes a small value into a copy that is not current. The value's length was checked.
    #[inline(always)]
    fn fill_small(&self, next: Current, value: &[u8]) {
        let copy = self.copy(next.copy);
        // Release: see the end of `read_small`.
        copy[0].store(next.version | WRITING, Ordering::Release);
        // Pairs with the first acquire fence in `read_small`.
        fence(Ordering::Release);
        store_bytes(&copy[COPY_HEADER_WORDS..], value);
    }

    /// Makes a filled copy current.
    #[inline(always)]
    fn commit(&self, next: Current, length: usize) {
        let copy = self.copy(next.copy);
        copy[1].store(length as u64, Ordering::Relaxed);
        copy[0].store(next.version, Ordering::Relaxed);
        // Release: whoever sees the new word sees all of the copy.
        self.header().current.store(next.pack(), Ordering::Release);
    }

    /// Begins a draft: the current value in `place`, which nobody else may look at.
    fn copy_value(&self, from: usize, place: usize, length: usize) {
        let from = self.payload(from, length).cast::<u8>();
        let to = self.payload(place, length).cast::<u8>();
        // SAFETY: two different copies, so they don't overlap; `payload` checked that both are as long. The
        // current copy is written by nobody until another becomes current, which only the caller can bring
        // about; `place` is the caller's alone.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), length) };
    }
}

/// A small value in private memory, aligned as any small value may be.
#[derive(Debug, Clone)]
#[repr(C, align(8))]
struct SmallBytes([u8; SMALL_BYTES_MAX]);

const _: () = assert!(align_of::<SmallBytes>() == SMALL_ALIGNMENT_MAX);

/// Adds to a set of copies the one that a held word names.
fn mark_held(held: &mut u16, word: u64) {
    *held |= 1 << Current::unpack(word).copy;
}
