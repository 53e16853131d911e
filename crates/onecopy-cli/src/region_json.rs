//! What `--json` prints of regions: the field names here are part of the command's interface, and told in its help.

use onecopy::RegionEntry;
use onecopy::payload_type::PayloadType;
use serde::Serialize;

use crate::inventory_json::{Payload, unknown};
use crate::units::{count, process};

/// A region in a list.
#[derive(Debug, Serialize)]
pub(crate) struct RegionSummary {
    pub(crate) name: String,
    /// `single-writer` or `shared`.
    pub(crate) mode: &'static str,
    /// What its value is, in words; `null` if nobody has said so yet.
    pub(crate) payload: Option<String>,
    /// The process that writes it; `null` if there is none, or several may.
    pub(crate) writer_pid: Option<u32>,
    pub(crate) readers: u32,
    /// How often it was written, and 1; `null` if it has no memory yet.
    pub(crate) version: Option<u64>,
    pub(crate) capacity_bytes: Option<usize>,
    /// Whether it stays while nobody has it open.
    pub(crate) kept: bool,
    /// Shared memory that it has touched.
    pub(crate) memory_bytes: u64,
    /// How often its writers slept until the lock was free; `null` where there is no lock.
    pub(crate) lock_waits: Option<u64>,
}

/// What is seen of a region by opening it.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    pub(crate) length_bytes: Option<usize>,
    pub(crate) file: Option<String>,
}

/// A region in full.
#[derive(Debug, Serialize)]
pub(crate) struct RegionDetails {
    pub(crate) name: String,
    pub(crate) mode: &'static str,
    pub(crate) payload: Option<Payload>,
    pub(crate) writer_pid: Option<u32>,
    pub(crate) readers: u32,
    pub(crate) version: Option<u64>,
    /// Of the value as it is now; `null` if it can't be read.
    pub(crate) length_bytes: Option<usize>,
    pub(crate) capacity_bytes: Option<usize>,
    pub(crate) kept: bool,
    /// The file that keeps its value, as its memory says; `null` if there is none, or it can't be read.
    pub(crate) file: Option<String>,
    /// Whether what is `null` is known not to be there.
    #[serde(skip)]
    pub(crate) is_opened: bool,
}

impl From<&RegionEntry> for RegionSummary {
    fn from(region: &RegionEntry) -> Self {
        Self {
            name: region.name.clone(),
            mode: mode(region),
            payload: region.payload.as_ref().map(PayloadType::to_string),
            writer_pid: region.writer_pid,
            readers: region.readers,
            version: region.version(),
            capacity_bytes: region.capacity_bytes(),
            kept: region.is_kept,
            memory_bytes: region.memory_bytes,
            lock_waits: region.lock_waits(),
        }
    }
}

impl RegionDetails {
    pub(crate) fn new(region: &RegionEntry, opened: Option<Opened>) -> Self {
        let is_opened = opened.is_some();
        let Opened { length_bytes, file } = opened.unwrap_or_default();
        Self {
            name: region.name.clone(),
            mode: mode(region),
            payload: region.payload.as_ref().map(Payload::from),
            writer_pid: region.writer_pid,
            readers: region.readers,
            version: region.version(),
            length_bytes,
            capacity_bytes: region.capacity_bytes(),
            kept: region.is_kept,
            file,
            is_opened,
        }
    }
}

impl RegionSummary {
    /// Headings of [`Self::cells`].
    pub(crate) const HEADINGS: [&'static str; 8] =
        ["REGION", "MODE", "WRITER", "READERS", "VERSION", "CAPACITY", "KEPT", "VALUE"];

    /// The same for people.
    pub(crate) fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.mode.to_owned(),
            process(self.writer_pid),
            self.readers.to_string(),
            count(self.version),
            self.capacity_bytes.map_or_else(unknown, |bytes| bytes.to_string()),
            if self.kept { "yes" } else { "no" }.to_owned(),
            self.payload.clone().unwrap_or_else(unknown),
        ]
    }
}

/// All of them, by name.
pub(crate) fn summaries(regions: &[RegionEntry]) -> Vec<RegionSummary> {
    let mut summaries: Vec<_> = regions.iter().map(RegionSummary::from).collect();
    summaries.sort_by(|one, other| one.name.cmp(&other.name));
    summaries
}

fn mode(region: &RegionEntry) -> &'static str {
    if region.is_shared { "shared" } else { "single-writer" }
}
