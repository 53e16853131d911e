//! Whose index a file is. The public format has no place for that, so it stands beside the index, in a file with the ending
//! `.owner`: one line, the identity of the BAM file and that of the index.

use std::path::{Path, PathBuf};

use crate::error::GenomeError;
use crate::files;
use crate::identity::FileIdentity;

/// Behind the name of the index.
const ENDING: &str = ".owner";

fn path_of(index: &Path) -> PathBuf {
    files::beside(index, ENDING)
}

/// Notes that the index is of the BAM file with this identity.
pub(crate) fn record(index: &Path, bam: &FileIdentity) -> Result<(), GenomeError> {
    let line = format!("{bam} {}\n", FileIdentity::of(index)?);
    files::write_whole(&path_of(index), line.as_bytes())
}

/// The BAM file the index is of, if that was noted for this very index. An index from elsewhere has no note, and one that was
/// replaced from elsewhere has one that speaks of another.
pub(crate) fn of(index: &Path) -> Result<Option<FileIdentity>, GenomeError> {
    let Ok(line) = std::fs::read_to_string(path_of(index)) else { return Ok(None) };
    let Some((bam, noted)) = line.trim_end().split_once(' ') else { return Ok(None) };
    let noted = FileIdentity::parse(noted);
    if noted.is_none() || noted != Some(FileIdentity::of(index)?) {
        return Ok(None);
    }
    Ok(FileIdentity::parse(bam))
}
