//! Writing a recording. A chunk goes to the file as a whole, so a file that ends anywhere has whole chunks in front.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind};
use std::path::Path;

use mcap::records::MessageHeader;
use mcap::{McapError, WriteOptions, Writer};

use super::{DELIVERY, ENCODING, RecordedTopic, RecordingError};

/// Bytes of messages after which a chunk ends.
const CHUNK_BYTES: u64 = 1 << 20;

pub(crate) struct RecordingWriter {
    path: String,
    writer: Writer<BufWriter<File>>,
    /// By topic: the channel, and the number of its next message.
    channels: HashMap<String, (u16, u32)>,
    /// A message is put together here.
    data: Vec<u8>,
}

impl RecordingWriter {
    /// Makes the file. One that is there is replaced only if `force` says so.
    pub(crate) fn create(path: &Path, force: bool) -> Result<Self, RecordingError> {
        let shown = path.display().to_string();
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(force).create_new(!force);
        let file = options.open(path).map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => RecordingError::Exists { path: shown.clone() },
            _ => RecordingError::File { operation: "create", path: shown.clone(), source },
        })?;
        let options = WriteOptions::new()
            .compression(None)
            .profile(ENCODING)
            .library(concat!("onecopy ", env!("CARGO_PKG_VERSION")))
            .chunk_size(Some(CHUNK_BYTES))
            // Nothing that was written is written again.
            .disable_seeking(true);
        let writer = options.create(BufWriter::new(file));
        let writer = writer.map_err(|source| RecordingError::Write { path: shown.clone(), source })?;
        Ok(Self { path: shown, writer, channels: HashMap::new(), data: Vec::new() })
    }

    /// Whether messages of a topic can be written.
    pub(crate) fn knows(&self, topic: &str) -> bool {
        self.channels.contains_key(topic)
    }

    /// Notes what a topic carries, before its first message.
    pub(crate) fn add_topic(&mut self, topic: &RecordedTopic) -> Result<(), RecordingError> {
        let payload = &topic.payload;
        let description = serde_json::to_vec(payload).unwrap_or_default();
        let metadata = BTreeMap::from([(DELIVERY.to_owned(), topic.delivery.to_string())]);
        let writer = &mut self.writer;
        let added = writer
            .add_schema(&payload.to_string(), ENCODING, &description)
            .and_then(|schema| writer.add_channel(schema, &topic.name, ENCODING, &metadata));
        let channel = added.map_err(|source| self.failed(source))?;
        self.channels.insert(topic.name.clone(), (channel, 0));
        Ok(())
    }

    /// Writes one message of a topic that was added.
    pub(crate) fn write(
        &mut self,
        topic: &str,
        time_ns: u64,
        payload: &[u8],
        header: &[u8],
    ) -> Result<(), RecordingError> {
        let Some((channel, sequence)) = self.channels.get_mut(topic) else { return Ok(()) };
        let message = MessageHeader {
            channel_id: *channel,
            sequence: *sequence,
            log_time: time_ns,
            publish_time: time_ns,
        };
        *sequence = sequence.wrapping_add(1);
        self.data.clear();
        self.data.extend_from_slice(payload);
        self.data.extend_from_slice(header);
        self.writer.write_to_known_channel(&message, &self.data).map_err(|source| self.failed(source))
    }

    /// Ends the chunk: what was written is in the file, whatever happens to this process.
    pub(crate) fn flush(&mut self) -> Result<(), RecordingError> {
        self.writer.flush().map_err(|source| self.failed(source))
    }

    /// Ends the recording, and gives the size of its file, which is then on the disk.
    pub(crate) fn finish(mut self) -> Result<u64, RecordingError> {
        self.writer.finish().map_err(|source| self.failed(source))?;
        let path = self.path;
        let failed = |source| RecordingError::File { operation: "write", path: path.clone(), source };
        let file = self.writer.into_inner().into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        Ok(file.metadata().map_err(failed)?.len())
    }

    fn failed(&self, source: McapError) -> RecordingError {
        RecordingError::Write { path: self.path.clone(), source }
    }
}
