//! The reading side of a region with a single writer: mapped read-only, it writes nothing but the reader's own block,
//! and that only for holding and sleeping.

use std::any::Any;
use std::cell::Cell;

use zerocopy::{FromBytes, IntoBytes};

use super::held::Keep;
use super::{
    Current, HeldValue, OpenError, READ_TRIES, ReadError, Region, RegionFault, RegionGeometry, Value,
};
use crate::hold::{BriefHold, Hold, HoldError, ReaderState, ReaderTable};
use crate::readers::TICKET_DOORBELL;
use crate::segment::View;
use crate::sync::{Arc, Futex};

/// One reader of a region. Can go to another thread, but not be used by two at once: each opens its own.
///
/// Reading small values needs nothing of the writer. Before it holds or sleeps, the reader must be attached to the
/// writer's [`crate::readers::Readers`] (and announced there with `may_sleep`), under the block that
/// [`Self::state`] names.
///
/// ```
/// use onecopy_memory::hold::ReaderTable;
/// use onecopy_memory::layout::SegmentKind;
/// use onecopy_memory::region::{RegionGeometry, RegionReader, RegionWriter};
/// use onecopy_memory::segment::View;
///
/// let mut writer = RegionWriter::create(RegionGeometry::new(48, 1)?, 0, 1, b"first")?;
/// let view = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Region)?;
/// let reader = RegionReader::open(&view, &ReaderTable::create()?, Box::new(()))?;
/// writer.write(b"second")?;
/// let mut bytes = vec![0; reader.geometry().capacity_bytes()];
/// let value = reader.read(&mut bytes)?;
/// assert_eq!((value.version, &bytes[..value.length]), (2, b"second".as_slice()));
/// // Of a type of that size, without a buffer.
/// assert_eq!(reader.get(), Some(*b"second"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RegionReader {
    region: Region,
    state: Arc<ReaderState>,
    /// A cell also keeps two threads from using the reader at once, which its block could not stand.
    sleep_ticket: Cell<u32>,
    owner_uid: u32,
}

impl RegionReader {
    /// Checks somebody's region and enters a reader for it in this process's table. `token` is dropped once the reader
    /// and all that it held are gone: then the writer may forget it.
    ///
    /// # Errors
    ///
    /// A segment that is no region with a single writer, or a table that is full.
    pub fn open(
        view: &View,
        table: &Arc<ReaderTable>,
        token: Box<dyn Any + Send + Sync>,
    ) -> Result<Self, OpenError> {
        Ok(Self::over(Region::open(view.mapping(), false)?, view.owner_uid(), table, token)?)
    }

    /// A reader of a writer in the same model.
    #[cfg(loom)]
    pub fn of(writer: &super::RegionWriter, table: &Arc<ReaderTable>) -> Self {
        Self::over(writer.region.clone(), 0, table, Box::new(())).expect("the model's table is large enough")
    }

    fn over(
        region: Region,
        owner_uid: u32,
        table: &Arc<ReaderTable>,
        token: Box<dyn Any + Send + Sync>,
    ) -> Result<Self, HoldError> {
        let state = ReaderState::new(table, &region.waking, false, token)?;
        Ok(Self { region, state, sleep_ticket: Cell::new(0), owner_uid })
    }

    /// This reader's state, for telling the writer where it is.
    pub fn state(&self) -> &Arc<ReaderState> {
        &self.state
    }

    /// What its writer noted when it made the memory.
    ///
    /// See [`RegionWriter::create_with_note`](super::RegionWriter::create_with_note) for an example.
    pub fn note(&self) -> Vec<u8> {
        self.region.note()
    }

    /// The user whose process made the memory, as the kernel says: nobody else's can have written it.
    ///
    /// ```
    /// # use onecopy_memory::{hold::ReaderTable, layout::SegmentKind, segment::View};
    /// # use onecopy_memory::region::{RegionGeometry, RegionReader, RegionWriter};
    /// use std::os::unix::fs::MetadataExt;
    ///
    /// let writer = RegionWriter::create(RegionGeometry::new(48, 1)?, 0, 1, b"mine")?;
    /// let view = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Region)?;
    /// let reader = RegionReader::open(&view, &ReaderTable::create()?, Box::new(()))?;
    /// assert_eq!(reader.owner_uid(), std::fs::metadata("/proc/self")?.uid());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn owner_uid(&self) -> u32 {
        self.owner_uid
    }

    /// Sizes of the region.
    pub fn geometry(&self) -> RegionGeometry {
        self.region.geometry
    }

    /// Version of the current value. Looks at one word.
    #[inline]
    pub fn version(&self) -> u64 {
        self.region.current().version
    }

    /// Copies a small value out that is of just this size, by straight code. `None` if there is none, or it
    /// was overwritten meanwhile: [`Self::read`] tells which. Never waits.
    #[inline(always)]
    pub fn get<T: FromBytes + IntoBytes>(&self) -> Option<T> {
        self.region.read_exact()
    }

    /// Copies the current value out: as much of it as `value` has room for. Never waits. Large values are
    /// held meanwhile.
    ///
    /// # Errors
    ///
    /// A small value only knows [`ReadError::Fault`].
    #[inline]
    pub fn read(&self, value: &mut [u8]) -> Result<Value, ReadError> {
        if self.region.geometry.is_small() {
            return Ok(self.region.read_small(value)?);
        }
        Ok(self.hold()?.copy_to(value))
    }

    /// Takes hold of the current value where it is. Never waits: tries again only if another became current in the
    /// nanoseconds between.
    ///
    /// See [`HeldValue`] for an example.
    ///
    /// # Errors
    ///
    /// [`ReadError`]: the writer broke the protocol, too much is held, or the region's values are small.
    pub fn hold(&self) -> Result<HeldValue, ReadError> {
        if self.region.geometry.is_small() {
            return Err(ReadError::Small);
        }
        let (hold, current, length) = self.claim()?;
        Ok(HeldValue::new(&self.region, current, length, Keep::Reader { _hold: hold }))
    }

    /// Lets `look` see the current value where it is, with its version: quicker than [`Self::hold`], since
    /// nothing has to be kept. Never waits.
    ///
    /// ```
    /// # use onecopy_memory::{hold::ReaderTable, layout::SegmentKind, segment::View};
    /// # use onecopy_memory::region::{RegionGeometry, RegionReader, RegionWriter};
    /// let writer = RegionWriter::create(RegionGeometry::new(4096, 1)?, 0, 1, &[1; 4000])?;
    /// # let view = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Region)?;
    /// # let reader = RegionReader::open(&view, &ReaderTable::create()?, Box::new(()))?;
    /// let sum = reader.look(|bytes, _version| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>())?;
    /// assert_eq!(sum, 4000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::hold`].
    #[inline]
    pub fn look<R>(&self, look: impl FnOnce(&[u8], u64) -> R) -> Result<R, ReadError> {
        if self.region.geometry.is_small() {
            return Err(ReadError::Small);
        }
        if self.state.is_inherited() {
            return Err(ReadError::Forked);
        }
        for _ in 0..READ_TRIES {
            let word = self.region.current_word();
            if word == u64::MAX {
                // As in `claim`.
                return Err(RegionFault::NoValue.into());
            }
            let _hold = BriefHold::take(&self.state, word)?;
            if let Some((current, length)) = self.region.claim(word)? {
                // SAFETY: as in `HeldValue::bytes`: in range, mapped while the reader is borrowed, and kept
                // unchanged by the hold, which lasts longer than the reference.
                let bytes = unsafe { self.region.payload(current.copy, length).as_ref() };
                return Ok(look(bytes, current.version));
            }
        }
        Err(RegionFault::Unsettled.into())
    }

    fn claim(&self) -> Result<(Hold, Current, usize), ReadError> {
        if self.state.is_inherited() {
            return Err(ReadError::Forked);
        }
        for _ in 0..READ_TRIES {
            let word = self.region.current_word();
            if word == u64::MAX {
                // No honest writer comes this far, and there is no entry for it.
                return Err(RegionFault::NoValue.into());
            }
            // Ends with the barrier that pairs with the writer's in `look_for_free_copies`.
            let hold = BriefHold::take(&self.state, word)?;
            if let Some((current, length)) = self.region.claim(word)? {
                return Ok((hold.keep(&self.state), current, length));
            }
        }
        Err(RegionFault::Unsettled.into())
    }

    /// Holds the current copy without looking into it, for models. Gives its version and number.
    #[cfg(loom)]
    pub fn hold_for_model(&self) -> (Hold, u64, usize) {
        let (hold, current, _) = self.claim().expect("the model's writer is honest");
        (hold, current.version, current.copy)
    }

    /// First half of going to sleep until the version moves: tells the writer, and returns the value of
    /// [`Self::wake_word`] to sleep with. The caller then issues one [`crate::sync::full_barrier`], looks at
    /// [`Self::version`] once more, and sleeps.
    ///
    /// ```
    /// # use onecopy_memory::hold::{PeerReader, ReaderTable};
    /// # use onecopy_memory::{layout::SegmentKind, segment::View};
    /// # use onecopy_memory::region::{RegionGeometry, RegionWriter};
    /// use onecopy_memory::{region::RegionReader, sync::full_barrier, wait::wait};
    ///
    /// /// Sleeps until the value is not that of version `seen` any more.
    /// fn wait_for_change(reader: &RegionReader, seen: u64) {
    ///     while reader.version() == seen {
    ///         let value = reader.prepare_sleep(false);
    ///         full_barrier();
    ///         if reader.version() == seen {
    ///             wait(reader.wake_word(), value, None);
    ///         }
    ///         reader.cancel_sleep();
    ///     }
    /// }
    /// # let mut writer = RegionWriter::create(RegionGeometry::new(48, 1)?, 0, 1, b"first")?;
    /// # let view = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Region)?;
    /// # let table = ReaderTable::create()?;
    /// # let reader = RegionReader::open(&view, &table, Box::new(()))?;
    /// # let state = View::open(table.descriptor().try_clone_to_owned()?, SegmentKind::Readers)?;
    /// # let peer = PeerReader::open(&state, reader.state().block()).ok_or("it has that block")?;
    /// # writer.readers().attach((1, 1), peer);
    /// // Only those that have said so are woken.
    /// writer.readers().may_sleep((1, 1), None);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| writer.write(b"second"));
    ///     wait_for_change(&reader, 1);
    /// });
    /// assert_eq!(reader.version(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prepare_sleep(&self, on_doorbell: bool) -> u32 {
        // The value before the ticket: a wake-up meant for this ticket then changes the value we sleep with.
        let value = self.wake_word().value();
        let kind = if on_doorbell { TICKET_DOORBELL } else { 0 };
        // Never 0, and never twice the same in a row.
        let ticket = self.sleep_ticket.get().wrapping_add(2).max(2) & !TICKET_DOORBELL | kind;
        self.sleep_ticket.set(ticket);
        if !self.state.is_inherited() {
            self.state.set_sleeping(ticket);
        }
        value
    }

    /// The word that changes when the writer wakes its readers.
    ///
    /// See [`Self::prepare_sleep`] for an example.
    pub fn wake_word(&self) -> &Futex {
        &self.region.waking.wake
    }

    /// Tells the writer that this reader is awake.
    ///
    /// See [`Self::prepare_sleep`] for an example.
    pub fn cancel_sleep(&self) {
        if !self.state.is_inherited() {
            self.state.set_sleeping(0);
        }
    }
}
