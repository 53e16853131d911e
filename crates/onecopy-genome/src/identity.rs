//! Which file an index belongs to. Files of many gigabytes can't be hashed whenever a job starts, so the
//! identity is the file's size and a hash of parts of it: its beginning (which holds a BAM file's header),
//! its end, and samples spread evenly between. Files that differ have other compressed blocks from the
//! difference on, and so another identity; a copy, or a file that was only touched, has the same.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::GenomeError;

/// Bytes hashed at the beginning and at the end.
const EDGE_BYTES: u64 = 64 << 10;
/// Samples between the edges: one in every hundredth of a large file.
const SAMPLES: u64 = 100;
/// Bytes of a sample.
const SAMPLE_BYTES: u64 = 4 << 10;
/// Files up to this size are hashed in full: it is no more than what is hashed of larger ones.
const WHOLE_BYTES: u64 = 2 * EDGE_BYTES + SAMPLES * SAMPLE_BYTES;
/// Told apart from identities that later versions may compute otherwise.
const CONTEXT: &str = "onecopy genome 2026 file identity 1";

/// The identity of a file's content.
///
/// ```
/// use onecopy_genome::FileIdentity;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let (path, copy) = (directory.path().join("a"), directory.path().join("b"));
/// std::fs::write(&path, "reads")?;
/// std::fs::copy(&path, &copy)?;
/// assert_eq!(FileIdentity::of(&path)?, FileIdentity::of(&copy)?);
/// std::fs::write(&copy, "other")?;
/// assert_ne!(FileIdentity::of(&path)?, FileIdentity::of(&copy)?);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    bytes: u64,
    hash: [u8; 16],
}

impl FileIdentity {
    /// Reads at most half a megabyte, whatever the file's size.
    ///
    /// # Errors
    ///
    /// If the file can't be read, or shrinks meanwhile.
    pub fn of(path: &Path) -> Result<Self, GenomeError> {
        let file = File::open(path).map_err(GenomeError::file("open", path))?;
        Self::of_file(&file, path)
    }

    /// The same of a file that is open; `path` is for errors.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of).
    pub fn of_file(file: &File, path: &Path) -> Result<Self, GenomeError> {
        let bytes = file.metadata().map_err(GenomeError::file("look at", path))?.len();
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&bytes.to_le_bytes());
        let mut buffer = vec![0; EDGE_BYTES.min(bytes) as usize];
        for (offset, length) in parts(bytes) {
            let part = &mut buffer[..length as usize];
            file.read_exact_at(part, offset).map_err(GenomeError::file("read", path))?;
            hasher.update(part);
        }
        let mut hash = [0; 16];
        hasher.finalize_xof().fill(&mut hash);
        Ok(Self { bytes, hash })
    }

    /// The file's size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads what [`Display`](fmt::Display) writes.
    ///
    /// ```
    /// # use onecopy_genome::FileIdentity;
    /// let text = "57-000102030405060708090a0b0c0d0e0f";
    /// assert_eq!(FileIdentity::parse(text).map(|identity| identity.to_string()).as_deref(), Some(text));
    /// assert_eq!(FileIdentity::parse("57"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let (bytes, hexadecimal) = text.split_once('-')?;
        if hexadecimal.len() != 32 || !hexadecimal.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let hash = u128::from_str_radix(hexadecimal, 16).ok()?.to_be_bytes();
        Some(Self { bytes: bytes.parse().ok()?, hash })
    }
}

/// The size and the hash, such as `57-000102030405060708090a0b0c0d0e0f`.
impl fmt::Display for FileIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{:032x}", self.bytes, u128::from_be_bytes(self.hash))
    }
}

/// Offset and length of what is hashed of a file of so many bytes, none longer than an edge.
fn parts(bytes: u64) -> Vec<(u64, u64)> {
    if bytes <= WHOLE_BYTES {
        return (0..bytes)
            .step_by(EDGE_BYTES as usize)
            .map(|offset| (offset, EDGE_BYTES.min(bytes - offset)))
            .collect();
    }
    let between = bytes - 2 * EDGE_BYTES - SAMPLE_BYTES;
    // In this order of operations the product stays in range for any file a disk can hold.
    let sample = |index: u64| (EDGE_BYTES + between / SAMPLES * index, SAMPLE_BYTES);
    let edges = [(0, EDGE_BYTES), (bytes - EDGE_BYTES, EDGE_BYTES)];
    edges.into_iter().chain((0..SAMPLES).map(sample)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_in_the_file_and_reach_its_ends() {
        for bytes in [0, 1, EDGE_BYTES, EDGE_BYTES + 1, WHOLE_BYTES, WHOLE_BYTES + 1, 1 << 30, u64::MAX / 2] {
            let parts = parts(bytes);
            assert!(parts.iter().all(|&(offset, length)| length <= EDGE_BYTES && offset + length <= bytes));
            assert_eq!(parts.iter().any(|&(offset, _)| offset == 0), bytes > 0);
            assert_eq!(parts.iter().any(|&(offset, length)| offset + length == bytes), bytes > 0);
            if bytes <= WHOLE_BYTES {
                assert_eq!(parts.iter().map(|part| part.1).sum::<u64>(), bytes);
            }
        }
    }

    #[test]
    fn a_change_at_either_end_of_a_large_file_shows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("large");
        let file = File::create(&path).unwrap();
        file.set_len(10 << 20).unwrap();
        let before = FileIdentity::of(&path).unwrap();
        for offset in [0, (10 << 20) - 1] {
            file.write_all_at(b"x", offset).unwrap();
            assert_ne!(FileIdentity::of(&path).unwrap(), before, "{offset}");
            file.write_all_at(b"\0", offset).unwrap();
            assert_eq!(FileIdentity::of(&path).unwrap(), before, "{offset}");
        }
        file.set_len((10 << 20) + 1).unwrap();
        assert_ne!(FileIdentity::of(&path).unwrap(), before);
    }
}
