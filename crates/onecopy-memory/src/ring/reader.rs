//! The receiving side. A reader looks at the slot of its next message, and at nothing else: while it keeps up, one
//! cache line moves per message. It notices by the slot's sequence that it was lapped, and then finds the oldest
//! message that is still there.

mod lapped;

use std::any::Any;

use super::Ring;
use super::fault::{OpenError, RingFault};
use super::held_chunk::{HeldChunk, HeldSegment};
use super::received::{MessageParts, Received};
use crate::board::PeerWords;
use crate::hold::{BriefHold, HoldError, ReaderState, ReaderTable};
use crate::layout::{
    BATCH_MESSAGES_MAX, KIND_CHUNK, KIND_INLINE, Meta, SEGMENTS_MAX, SLOT_HEADER_WORDS, SegmentKind, WRITING,
};
use crate::pool::{ChunkAddress, SegmentSet};
use crate::prefetch::prefetch;
use crate::readers::TICKET_DOORBELL;
use crate::segment::{SegmentError, View};
use crate::sync::{Arc, AtomicU64, Futex, Ordering, fence, load_acquire};
use crate::window::Window;
use crate::words::load_bytes;

/// How often a reader that is lapped while it looks for the oldest message tries again before it lets the caller go
/// on with other work.
const RESYNC_TRIES: usize = 4;

/// A reader that drains a full ring tells its cursor once per so many messages, and whenever it finds nothing more: the
/// writer that waits for it looks at that line all the time, and each store would have to fetch it back.
const TELL_EVERY_MAX: u64 = 64;
/// Small rings are told more often, so that the writer misses at most this part of the slots that are free.
const TELL_DIVISOR: u64 = 16;

/// Messages in a row after which a reader is taken to be draining.
const STREAK_MIN: u64 = 4;
/// How many messages ahead it then fetches slots: the time of a fetch, 60 to 100 ns, over that of a message.
const LOOK_AHEAD: u64 = 8;
/// Bytes of a chunk that are fetched when it is received, all at once: what follows, the hardware fetches by itself.
const CHUNK_PREFETCH_BYTES: usize = 1024;

/// One reader of one ring.
///
/// ```
/// use onecopy_memory::hold::{PeerReader, ReaderTable};
/// use onecopy_memory::layout::SegmentKind;
/// use onecopy_memory::ring::{Geometry, MessageParts, Received, RingReader, RingWriter};
/// use onecopy_memory::segment::View;
///
/// let mut writer = RingWriter::create(Geometry::new(16, 0, 48, false), 0)?;
/// let table = ReaderTable::create()?;
///
/// // What a reader's process does with the descriptor of the ring ...
/// let ring = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Ring)?;
/// let mut reader = RingReader::open(&ring, &table, Box::new(()))?;
/// // ... and the writer's with that of the reader's table.
/// let state = View::open(table.descriptor().try_clone_to_owned()?, SegmentKind::Readers)?;
/// let peer = PeerReader::open(&state, reader.state().block()).ok_or("it has that block")?;
/// reader.start(writer.readers().attach((1, 1), peer));
///
/// assert!(!reader.is_ready());
/// writer.publish_inline(&[], b"hello");
/// assert!(reader.is_ready());
/// let (mut payload, mut chunk) = (vec![0; reader.geometry().inline_bytes_max()], None);
/// let mut parts = MessageParts { header: &mut [], payload: &mut payload, exact: false, chunk: &mut chunk };
/// assert!(matches!(reader.receive(&mut parts)?, Received::Inline { length: 5 }));
/// assert_eq!(&payload[..5], b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RingReader {
    ring: Ring,
    state: Arc<ReaderState>,
    cursor: u64,
    /// The cursor as the writer knows it.
    told: u64,
    /// How far the two may be apart.
    tell_every: u64,
    /// Messages in slots received since this reader last found nothing.
    streak: u64,
    /// Where this reader was told to start; a batch that begins earlier is received in part.
    start: u64,
    lost: u64,
    /// Where this reader was set when it was lapped last.
    resynced_at: Option<u64>,
    sleep_ticket: u32,
    segments: Vec<Option<Arc<HeldSegment>>>,
    not_taken: NotTaken,
}

/// Messages in a chunk, as [`Received::Chunk`] tells of them; two words, so that they come back in registers.
#[derive(Clone, Copy)]
struct Taken {
    /// 0: nothing was taken, and [`RingReader::not_taken`] says why.
    count: u64,
    skip: u64,
}

/// A slot's address of a chunk, claimed but not looked at.
struct Claim<'a> {
    hold: BriefHold<'a>,
    address: ChunkAddress,
    length: u64,
    count: u64,
}

/// Why a chunk was not taken.
#[derive(Debug)]
enum NotTaken {
    /// It was given up before it could be held.
    Gone,
    SegmentMissing(u32),
    Fault(RingFault),
}

impl RingReader {
    /// Maps somebody's ring and enters a reader for it in this process's table. It receives after [`Self::start`].
    /// `token` is dropped once the reader and all that it held are gone: then the writer may forget it.
    ///
    /// # Errors
    ///
    /// A segment that is no ring, or a table that is full.
    pub fn open(
        view: &View,
        table: &Arc<ReaderTable>,
        token: Box<dyn Any + Send + Sync>,
    ) -> Result<Self, OpenError> {
        let mut reader = Self::over(Ring::of_view(view)?, table, token)?;
        if reader.ring.geometry.arena_bytes() > 0 {
            reader.segments.push(Some(HeldSegment::new(view.mapping(), &reader.state)));
        }
        Ok(reader)
    }

    /// A reader of a writer in the same model.
    #[cfg(loom)]
    pub fn of(writer: &super::RingWriter, table: &Arc<ReaderTable>) -> Self {
        Self::over(writer.ring.clone(), table, Box::new(())).expect("the model's table is large enough")
    }

    fn over(
        ring: Ring,
        table: &Arc<ReaderTable>,
        token: Box<dyn Any + Send + Sync>,
    ) -> Result<Self, HoldError> {
        let state = ReaderState::new(table, &ring.header, true, token)?;
        let tell_every = (ring.geometry.capacity / TELL_DIVISOR).clamp(1, TELL_EVERY_MAX);
        Ok(Self {
            ring,
            state,
            cursor: 0,
            told: 0,
            tell_every,
            streak: 0,
            start: 0,
            lost: 0,
            resynced_at: None,
            sleep_ticket: 0,
            segments: Vec::new(),
            not_taken: NotTaken::Gone,
        })
    }

    /// This reader's state, for telling the writer where it is.
    pub fn state(&self) -> &Arc<ReaderState> {
        &self.state
    }

    /// Sizes and rules of the ring.
    pub fn geometry(&self) -> super::Geometry {
        self.ring.geometry
    }

    /// Begins at `position`, which the writer named when it attached this reader. A batch under way there is received
    /// in part.
    pub fn start(&mut self, position: u64) {
        // No honest writer comes this far; below the mark, a position and its successor never overflow.
        let position = position.min(WRITING - 1);
        self.start = position;
        self.state.count_from(position);
        self.cursor = position;
        self.resynced_at = None;
        let slot = self.ring.slot(position);
        if load_acquire(&slot[0]) & !WRITING != position + 1
            && load_acquire(&self.ring.header().head) > position
        {
            // No message starts here: look for the batch that covers it. Without one, it is gone already, and nothing may
            // ever be written to this slot: go to where a message starts.
            let earliest = position.saturating_sub(BATCH_MESSAGES_MAX - 1);
            let covering =
                (earliest..position).find_map(|p| self.slot_at(p).filter(|(_, end)| *end > position));
            match covering {
                Some((first, _)) => self.cursor = first,
                // A head that makes no sense leaves the reader where it is: such a writer has nothing for it.
                None => drop(self.resync()),
            }
        }
        // Not the place where it was told to start: the writer must keep the slot of the whole batch until we have it.
        self.told = self.cursor;
        self.state.start(self.cursor);
    }

    /// Position of the writer's next message.
    ///
    /// See [`Self::lost`] for an example.
    pub fn head(&self) -> u64 {
        // Pairs with the release in the writer's `finish`.
        load_acquire(&self.ring.header().head)
    }

    /// Messages that were overwritten before this reader got to them.
    ///
    /// ```
    /// # use onecopy_memory::{hold::ReaderTable, layout::SegmentKind, segment::View};
    /// # use onecopy_memory::ring::{Geometry, MessageParts, RingReader, RingWriter};
    /// # let mut writer = RingWriter::create(Geometry::new(16, 0, 48, false), 0)?;
    /// # let ring = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Ring)?;
    /// # let mut reader = RingReader::open(&ring, &ReaderTable::create()?, Box::new(()))?;
    /// reader.start(0);
    /// // More than a ring of 16 slots keeps.
    /// for _ in 0..20 {
    ///     writer.publish_inline(&[], b"tick");
    /// }
    /// # let (mut payload, mut chunk) = ([0; 48], None);
    /// # let mut parts = MessageParts { header: &mut [], payload: &mut payload, exact: false, chunk: &mut chunk };
    /// reader.receive(&mut parts)?;
    /// // That was the fifth, the oldest that is still there.
    /// assert_eq!((reader.lost(), reader.cursor(), reader.head()), (4, 5, 20));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Position of the next message.
    ///
    /// See [`Self::lost`] for an example.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Gives the reader the memory of the writer's segment number `index`.
    ///
    /// See [`Received`] for an example.
    ///
    /// # Errors
    ///
    /// [`SegmentError`] if the descriptor is not a pool's segment, or no pool has so many.
    pub fn add_segment(&mut self, index: u32, descriptor: std::os::fd::OwnedFd) -> Result<(), SegmentError> {
        if index >= SEGMENTS_MAX {
            return Err(SegmentError::Index { index });
        }
        let view = View::open(descriptor, SegmentKind::Pool)?;
        let index = index as usize;
        if self.segments.len() <= index {
            self.segments.resize(index + 1, None);
        }
        self.segments[index] = Some(HeldSegment::new(view.mapping(), &self.state));
        Ok(())
    }

    /// Lets go of segments that the writer has replaced. What is held stays.
    ///
    /// See [`Received`] for an example.
    pub fn forget_segments(&mut self, replaced: SegmentSet) {
        for (index, segment) in self.segments.iter_mut().enumerate() {
            if replaced.contains(index as u32) {
                *segment = None;
            }
        }
    }

    /// Words of the writer's own segment, which it keeps for this reader to look at; `None` if nothing can be there.
    ///
    /// See [`PeerWords`] for an example.
    pub fn words(&self, offset: u64, count: usize) -> Option<PeerWords> {
        let mapping = self.segments.first()?.as_ref()?.mapping();
        let offset = usize::try_from(offset).ok()?;
        Some(PeerWords { words: Window::new(mapping, offset, count)? })
    }

    /// Takes the next message, if there is one. Never blocks, never calls the kernel unless a writer waits for space.
    ///
    /// # Errors
    ///
    /// [`RingFault`]: the writer broke the protocol, or too much is held.
    // Always inlined, so that a payload of known size is copied by straight code.
    #[inline(always)]
    pub fn receive(&mut self, parts: &mut MessageParts<'_>) -> Result<Received, RingFault> {
        for _ in 0..RESYNC_TRIES {
            let slot = self.ring.slot(self.cursor);
            // Pairs with the release in the writer's `close_slot`.
            let sequence = load_acquire(&slot[0]);
            if sequence == self.cursor + 1 {
                let meta = Meta::unpack(slot[1].load(Ordering::Relaxed));
                if meta.kind != KIND_INLINE {
                    let Taken { count, skip } = self.take_chunk(meta, parts.chunk);
                    if count > 0 {
                        return Ok(Received::Chunk { count, skip });
                    }
                    if let Some(received) = self.explain()? {
                        return Ok(received);
                    }
                } else {
                    let words = &slot[SLOT_HEADER_WORDS..];
                    let (header, payload) = words.split_at(parts.header.len().div_ceil(8).min(words.len()));
                    let length = meta.length as usize;
                    let wanted =
                        if parts.exact { parts.payload.len() } else { parts.payload.len().min(length) };
                    load_bytes(header, parts.header);
                    load_bytes(payload, &mut parts.payload[..wanted]);
                    if self.unchanged(slot) {
                        if meta.count != 1 || length > payload.len() * 8 {
                            return Err(self.corrupt("length or count"));
                        }
                        self.cursor += 1;
                        self.look_ahead();
                        if self.cursor - self.told >= self.tell_every {
                            self.tell();
                        }
                        return Ok(Received::Inline { length });
                    }
                }
            } else if sequence & !WRITING <= self.cursor + 1 {
                self.streak = 0;
                if self.told != self.cursor {
                    self.tell();
                }
                return Ok(Received::Empty);
            }
            if self.ring.geometry.reliable {
                return Err(self.evicted());
            }
            self.resync()?;
        }
        // The writer is faster than our looking: the next call tries again.
        Ok(Received::Empty)
    }

    /// Takes hold of the messages in the slot at the cursor.
    #[inline(never)]
    fn take_chunk(&mut self, meta: Meta, into: &mut Option<HeldChunk>) -> Taken {
        self.try_take_chunk(meta, into).unwrap_or_else(|why| {
            self.not_taken = why;
            Taken { count: 0, skip: 0 }
        })
    }

    /// Why nothing was taken; nothing if it makes no difference to the caller.
    #[cold]
    fn explain(&mut self) -> Result<Option<Received>, RingFault> {
        match std::mem::replace(&mut self.not_taken, NotTaken::Gone) {
            NotTaken::Gone => Ok(None),
            NotTaken::SegmentMissing(index) => Ok(Some(Received::SegmentMissing { index })),
            NotTaken::Fault(fault) => Err(fault),
        }
    }

    #[inline(always)]
    fn try_take_chunk(&mut self, meta: Meta, into: &mut Option<HeldChunk>) -> Result<Taken, NotTaken> {
        let Claim { hold, address, length, count } = self.claim(meta)?;
        let corrupt = |what| NotTaken::Fault(self.corrupt(what));
        let skip = self.start.saturating_sub(self.cursor);
        if skip >= count {
            return Err(corrupt("count"));
        }
        let Some(Some(held_segment)) = self.segments.get(address.segment as usize) else {
            return Err(NotTaken::SegmentMissing(address.segment));
        };
        let Some(location) = held_segment.locate(address.offset, length) else {
            return Err(corrupt("offset or length"));
        };
        prefetch(location.start, location.length.min(CHUNK_PREFETCH_BYTES));
        *into = Some(HeldChunk::new(held_segment, location, hold));
        self.cursor += count;
        // At once: chunks are what the writer wants back.
        self.tell();
        Ok(Taken { count, skip })
    }

    /// Takes hold of the chunk in the slot at the cursor, without looking into it.
    #[inline(always)]
    fn claim(&self, meta: Meta) -> Result<Claim<'_>, NotTaken> {
        let slot = self.ring.slot(self.cursor);
        let [segment, offset, length] = [2, 3, 4].map(|word: usize| slot[word].load(Ordering::Relaxed));
        let hold = BriefHold::take(&self.state, self.cursor).map_err(|full| NotTaken::Fault(full.into()))?;
        // `take` ended with the barrier that pairs with the writer's `sweep`.
        let floor = self.ring.header().floor.load(Ordering::Relaxed);
        if !self.unchanged(slot) || floor > self.cursor {
            return Err(NotTaken::Gone);
        }
        let corrupt = |what| NotTaken::Fault(self.corrupt(what));
        if meta.kind != KIND_CHUNK {
            return Err(corrupt("kind"));
        }
        let count = u64::from(meta.count);
        if !(1..=self.ring.geometry.batch_max()).contains(&count) {
            return Err(corrupt("count"));
        }
        let segment = u32::try_from(segment).ok().filter(|segment| *segment < SEGMENTS_MAX);
        let Some(segment) = segment else { return Err(corrupt("segment")) };
        Ok(Claim { hold, address: ChunkAddress { segment, offset }, length, count })
    }

    /// Whether the slot still has the sequence for which its other words were read.
    #[inline]
    fn unchanged(&self, slot: &[AtomicU64]) -> bool {
        // Pairs with the release fence in the writer's `open_slot`.
        fence(Ordering::Acquire);
        slot[0].load(Ordering::Relaxed) == self.cursor + 1
    }

    /// Claims the next chunk without looking into it, for models.
    #[cfg(loom)]
    pub fn claim_next(&mut self) -> Option<(crate::hold::Hold, ChunkAddress)> {
        let slot = self.ring.slot(self.cursor);
        if load_acquire(&slot[0]) != self.cursor + 1 {
            return None;
        }
        let meta = Meta::unpack(slot[1].load(Ordering::Relaxed));
        let Claim { hold, address, count, .. } = match self.claim(meta) {
            Ok(claim) => claim,
            Err(NotTaken::Gone) => return None,
            Err(why) => panic!("the model's writer is honest: {why:?}"),
        };
        let hold = hold.keep(&self.state);
        self.cursor += count;
        self.tell();
        Some((hold, address))
    }

    /// Fetches a slot that will be read soon, if this reader is draining messages that were there already. At the head
    /// it would take lines from a writer that is about to fill them.
    #[inline]
    fn look_ahead(&mut self) {
        self.streak += 1;
        if self.streak > STREAK_MIN {
            let slot = self.ring.slot(self.cursor + LOOK_AHEAD);
            prefetch(slot.as_ptr().cast(), size_of_val(slot));
        }
    }

    /// Tells the writer how far this reader is.
    fn tell(&mut self) {
        self.told = self.cursor;
        self.state.advance(self.cursor);
    }

    #[cold]
    fn corrupt(&self, what: &'static str) -> RingFault {
        RingFault::CorruptSlot { position: self.cursor, what }
    }

    /// Whether [`Self::receive`] would find something. Looks at one word.
    pub fn is_ready(&self) -> bool {
        let sequence = load_acquire(&self.ring.slot(self.cursor)[0]);
        sequence == self.cursor + 1 || sequence & !WRITING > self.cursor + 1
    }

    /// First half of going to sleep: tells the writer, and returns the value of [`Self::wake_word`] to sleep with. The
    /// caller then issues one [`crate::sync::full_barrier`] for all its readers, looks at [`Self::is_ready`] once more,
    /// and sleeps.
    ///
    /// See [`Readers::may_sleep`](crate::readers::Readers::may_sleep) for an example.
    pub fn prepare_sleep(&mut self, on_doorbell: bool) -> u32 {
        // The value before the ticket: a wake-up meant for this ticket then changes the value we sleep with.
        let value = self.ring.header().wake.value();
        let kind = if on_doorbell { TICKET_DOORBELL } else { 0 };
        // Never 0, and never twice the same in a row.
        self.sleep_ticket = self.sleep_ticket.wrapping_add(2).max(2) & !TICKET_DOORBELL | kind;
        self.state.set_sleeping(self.sleep_ticket);
        value
    }

    /// The word that changes when the writer wakes its readers.
    ///
    /// See [`Readers::may_sleep`](crate::readers::Readers::may_sleep) for an example.
    pub fn wake_word(&self) -> &Futex {
        &self.ring.header().wake
    }

    /// Tells the writer that this reader is awake.
    ///
    /// See [`Readers::may_sleep`](crate::readers::Readers::may_sleep) for an example.
    pub fn cancel_sleep(&self) {
        self.state.set_sleeping(0);
    }
}

impl Drop for RingReader {
    fn drop(&mut self) {
        // A reliable writer must not wait for us any more; what is still held stays protected by its holds.
        self.state.finish();
    }
}
