//! A value on its way into a region that is there. What can be refused is refused before the region is touched.

use std::path::Path;

use onecopy::region::{Region, RegionError};
use onecopy::{Node, RegionEntry};

use crate::failure::Failure;
use crate::payload_size::is_size_of;

/// A new value for a region.
pub(super) struct Change<'c> {
    pub(super) region: &'c str,
    pub(super) value: &'c [u8],
    /// The version that must be current.
    pub(super) if_version: Option<u64>,
    /// Where the value is kept as well.
    pub(super) file: Option<&'c Path>,
}

impl Change<'_> {
    /// Makes the value current, and gives its version. Where a region with a single writer has none now, this
    /// process is its writer for that moment.
    pub(super) fn write(&self, node: &Node) -> Result<u64, Failure> {
        let entry = super::entry(node, self.region)?;
        check_size(&entry, self.value)?;
        // Keeps the region from ending while we come to write it, and knows the version that readers have
        // seen: becoming the writer counts as a version of its own.
        let reader = node.any_region(self.region)?.open()?;
        let seen = reader.version()?;
        if self.if_version.is_some_and(|version| version != seen) {
            return Err(RegionError::Conflict { current: seen }.into());
        }
        let region = open_to_write(node, &entry, self.value, self.file)?;
        let version = match self.if_version {
            None => region.write(self.value)?,
            Some(version) => {
                let took_over = !entry.is_shared && region.is_writer();
                region.compare_and_set(version + u64::from(took_over), self.value)?
            }
        };
        Ok(version)
    }
}

/// Opens a region that is there to write it, as its writer if it has a single one and that has ended.
pub(super) fn open_to_write(
    node: &Node,
    entry: &RegionEntry,
    initial: &[u8],
    file: Option<&Path>,
) -> Result<Region<[u8]>, Failure> {
    let builder = node.any_region(&entry.name)?;
    let builder = if let Some(file) = file { builder.file(file) } else { builder };
    Ok(builder.open_or_create(initial)?)
}

fn check_size(entry: &RegionEntry, value: &[u8]) -> Result<(), Failure> {
    let (name, bytes) = (entry.name.clone(), value.len());
    match (&entry.payload, entry.capacity_bytes()) {
        (Some(payload), _) if !is_size_of(payload, bytes as u64) => {
            Err(Failure::ValueSize { name, bytes, expected: payload.to_string() })
        }
        (_, Some(capacity_bytes)) if bytes > capacity_bytes => {
            Err(Failure::ValueTooLarge { name, bytes, capacity_bytes })
        }
        _ => Ok(()),
    }
}
