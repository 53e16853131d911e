//! Whose index a file is. The public format has no place for that, so it stands beside the index, in a file with the
//! ending `.owner`: one line, the identity of the BAM file and that of the index. An index of another program has no
//! such note, and is compared with the BAM file itself.

use std::path::{Path, PathBuf};

use crate::bam::AlignmentReader;
use crate::bri::BriFile;
use crate::error::GenomeError;
use crate::files;
use crate::identity::FileIdentity;

/// Behind the name of the index.
const ENDING: &str = ".owner";
/// Alignments compared with an index of which nobody has noted whose it is.
const SAMPLES: u64 = 64;

fn path_of(index: &Path) -> PathBuf {
    files::beside(index, ENDING)
}

/// Notes that the index is of the BAM file with this identity.
pub(crate) fn record(index: &Path, bam: &FileIdentity) -> Result<(), GenomeError> {
    let line = format!("{bam} {}\n", FileIdentity::of(index)?);
    files::write_whole(&path_of(index), line.as_bytes())
}

/// The BAM file the index is of, if that was noted for this very index. An index from elsewhere has no note,
/// and one that was replaced from elsewhere has one that speaks of another.
fn noted(index: &Path) -> Result<Option<FileIdentity>, GenomeError> {
    let Ok(line) = std::fs::read_to_string(path_of(index)) else { return Ok(None) };
    let Some((bam, this)) = line.trim_end().split_once(' ') else { return Ok(None) };
    let this = FileIdentity::parse(this);
    if this.is_none() || this != Some(FileIdentity::of(index)?) {
        return Ok(None);
    }
    Ok(FileIdentity::parse(bam))
}

/// Opens an index in a file, and makes sure that it is of `bam`.
pub(crate) fn open_checked(bam: &Path, index: &Path) -> Result<BriFile, GenomeError> {
    let file = BriFile::open(index)?;
    let identity = FileIdentity::of(bam)?;
    match noted(index)? {
        Some(owner) if owner == identity => {}
        Some(owner) => {
            let what = format!("it is of a file with the identity {owner}, and this one's is {identity}");
            return Err(GenomeError::IndexOfAnother {
                index: index.display().to_string(),
                bam: bam.to_owned(),
                what,
            });
        }
        None => compare_samples(bam, &file)?,
    }
    Ok(file)
}

/// The error that says that an alignment has another name than the index has for it.
pub(crate) fn of_another(index: &str, bam: &Path, name: &[u8]) -> GenomeError {
    let what = format!("where it has the read {}, the file has another", String::from_utf8_lossy(name));
    GenomeError::IndexOfAnother { index: index.to_owned(), bam: bam.to_owned(), what }
}

/// Compares records from the first to the last with the alignments that they point to.
fn compare_samples(bam: &Path, index: &BriFile) -> Result<(), GenomeError> {
    let mut reader = AlignmentReader::open(bam)?;
    let Some(last) = index.len().checked_sub(1) else { return Ok(()) };
    for sample in 0..SAMPLES.min(index.len()) {
        let record =
            (u128::from(last) * u128::from(sample) / u128::from((SAMPLES - 1).min(last).max(1))) as u64;
        let (name, alignment) = index.record(record)?;
        let offset = alignment >> 16;
        if offset >= reader.file_bytes() {
            let what = format!("it points to byte {offset}, and the file has {}", reader.file_bytes());
            return Err(GenomeError::IndexOfAnother {
                index: index.path().display().to_string(),
                bam: bam.to_owned(),
                what,
            });
        }
        let is_same = match reader.read(alignment) {
            Ok(found) => found.name().map_or(&b"*"[..], |found| found.as_ref()) == name,
            // Nothing begins there: as good as another name. What the system refuses is not.
            Err(GenomeError::Malformed { .. } | GenomeError::Truncated { .. }) => false,
            Err(error) => return Err(error),
        };
        if !is_same {
            return Err(of_another(&index.path().display().to_string(), bam, &name));
        }
    }
    Ok(())
}
