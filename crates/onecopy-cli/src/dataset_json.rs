//! What `--json` prints of datasets: the field names here are part of the command's interface, and told in its help.

use onecopy::DatasetEntry;
use onecopy::dataset::{Catalog, FileReference, Hash, Section};
use serde::Serialize;

use crate::inventory_json::unknown;
use crate::units::{count, process};
use onecopy::counted;

/// A dataset in a list.
#[derive(Debug, Serialize)]
pub(crate) struct DatasetSummary {
    pub(crate) name: String,
    /// The newest; `null` while somebody waits for the first.
    pub(crate) version: Option<u64>,
    /// `memory` or `file`.
    pub(crate) backing: Option<&'static str>,
    pub(crate) content_bytes: Option<u64>,
    /// How many.
    pub(crate) sections: Option<usize>,
    /// The process that published it; `null` if that has let go of it.
    pub(crate) publisher_pid: Option<u32>,
    pub(crate) viewers: u32,
    /// Whether it stays while nobody has it open.
    pub(crate) kept: bool,
}

/// A dataset in full.
#[derive(Debug, Serialize)]
pub(crate) struct DatasetDetails {
    pub(crate) name: String,
    pub(crate) version: Option<u64>,
    pub(crate) backing: Option<&'static str>,
    pub(crate) content_bytes: Option<u64>,
    pub(crate) blake3: Option<String>,
    pub(crate) file: Option<FileDetails>,
    pub(crate) sections: Vec<SectionDetails>,
    pub(crate) publisher_pid: Option<u32>,
    pub(crate) viewers: u32,
    pub(crate) kept: bool,
    /// Why it can't be opened.
    pub(crate) problem: Option<String>,
}

/// The file that a content is.
#[derive(Debug, Serialize)]
pub(crate) struct FileDetails {
    pub(crate) path: String,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) modified_seconds: i64,
    pub(crate) modified_nanoseconds: u64,
}

/// A named part of a content.
#[derive(Debug, Serialize)]
pub(crate) struct SectionDetails {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) type_name: String,
    pub(crate) element_bytes: u64,
    pub(crate) align_bytes: u64,
    pub(crate) offset_bytes: u64,
    pub(crate) bytes: u64,
    pub(crate) elements: u64,
}

fn backing(catalog: &Catalog) -> &'static str {
    if catalog.file.is_some() { "file" } else { "memory" }
}

impl From<&DatasetEntry> for DatasetSummary {
    fn from(dataset: &DatasetEntry) -> Self {
        let catalog = dataset.catalog.as_ref();
        Self {
            name: dataset.name.clone(),
            version: dataset.version,
            backing: catalog.map(backing),
            content_bytes: catalog.map(|catalog| catalog.content_bytes),
            sections: catalog.map(|catalog| catalog.sections.as_slice().len()),
            publisher_pid: dataset.publisher_pid,
            viewers: dataset.viewers,
            kept: dataset.is_kept,
        }
    }
}

impl DatasetSummary {
    /// Headings of [`Self::cells`].
    pub(crate) const HEADINGS: [&'static str; 8] =
        ["DATASET", "VERSION", "BYTES", "BACKING", "SECTIONS", "PUBLISHER", "VIEWERS", "KEPT"];

    /// The same for people.
    pub(crate) fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            count(self.version),
            count(self.content_bytes),
            self.backing.map_or_else(unknown, str::to_owned),
            count(self.sections.map(|sections| sections as u64)),
            process(self.publisher_pid),
            self.viewers.to_string(),
            if self.kept { "yes" } else { "no" }.to_owned(),
        ]
    }
}

/// All of them, by name.
pub(crate) fn summaries(datasets: &[DatasetEntry]) -> Vec<DatasetSummary> {
    let mut summaries: Vec<_> = datasets.iter().map(DatasetSummary::from).collect();
    summaries.sort_by(|one, other| one.name.cmp(&other.name));
    summaries
}

impl DatasetDetails {
    pub(crate) fn new(dataset: &DatasetEntry, problem: Option<String>) -> Self {
        let catalog = dataset.catalog.as_ref();
        let sections = catalog.map(|catalog| catalog.sections.as_slice()).unwrap_or_default();
        Self {
            name: dataset.name.clone(),
            version: dataset.version,
            backing: catalog.map(backing),
            content_bytes: catalog.map(|catalog| catalog.content_bytes),
            blake3: catalog.and_then(|catalog| catalog.hash).map(|hash| Hash(hash).to_string()),
            file: catalog.and_then(|catalog| catalog.file.as_ref()).map(FileDetails::from),
            sections: sections.iter().map(SectionDetails::from).collect(),
            publisher_pid: dataset.publisher_pid,
            viewers: dataset.viewers,
            kept: dataset.is_kept,
            problem,
        }
    }
}

impl From<&FileReference> for FileDetails {
    fn from(file: &FileReference) -> Self {
        Self {
            path: file.path.display().to_string(),
            device: file.identity.device,
            inode: file.identity.inode,
            modified_seconds: file.identity.modified_s,
            modified_nanoseconds: file.identity.modified_ns,
        }
    }
}

impl From<&Section> for SectionDetails {
    fn from(section: &Section) -> Self {
        Self {
            name: section.name.clone(),
            type_name: section.type_name.clone(),
            element_bytes: section.element_bytes,
            align_bytes: section.alignment_bytes,
            offset_bytes: section.offset,
            bytes: section.bytes,
            elements: section.len(),
        }
    }
}

impl SectionDetails {
    /// Headings of [`Self::cells`].
    pub(crate) const HEADINGS: [&'static str; 5] = ["SECTION", "ELEMENTS", "BYTES", "OFFSET", "TYPE"];

    /// The same for people.
    pub(crate) fn cells(&self) -> Vec<String> {
        let Self { type_name, element_bytes, align_bytes, .. } = self;
        vec![
            self.name.clone(),
            self.elements.to_string(),
            self.bytes.to_string(),
            self.offset_bytes.to_string(),
            format!("{type_name} ({}, aligned to {align_bytes})", counted(*element_bytes, "byte")),
        ]
    }
}
