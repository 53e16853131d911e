//! Reading a recording from its beginning, chunk by chunk. The end may be missing: then it ends with the last
//! whole chunk.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use mcap::McapError;
use mcap::records::Record;
use mcap::sans_io::linear_reader::{LinearReadEvent, LinearReader, LinearReaderOptions};
use onecopy::Delivery;
use onecopy::payload_type::PayloadType;

use super::{DELIVERY, ENCODING, RecordedTopic, RecordingError, record};

pub(crate) struct RecordingReader {
    path: String,
    file: File,
    reader: LinearReader,
    payloads: HashMap<u16, PayloadType>,
    topics: HashMap<u16, Arc<RecordedTopic>>,
    messages: u64,
    /// Bytes of the file, and how many of them were read.
    file_bytes: u64,
    read_bytes: u64,
    is_complete: bool,
}

/// A message that was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) topic: Arc<RecordedTopic>,
    pub(crate) time_ns: u64,
    data: Vec<u8>,
}

impl Recorded {
    /// Payload and user's header.
    pub(crate) fn parts(&self) -> (&[u8], &[u8]) {
        let header = usize::try_from(self.topic.payload.header.size_bytes).unwrap_or(usize::MAX);
        // A message without room for its header has none; it is no message of its type then.
        self.data.split_at(self.data.len().checked_sub(header).unwrap_or(self.data.len()))
    }
}

impl RecordingReader {
    pub(crate) fn open(path: &Path) -> Result<Self, RecordingError> {
        let shown = path.display().to_string();
        let failed = |source| RecordingError::File { operation: "read", path: shown.clone(), source };
        let file = File::open(path).map_err(failed)?;
        let file_bytes = file.metadata().map_err(failed)?.len();
        // No record is longer than its file, whatever it claims.
        let limit = usize::try_from(file_bytes).unwrap_or(usize::MAX);
        let options = LinearReaderOptions::default()
            .with_prevalidate_chunk_crcs(true)
            .with_validate_data_section_crc(true)
            .with_record_length_limit(limit);
        Ok(Self {
            path: shown,
            file,
            reader: LinearReader::new_with_options(options),
            payloads: HashMap::new(),
            topics: HashMap::new(),
            messages: 0,
            file_bytes,
            read_bytes: 0,
            is_complete: false,
        })
    }

    /// The next message; `None` at the end, whether or not it is the end that was written ([`Self::is_complete`]).
    pub(crate) fn next(&mut self) -> Result<Option<Recorded>, RecordingError> {
        loop {
            let record = match self.reader.next_event() {
                None => {
                    self.is_complete = true;
                    return Ok(None);
                }
                Some(Ok(LinearReadEvent::ReadRequest(bytes))) => {
                    if !self.read(bytes)? {
                        return Ok(None);
                    }
                    continue;
                }
                Some(Ok(LinearReadEvent::Record { data, opcode })) => {
                    match record::parse(opcode, data).transpose() {
                        Some(record) => record,
                        None => continue,
                    }
                }
                Some(Err(error)) => Err(error),
            };
            match record {
                Ok(record) => {
                    if let Some(message) = self.take(record)? {
                        self.messages += 1;
                        return Ok(Some(message));
                    }
                }
                // It claims to be longer than what there is, or is: its end is missing.
                Err(
                    McapError::UnexpectedEof | McapError::RecordTooLarge { .. } | McapError::ChunkTooLarge(_),
                ) => {
                    return Ok(None);
                }
                Err(McapError::BadMagic) if self.messages == 0 => {
                    return Err(self.foreign("it is no MCAP file".to_owned()));
                }
                Err(source) => {
                    let (path, messages) = (self.path.clone(), self.messages);
                    return Err(RecordingError::Damaged { path, messages, source });
                }
            }
        }
    }

    /// Whether the recording was read to the end that was written. One whose end is missing is whole up to there.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// How much of the file was read, of how much.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.read_bytes, self.file_bytes)
    }

    /// Reads on; `false` if there is nothing more.
    fn read(&mut self, bytes: usize) -> Result<bool, RecordingError> {
        loop {
            match self.file.read(self.reader.insert(bytes)) {
                Ok(read) => {
                    self.reader.notify_read(read);
                    self.read_bytes += read as u64;
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(RecordingError::File { operation: "read", path: self.path.clone(), source });
                }
            }
        }
    }

    fn take(&mut self, record: Record<'static>) -> Result<Option<Recorded>, RecordingError> {
        match record {
            Record::Header(header) if header.profile != ENCODING => {
                Err(self.foreign(format!("its profile is {:?}", header.profile)))
            }
            Record::Schema { header, data } => {
                let payload: Option<PayloadType> = serde_json::from_slice(&data).ok();
                let payload =
                    payload.filter(|payload| payload.validate().is_ok() && header.encoding == ENCODING);
                let payload = payload
                    .ok_or_else(|| self.foreign(format!("type {:?} is not described", header.name)))?;
                self.payloads.insert(header.id, payload);
                Ok(None)
            }
            Record::Channel(channel) => {
                let payload = self.payloads.get(&channel.schema_id).cloned();
                let payload =
                    payload.ok_or_else(|| self.foreign(format!("topic {:?} has no type", channel.topic)))?;
                let reliable = channel.metadata.get(DELIVERY).is_some_and(|delivery| delivery == "reliable");
                let delivery = if reliable { Delivery::Reliable } else { Delivery::Overwrite };
                let topic = RecordedTopic { name: channel.topic, payload, delivery };
                self.topics.insert(channel.id, Arc::new(topic));
                Ok(None)
            }
            Record::Message { header, data } => {
                let topic = self.topics.get(&header.channel_id).map(Arc::clone);
                let topic = topic.ok_or_else(|| self.foreign("a message is of no topic".to_owned()))?;
                Ok(Some(Recorded { topic, time_ns: header.log_time, data: data.into_owned() }))
            }
            _ => Ok(None),
        }
    }

    fn foreign(&self, what: String) -> RecordingError {
        RecordingError::Foreign { path: self.path.clone(), what }
    }
}
