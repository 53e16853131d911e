//! The file that the demo streams, repeated end to end.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::failure::Failure;

/// A file up to this size is read once; a larger one piece by piece.
const IN_MEMORY_BYTES: u64 = 64 << 20;
/// A shorter file is repeated in memory up to this, so that filling a message takes few steps.
const PATTERN_BYTES: usize = 1 << 20;

/// The bytes of a file, over and over.
#[derive(Debug)]
pub(super) enum Source {
    Memory(Vec<u8>),
    File { file: File, bytes: u64 },
}

impl Source {
    pub(super) fn open(path: &Path, bytes: u64) -> Result<Self, Failure> {
        let failed = || Failure::system(format!("read {}", path.display()));
        let file = File::open(path).map_err(failed())?;
        if bytes > IN_MEMORY_BYTES {
            return Ok(Self::File { file, bytes });
        }
        let mut content = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut content, 0).map_err(failed())?;
        if content.is_empty() {
            return Err(Failure::Demo(format!("{} is empty: there is nothing to stream", path.display())));
        }
        let repeats = PATTERN_BYTES.div_ceil(content.len());
        Ok(Self::Memory(content.repeat(repeats)))
    }

    /// Fills `buffer` with what stands at `offset` of the endless repetition.
    pub(super) fn read_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> Result<(), Failure> {
        let period = match self {
            Self::Memory(content) => content.len() as u64,
            Self::File { bytes, .. } => *bytes,
        };
        while !buffer.is_empty() {
            let start = offset % period;
            let length = usize::try_from(period - start).unwrap_or(usize::MAX).min(buffer.len());
            let (piece, rest) = buffer.split_at_mut(length);
            match self {
                Self::Memory(content) => piece.copy_from_slice(&content[start as usize..][..length]),
                Self::File { file, .. } => {
                    file.read_exact_at(piece, start).map_err(Failure::system("read the file further"))?;
                }
            }
            offset += length as u64;
            buffer = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_without_a_seam() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"abc").unwrap();
        for source in
            [Source::open(&path, 3).unwrap(), Source::File { file: File::open(&path).unwrap(), bytes: 3 }]
        {
            let mut buffer = [0; 8];
            source.read_at(3 * (1 << 20) + 2, &mut buffer).unwrap();
            assert_eq!(&buffer, b"cabcabca");
        }
    }
}
