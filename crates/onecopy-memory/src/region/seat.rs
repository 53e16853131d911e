//! Who takes part in a shared region. A seat is a line of the region in which its occupant notes what it holds, and
//! the name under which it takes the lock.
//!
//! The number of a seat is used again when its occupant is gone; the incarnation tells the two apart, so that news of a
//! death that come late can't hit the successor. Nothing of a dead occupant has to be cleared: its line counts no more
//! once its first word is 0, and the successor empties it before it sits down. So every step of a recovery is one
//! compare-and-swap of one word, done by any survivor, any number of times.

use std::any::Any;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::{Current, ReadError, Region, RegionFault, mark_held};
use crate::fork::ForkGuard;
use crate::layout::{HELD_PER_SEAT, SEAT_LINES, SeatLine};
use crate::sync::{Arc, AtomicU64, Ordering, full_barrier, load_acquire};

const LINE_BITS: u32 = SEAT_LINES.trailing_zeros();
/// Bits of a seat as a number; the lock has two further ones.
const SEAT_BITS: u32 = 30;
/// In [`Occupied::entries`]: the last entry that is given up takes [`Occupied::leaving`] along.
const LEAVING: u64 = 1 << 63;

/// What its owner wants to be dropped at the right time.
pub(super) type Token = Box<dyn Any + Send + Sync>;

/// A participant of a shared region: the number of its line, and which of its successive occupants it is.
///
/// See [`Seat::new`] for an example.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seat(u32);

impl Seat {
    /// Most participants at a time.
    pub const SEATS_MAX: u32 = SEAT_LINES as u32 - 1;

    /// The seat on `line`, 1 to [`Self::SEATS_MAX`]. Whoever gives seats counts `incarnation` up each time it gives the
    /// same line again; it may wrap (20 bits are kept). `None` if there is no such line.
    ///
    /// ```
    /// use onecopy_memory::{layout::SEAT_LINES, region::Seat};
    ///
    /// let seat = Seat::new(7, 1).ok_or("no such line")?;
    /// assert_eq!((seat.line(), seat.incarnation()), (7, 1));
    /// assert_eq!(Seat::from_bits(seat.to_bits()), Some(seat));
    /// // Line 0 is nobody's.
    /// assert!(Seat::new(0, 1).is_none() && Seat::new(SEAT_LINES as u32, 1).is_none());
    /// assert_eq!(Seat::new(Seat::SEATS_MAX, 1).map(Seat::line), Some(SEAT_LINES as u32 - 1));
    /// # Ok::<(), &str>(())
    /// ```
    pub fn new(line: u32, incarnation: u32) -> Option<Self> {
        let incarnation = incarnation << LINE_BITS & ((1 << SEAT_BITS) - 1);
        (1..=Self::SEATS_MAX).contains(&line).then_some(Self(incarnation | line))
    }

    /// The seat as a number that is never 0 and has 30 bits.
    pub fn to_bits(self) -> u32 {
        self.0
    }

    /// The seat whose number this is; `None` if it is none's.
    pub fn from_bits(bits: u32) -> Option<Self> {
        let possible = bits >> SEAT_BITS == 0 && !bits.is_multiple_of(SEAT_LINES as u32);
        possible.then_some(Self(bits))
    }

    /// Number of the line.
    pub fn line(self) -> u32 {
        self.0 % SEAT_LINES as u32
    }

    /// Which of the line's successive occupants.
    pub fn incarnation(self) -> u32 {
        self.0 >> LINE_BITS
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Seat({}, {})", self.line(), self.incarnation())
    }
}

impl Region {
    fn seat_line(&self, seat: Seat) -> Option<&SeatLine> {
        self.seats.get(seat.line() as usize)
    }

    /// Whether `seat` has its occupant.
    pub(super) fn is_seated(&self, seat: Seat) -> bool {
        self.seat_line(seat).is_some_and(|line| line.occupant.load(Ordering::Acquire) == seat.to_bits())
    }

    /// Counts that `seat` sleeps until the lock is free.
    pub(super) fn count_lock_wait(&self, seat: Seat) {
        if let Some(line) = self.seat_line(seat) {
            // Nobody else counts on this line.
            let waits = line.lock_waits.load(Ordering::Relaxed);
            line.lock_waits.store(waits.wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// How often anybody slept until the lock was free.
    pub(super) fn lock_waits(&self) -> u64 {
        let end = self.header().seats_end.load(Ordering::Relaxed) as usize;
        let lines = &self.seats[..end.min(self.seats.len())];
        lines.iter().map(|line| u64::from(line.lock_waits.load(Ordering::Relaxed))).sum()
    }

    /// Ends what `seat` holds, if it still sits there.
    pub(super) fn vacate(&self, seat: Seat) {
        if let Some(line) = self.seat_line(seat) {
            // Release: what the occupant did comes before the reuse of what it held.
            let _ = line.occupant.compare_exchange(seat.to_bits(), 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Everyone who sits, or died without anybody noticing.
    pub(super) fn seated(&self) -> Vec<Seat> {
        let occupants = self.seats.iter().map(|line| line.occupant.load(Ordering::Acquire));
        occupants.filter_map(Seat::from_bits).collect()
    }

    /// The copies that any seat holds. The caller issued a full fence before.
    pub(super) fn held_by_seats(&self) -> u16 {
        let mut held = 0;
        let end = self.header().seats_end.load(Ordering::Relaxed) as usize;
        for line in &self.seats[..end.min(self.seats.len())] {
            // Acquire: seeing the seat or an entry empty, we may overwrite the copy, and all reads of it are done.
            if line.occupant.load(Ordering::Acquire) == 0 {
                continue;
            }
            for entry in line.held.iter().map(load_acquire).filter(|entry| *entry != 0) {
                mark_held(&mut held, entry - 1);
            }
        }
        held
    }
}

/// This process's seat: empty again when this and all that it holds are gone.
#[derive(Debug)]
pub(super) struct Occupied {
    region: Region,
    seat: Seat,
    /// Entries in use, a bit each.
    entries: AtomicU64,
    /// Dropped with the last entry, once it is there.
    leaving: Mutex<Option<Token>>,
    /// Absent in a model only.
    fork: Option<ForkGuard>,
}

impl Occupied {
    /// Sits down; `None` if exactly this seat is taken. An earlier occupant of the line is gone, or the line would not
    /// have been given again.
    pub(super) fn new(region: &Region, seat: Seat, fork: Option<ForkGuard>) -> Option<Self> {
        let line = region.seat_line(seat)?;
        let before = line.occupant.load(Ordering::Acquire);
        if before == seat.to_bits() {
            return None;
        }
        if let Some(before) = Seat::from_bits(before) {
            region.seat_gone(before);
        }
        let before = line.occupant.load(Ordering::Acquire);
        for entry in &line.held {
            entry.store(0, Ordering::Relaxed);
        }
        // Release: who finds us sees our entries empty. A writer that does not find us yet has its fence in
        // front of ours (in `hold`), so that we see what it made current.
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        line.occupant.compare_exchange(before, seat.to_bits(), success, failure).ok()?;
        region.header().seats_end.fetch_max(seat.line() + 1, Ordering::AcqRel);
        Some(Self {
            region: region.clone(),
            seat,
            entries: AtomicU64::new(0),
            leaving: Mutex::new(None),
            fork,
        })
    }

    pub(super) fn seat(&self) -> Seat {
        self.seat
    }

    pub(super) fn is_inherited(&self) -> bool {
        self.fork.as_ref().is_some_and(ForkGuard::is_child)
    }

    /// Drops `token` once nothing is held any more: now, or with the last that is. From now on nothing more is.
    pub(super) fn leave(&self, token: Token) {
        if self.is_inherited() {
            return;
        }
        *self.leaving.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        // Release pairs with the acquire in `SeatHold::drop`, and the reverse: whoever sees the other's half
        // takes the token.
        if self.entries.fetch_or(LEAVING, Ordering::AcqRel) == 0 {
            self.left();
        }
    }

    #[cold]
    fn left(&self) {
        // Dropped outside of the lock: it may be the end of a whole node.
        let token = self.leaving.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(token);
    }

    /// Holds the current value, if it stays current long enough for one try.
    pub(super) fn hold(
        occupied: &Arc<Self>,
        word: u64,
    ) -> Result<Option<(SeatHold, Current, usize)>, ReadError> {
        let line = occupied.region.seat_line(occupied.seat).ok_or(ReadError::SeatFull)?;
        // An entry is `current` + 1; no honest writer comes so far that this is 0.
        let held = word.checked_add(1).ok_or(RegionFault::NoValue)?;
        let entry = occupied.take_entry()?;
        line.held[entry].store(held, Ordering::Release);
        let hold = SeatHold { occupied: Arc::clone(occupied), entry };
        // Pairs with the fence in front of `held_by_seats`: see `Region::claim`.
        full_barrier();
        Ok(occupied.region.claim(word)?.map(|(current, length)| (hold, current, length)))
    }

    fn take_entry(&self) -> Result<usize, ReadError> {
        loop {
            let taken = self.entries.load(Ordering::Relaxed);
            let entry = (!taken).trailing_zeros();
            if entry as usize >= HELD_PER_SEAT {
                return Err(ReadError::SeatFull);
            }
            // Acquire pairs with the release in `SeatHold::drop`: a writer that finds our entry instead of
            // that thread's 0 must still see that thread's reads as done.
            let mine = taken | 1 << entry;
            if self.entries.compare_exchange(taken, mine, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Ok(entry as usize);
            }
        }
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        if !self.is_inherited() {
            self.region.vacate(self.seat);
        }
    }
}

/// One value held by this process's seat.
#[derive(Debug)]
pub(super) struct SeatHold {
    occupied: Arc<Occupied>,
    entry: usize,
}

impl Drop for SeatHold {
    fn drop(&mut self) {
        if self.occupied.is_inherited() {
            return;
        }
        if let Some(line) = self.occupied.region.seat_line(self.occupied.seat) {
            // Release pairs with the acquire in `held_by_seats`: our reads come before the copy's reuse.
            line.held[self.entry].store(0, Ordering::Release);
        }
        let entry = 1 << self.entry;
        if self.occupied.entries.fetch_and(!entry, Ordering::AcqRel) == LEAVING | entry {
            self.occupied.left();
        }
    }
}
