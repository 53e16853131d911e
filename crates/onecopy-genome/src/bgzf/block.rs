//! One block: its frame, and its content inflated.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::BLOCK_BYTES_MAX;
use crate::error::GenomeError;

/// Bytes before the list of extra fields.
const FIXED_HEADER_BYTES: usize = 12;
/// Checksum and size of the content.
const FOOTER_BYTES: usize = 8;
/// What is read of the first block: most blocks of alignments are smaller. Of later ones it is a little more than the
/// ones before them had: copying what nobody needs costs as much as a tenth of inflating the rest.
const FIRST_READ_BYTES: usize = 16 << 10;
/// No less is read at once: a system call costs more than the bytes.
const READ_BYTES_MIN: usize = 1 << 10;

/// What [`Frame::parse`] says where a header ends early.
pub(super) const CUT_OFF: &str = "a block's header is cut off";

/// What a block says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bytes of the whole block in the file.
    pub(super) bytes: usize,
    /// Where the deflated content begins.
    deflated_start: usize,
}

impl Frame {
    /// Reads the beginning of a block. `bytes` may hold more than the block, or less.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let fixed: &[u8; FIXED_HEADER_BYTES] = bytes.first_chunk().ok_or(CUT_OFF)?;
        if fixed[..4] != [0x1f, 0x8b, 0x08, 0x04] {
            return Err("no BGZF block begins here");
        }
        let extra_bytes = usize::from(u16::from_le_bytes([fixed[10], fixed[11]]));
        let deflated_start = FIXED_HEADER_BYTES + extra_bytes;
        let mut extra = bytes.get(FIXED_HEADER_BYTES..deflated_start).ok_or(CUT_OFF)?;
        while let [first, second, length @ ..] = extra
            && let [low, high, rest @ ..] = length
        {
            let length = usize::from(u16::from_le_bytes([*low, *high]));
            let field = rest.get(..length).ok_or("an extra field of a block is cut off")?;
            if (*first, *second) == (b'B', b'C')
                && let [low, high] = *field
            {
                let bytes = usize::from(u16::from_le_bytes([low, high])) + 1;
                if bytes < deflated_start + FOOTER_BYTES {
                    return Err("a block is shorter than its own header");
                }
                return Ok(Self { bytes, deflated_start });
            }
            extra = &rest[length..];
        }
        Err("a block does not tell its size: gzip, but not BGZF")
    }

    /// Bytes of the content, as the end of the whole block says.
    pub(super) fn content_bytes(self, block: &[u8]) -> Result<usize, &'static str> {
        let footer = block[..self.bytes].last_chunk::<4>().ok_or("a block is shorter than its own header")?;
        match u32::from_le_bytes(*footer) as usize {
            bytes @ 0..=BLOCK_BYTES_MAX => Ok(bytes),
            _ => Err("a block promises more than 64 KiB"),
        }
    }

    fn deflated(self, block: &[u8]) -> &[u8] {
        &block[self.deflated_start..self.bytes - FOOTER_BYTES]
    }

    /// Inflates the whole block into `content`, which has exactly the size that the block promises.
    pub(super) fn inflate(
        self,
        block: &[u8],
        content: &mut [u8],
        decompressor: &mut libdeflater::Decompressor,
    ) -> Result<(), &'static str> {
        let checksum_start = self.bytes - FOOTER_BYTES;
        match decompressor.deflate_decompress(self.deflated(block), content) {
            Ok(bytes) if bytes == content.len() => {}
            _ => return Err("a block can't be inflated"),
        }
        let stored = block[checksum_start..].first_chunk::<4>().copied().unwrap_or_default();
        if libdeflater::crc32(content) == u32::from_le_bytes(stored) {
            Ok(())
        } else {
            Err("the checksum of a block does not fit its content")
        }
    }
}

/// An inflated block.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// Its place in the file.
    pub(crate) offset: u64,
    /// Where the next one begins.
    pub(crate) next_offset: u64,
    /// What it holds; nothing in an end marker.
    pub(crate) content: Vec<u8>,
}

/// Reads blocks of an open file anywhere.
pub(crate) struct BlockReader {
    file: File,
    path: PathBuf,
    file_bytes: u64,
    compressed: Vec<u8>,
    /// Bytes that the next block is likely to have.
    likely_bytes: usize,
    decompressor: libdeflater::Decompressor,
}

impl BlockReader {
    pub(crate) fn new(file: File, path: &Path) -> Result<Self, GenomeError> {
        let file_bytes = file.metadata().map_err(GenomeError::file("look at", path))?.len();
        Ok(Self {
            file,
            path: path.to_owned(),
            file_bytes,
            compressed: Vec::with_capacity(BLOCK_BYTES_MAX),
            likely_bytes: FIRST_READ_BYTES,
            decompressor: libdeflater::Decompressor::new(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Reads and checks the block at `offset` of the file. False at the file's end.
    pub(crate) fn read(&mut self, offset: u64, block: &mut Block) -> Result<bool, GenomeError> {
        let Some(frame) = self.load(offset)? else { return Ok(false) };
        let path = &self.path;
        let malformed = |what| GenomeError::Malformed { path: path.clone(), offset, what };
        block.offset = offset;
        block.next_offset = offset + frame.bytes as u64;
        let content_bytes = frame.content_bytes(&self.compressed).map_err(malformed)?;
        block.content.resize(content_bytes, 0);
        frame.inflate(&self.compressed, &mut block.content, &mut self.decompressor).map_err(malformed)?;
        Ok(true)
    }

    /// Reads the compressed block at `offset`.
    fn load(&mut self, offset: u64) -> Result<Option<Frame>, GenomeError> {
        let Some(rest) = self.file_bytes.checked_sub(offset).filter(|&rest| rest > 0) else {
            return Ok(None);
        };
        let available = rest.min(BLOCK_BYTES_MAX as u64) as usize;
        self.fill(offset, 0, available.min(self.likely_bytes))?;
        let mut frame = Frame::parse(&self.compressed);
        if frame == Err(CUT_OFF) && available > self.compressed.len() {
            self.fill(offset, self.compressed.len(), available)?;
            frame = Frame::parse(&self.compressed);
        }
        let frame = match frame {
            Ok(frame) if frame.bytes <= available => frame,
            Ok(_) | Err(CUT_OFF) => {
                return Err(GenomeError::Truncated {
                    path: self.path.clone(),
                    what: "it ends within a block",
                });
            }
            Err(what) => return Err(GenomeError::Malformed { path: self.path.clone(), offset, what }),
        };
        if frame.bytes > self.compressed.len() {
            self.fill(offset, self.compressed.len(), frame.bytes)?;
        }
        let fading = self.likely_bytes - self.likely_bytes / 16;
        self.likely_bytes = fading.max(frame.bytes + frame.bytes / 16).max(READ_BYTES_MIN);
        Ok(Some(frame))
    }

    fn fill(&mut self, offset: u64, from: usize, to: usize) -> Result<(), GenomeError> {
        self.compressed.resize(to, 0);
        let part = &mut self.compressed[from..];
        self.file.read_exact_at(part, offset + from as u64).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => GenomeError::Changed { path: self.path.clone() },
            _ => GenomeError::file("read", &self.path)(source),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::END_MARKER;
    use super::*;

    #[test]
    fn the_end_marker_is_an_empty_block() {
        let frame = Frame::parse(&END_MARKER).unwrap();
        assert_eq!((frame.bytes, frame.content_bytes(&END_MARKER)), (28, Ok(0)));
        frame.inflate(&END_MARKER, &mut [], &mut libdeflater::Decompressor::new()).unwrap();
    }

    #[test]
    fn what_is_no_block_is_refused_without_a_panic() {
        for end in 0..18 {
            assert!(Frame::parse(&END_MARKER[..end]).is_err(), "{end}");
        }
        for index in [0, 1, 2, 3, 10, 12, 13, 14] {
            let mut bytes = END_MARKER;
            bytes[index] ^= 0x55;
            assert!(Frame::parse(&bytes).is_err(), "{index}");
        }
        let mut short = END_MARKER;
        short[16] = 20;
        assert!(Frame::parse(&short).is_err());
        let mut large = END_MARKER;
        large[26] = 2;
        assert!(Frame::parse(&large).unwrap().content_bytes(&large).is_err());
    }
}
