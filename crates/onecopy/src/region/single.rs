//! A region with a single writer, as any process has it open: all read, and one of them writes as well.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use onecopy_memory::region::{Draft, RegionGeometry, RegionReader, RegionWriter};

use super::error::RegionError;
use super::file::ValueFile;
use super::note;
use super::reading::Reading;
use super::{Opening, Wish};
use crate::broker::protocol::{self, PortId};
use crate::error::OpenError;
use crate::limits::SETTLE_TIMEOUT;
use crate::node::handle::NodeHandle;
use crate::payload::PlainData;
use crate::payload_type::PayloadType;

pub(super) struct Single {
    node: Arc<NodeHandle>,
    name: String,
    payload: PayloadType,
    pub(super) reading: RefCell<Reading>,
    writing: RefCell<Option<Writing>>,
    pub(super) file: Option<ValueFile>,
}

/// The writer's end.
struct Writing {
    node: Arc<NodeHandle>,
    port: PortId,
    writer: RegionWriter,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.node.close(self.port);
    }
}

/// What a new writer begins with.
struct Beginning {
    version: u64,
    value: Vec<u8>,
    capacity_bytes: usize,
    /// It comes from the file.
    in_file: bool,
    /// The version of what others read, which it goes on from; 0 if there is none.
    follows: u64,
}

impl Single {
    pub(super) fn open(mut opening: Opening, wish: Wish<'_>) -> Result<Self, RegionError> {
        let Opening { node, name, payload, .. } = &opening;
        let (node, name) = (Arc::clone(node), name.clone());
        let port = node.new_port();
        let (inbox, has_settled) = node.open_region_reader(port, name.clone(), Some(payload.clone()))?;
        let layout_hash = payload.layout_hash();
        let mut reading = Reading::new(Arc::clone(&node), port, inbox);
        let named = opening.file.take();
        let (mut writing, mut file, mut refused_until) = (None, None, None);
        loop {
            let exists = reading.reader()?.is_some();
            let initial = match wish {
                Wish::Existing if exists => break,
                Wish::Existing if has_settled => return Err(RegionError::NotFound { region: name }),
                Wish::Existing => return Err(RegionError::WriterStuck { region: name }),
                Wish::New(_) if exists => return Err(RegionError::Exists { region: name }),
                Wish::Either(_) if reading.writer().is_some() => break,
                Wish::New(initial) | Wish::Either(initial) => initial,
            };
            opening.file = note::file_of_single(&node, &name, named.as_deref(), reading.known_reader())?;
            file = opening.file.clone().map(|path| ValueFile::new(path, layout_hash));
            let beginning = begin(&reading, file.as_ref(), initial, &opening)?;
            let (in_file, follows) = (beginning.in_file, beginning.follows);
            match Writing::open(&opening, beginning, None) {
                Ok(mut opened) => {
                    // Nobody else writes the file from here on. What the last writer left goes there as well:
                    // it may have been killed between saving a value and making it current.
                    if let (Some(file), false) = (&file, in_file) {
                        file.save(opened.writer.version(), opened.writer.value())?;
                    }
                    reading.wait_for_news(Instant::now().checked_add(SETTLE_TIMEOUT), |reading| {
                        reading.writer() == Some(opened.port)
                    })?;
                    writing = Some(opened);
                    break;
                }
                // Somebody was quicker, or there is a later value: its memory is on the way.
                Err(RegionError::Open(OpenError::Refused(protocol::OpenError::HasWriter { .. }))) => {
                    let deadline = *refused_until.get_or_insert(Instant::now() + SETTLE_TIMEOUT);
                    let in_time = reading.wait_for_news(Some(deadline), |reading| {
                        let known = reading.known_reader();
                        reading.writer().is_some() || known.is_some_and(|reader| reader.version() > follows)
                    })?;
                    if in_time && Instant::now() < deadline {
                        continue;
                    }
                    // Its writer is stopped or stuck: it may come back, so nobody else may begin yet.
                    match (reading.known_reader(), wish) {
                        (None, _) => return Err(RegionError::WriterStuck { region: name }),
                        (Some(_), Wish::New(_)) => return Err(RegionError::Exists { region: name }),
                        (Some(_), _) => break,
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if let (None, Some(named)) = (&writing, &named) {
            // Who only reads has no use for the file, but is told that it is another.
            note::file_of_single(&node, &name, Some(named), reading.known_reader())?;
        }
        let (reading, writing) = (RefCell::new(reading), RefCell::new(writing));
        Ok(Self { node, name, payload: opening.payload, reading, writing, file })
    }

    pub(super) fn is_writer(&self) -> bool {
        self.writing.borrow().is_some()
    }

    /// Looks at the value with the reader. What `read` calls may look at the value as well.
    #[inline]
    pub(super) fn read<R>(
        &self,
        read: impl FnOnce(&RegionReader) -> Result<R, RegionError>,
    ) -> Result<R, RegionError> {
        let mut reading = self.reading.borrow();
        if reading.has_news() {
            drop(reading);
            self.take_news()?;
            reading = self.reading.borrow();
        }
        match reading.known_reader() {
            Some(reader) => read(reader),
            None => Err(RegionError::NotFound { region: self.name.clone() }),
        }
    }

    /// A small value, if that is all there is to it.
    #[inline(always)]
    pub(super) fn get<T: PlainData>(&self) -> Option<T> {
        let reading = self.reading.try_borrow().ok()?;
        if reading.has_news() {
            return None;
        }
        reading.known_reader()?.get()
    }

    #[cold]
    fn take_news(&self) -> Result<(), RegionError> {
        match self.reading.try_borrow_mut() {
            Ok(mut reading) => Ok(reading.take_news()?),
            // Called from within a look at the value: news can wait until that is over.
            Err(_) => Ok(()),
        }
    }

    #[inline(always)]
    pub(super) fn write(&self, value: &[u8]) -> Result<u64, RegionError> {
        let mut writing = self.writing.borrow_mut();
        let Some(Writing { writer, .. }) = &mut *writing else { return Err(self.read_only()) };
        match &self.file {
            Some(file) => write_through(writer, file, value),
            None => Ok(writer.write(value)?),
        }
    }

    /// Changes the value in place: `change` gets all the room, which begins as the current value, and that
    /// one's length, and gives the new length.
    pub(super) fn change(
        &self,
        change: impl FnOnce(&mut [u8], usize) -> Result<usize, RegionError>,
    ) -> Result<u64, RegionError> {
        let mut writing = self.writing.borrow_mut();
        let Some(Writing { writer, .. }) = &mut *writing else { return Err(self.read_only()) };
        let (length, next_version) = (writer.value().len(), writer.version() + 1);
        let mut draft = writer.draft()?;
        let length = change(draft.bytes_mut(), length)?;
        if let (Some(file), Some(value)) = (&self.file, draft.bytes_mut().get(..length)) {
            file.save(next_version, value)?;
        }
        Ok(draft.commit(length)?)
    }

    pub(super) fn compare_and_set(&self, version: u64, value: &[u8]) -> Result<u64, RegionError> {
        let current = self.writing.borrow().as_ref().map(|writing| writing.writer.version());
        match current {
            None => Err(self.read_only()),
            Some(current) if current == version => self.write(value),
            Some(current) => Err(RegionError::Conflict { current }),
        }
    }

    /// The next value in the making, with the length and version of the current one.
    pub(super) fn draft(&mut self) -> Result<(Draft<'_>, usize, u64, Option<&ValueFile>), RegionError> {
        if self.writing.get_mut().is_none() {
            return Err(self.read_only());
        }
        let Some(Writing { writer, .. }) = self.writing.get_mut() else { return Err(RegionError::Timeout) };
        let (length, version) = (writer.value().len(), writer.version());
        Ok((writer.draft()?, length, version, self.file.as_ref()))
    }

    /// Goes on in a larger memory. Whoever reads follows.
    pub(super) fn resize(&self, capacity_bytes: usize) -> Result<(), RegionError> {
        let mut slot = self.writing.borrow_mut();
        let Some(old) = &mut *slot else { return Err(self.read_only()) };
        let beginning = Beginning {
            version: old.writer.version() + 1,
            value: old.writer.value().to_vec(),
            capacity_bytes: capacity_bytes.max(old.writer.geometry().capacity_bytes()),
            in_file: true,
            follows: old.writer.version(),
        };
        let opening = Opening {
            node: Arc::clone(&self.node),
            name: self.name.clone(),
            payload: self.payload.clone(),
            capacity_bytes: beginning.capacity_bytes,
            alignment_bytes: old.writer.geometry().alignment_bytes(),
            file: self.file.as_ref().map(|file| file.path().to_owned()),
        };
        let new = Writing::open(&opening, beginning, Some(old.port))?;
        let port = new.port;
        self.reading.borrow_mut().wait_for_news(Instant::now().checked_add(SETTLE_TIMEOUT), |reading| {
            reading.writer() == Some(port)
        })?;
        *slot = Some(new);
        Ok(())
    }

    fn read_only(&self) -> RegionError {
        let writer = self.node.region_writer(&self.name);
        RegionError::ReadOnly { region: self.name.clone(), pid: writer.unwrap_or(0) }
    }
}

impl Writing {
    fn open(opening: &Opening, beginning: Beginning, succeeds: Option<PortId>) -> Result<Self, RegionError> {
        let Opening { node, name, payload, alignment_bytes, file, .. } = opening;
        let geometry = RegionGeometry::new(beginning.capacity_bytes, *alignment_bytes)?;
        let hash = payload.layout_hash();
        let note = note::write(node, name, file.as_deref());
        let Beginning { version, value, .. } = &beginning;
        let writer = RegionWriter::create_with_note(geometry, hash, *version, value, &note)
            .map_err(super::memory_error)?;
        let port = node.new_port();
        node.open_region_writer(port, &writer, name.clone(), (succeeds, beginning.follows), payload.clone())?;
        Ok(Self { node: Arc::clone(node), port, writer })
    }
}

/// Makes `value` the current one once it is on the disk.
fn write_through(writer: &mut RegionWriter, file: &ValueFile, value: &[u8]) -> Result<u64, RegionError> {
    // Room for it comes first: what is on the disk has to become current.
    let next_version = writer.version() + 1;
    let mut draft = writer.draft()?;
    let room = draft.bytes_mut();
    let capacity_bytes = room.len();
    let place = room.get_mut(..value.len());
    let place = place.ok_or(RegionError::TooLarge { bytes: value.len(), capacity_bytes })?;
    place.copy_from_slice(value);
    file.save(next_version, value)?;
    Ok(draft.commit(value.len())?)
}

/// What the last writer left goes before what the file kept, and that before what the caller has.
fn begin(
    reading: &Reading,
    file: Option<&ValueFile>,
    initial: &[u8],
    opening: &Opening,
) -> Result<Beginning, RegionError> {
    let wanted = opening.capacity_bytes;
    if let Some(reader) = reading.known_reader() {
        let capacity_bytes = reader.geometry().capacity_bytes();
        let mut value = vec![0; capacity_bytes];
        let left = reader.read(&mut value)?;
        value.truncate(left.length);
        let capacity_bytes = capacity_bytes.max(wanted);
        return Ok(Beginning {
            version: left.version + 1,
            value,
            capacity_bytes,
            in_file: false,
            follows: left.version,
        });
    }
    if let Some(kept) = file.map(ValueFile::load).transpose()?.flatten() {
        let capacity_bytes = wanted.max(kept.value.len());
        return Ok(Beginning {
            version: kept.version.saturating_add(1),
            value: kept.value,
            capacity_bytes,
            in_file: true,
            follows: 0,
        });
    }
    Ok(Beginning { version: 1, value: initial.to_vec(), capacity_bytes: wanted, in_file: false, follows: 0 })
}
