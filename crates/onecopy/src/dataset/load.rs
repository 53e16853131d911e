//! A file on its way into memory, one piece after the other, and the hash of everything that passes.

use std::fmt;

use onecopy_memory::dataset::{DatasetDraft, DatasetFile};

use super::error::DatasetError;
use crate::limits::LOAD_PIECE_BYTES;

/// How far a long operation has come.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// # let path = directory.path().join("reference.fa");
/// # std::fs::write(&path, "ACGT")?;
/// let mut percent = 0;
/// let published = node.dataset("reference")?.publish_file_with(&path, |progress| {
///     percent = 100 * progress.done_bytes / progress.total_bytes.max(1);
/// })?;
/// assert_eq!(percent, 100);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are done.
    pub done_bytes: u64,
    /// Bytes that there are.
    pub total_bytes: u64,
}

/// BLAKE3 of a content. Displays as hexadecimal digits, as `b3sum` prints them.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let published = node.dataset("greeting")?.publish_bytes(b"abc")?;
/// let hash = published.hash().ok_or("it is taken unless that was turned off")?;
/// assert!(hash.to_string().starts_with("6437b3ac38465133"));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Copies a file into a draft's content, and gives its hash if that is wanted.
pub(super) fn load(
    file: &DatasetFile,
    draft: &mut DatasetDraft,
    wants_hash: bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<Hash>, DatasetError> {
    let mut hasher = wants_hash.then(blake3::Hasher::new);
    for_each_piece(file, progress, |offset, piece| {
        if let Some(hasher) = &mut hasher {
            hasher.update(piece);
        }
        // Its size was the file's when the draft was made, and the file is as it was then.
        Ok(draft.write_at(usize::try_from(offset).unwrap_or(usize::MAX), piece)?)
    })?;
    Ok(hasher.map(finish))
}

/// The hash of a file.
pub(super) fn hash_file(
    file: &DatasetFile,
    progress: &mut dyn FnMut(Progress),
) -> Result<Hash, DatasetError> {
    let mut hasher = blake3::Hasher::new();
    for_each_piece(file, progress, |_, piece| {
        hasher.update(piece);
        Ok(())
    })?;
    Ok(finish(hasher))
}

/// The hash of bytes.
pub(super) fn hash_bytes(bytes: &[u8], progress: &mut dyn FnMut(Progress)) -> Hash {
    let mut hasher = blake3::Hasher::new();
    let total_bytes = bytes.len() as u64;
    let mut done_bytes = 0;
    for piece in bytes.chunks(LOAD_PIECE_BYTES) {
        hasher.update(piece);
        done_bytes += piece.len() as u64;
        progress(Progress { done_bytes, total_bytes });
    }
    finish(hasher)
}

fn for_each_piece(
    file: &DatasetFile,
    progress: &mut dyn FnMut(Progress),
    mut take: impl FnMut(u64, &[u8]) -> Result<(), DatasetError>,
) -> Result<(), DatasetError> {
    let total_bytes = file.reference().identity.bytes;
    let mut buffer = vec![0; LOAD_PIECE_BYTES];
    let mut offset = 0;
    while offset < total_bytes {
        let bytes =
            usize::try_from(total_bytes - offset).map_or(LOAD_PIECE_BYTES, |left| left.min(LOAD_PIECE_BYTES));
        let piece = buffer.get_mut(..bytes).unwrap_or_default();
        file.read_at(offset, piece)?;
        take(offset, piece)?;
        offset += bytes as u64;
        progress(Progress { done_bytes: offset, total_bytes });
    }
    Ok(())
}

fn finish(hasher: blake3::Hasher) -> Hash {
    Hash(*hasher.finalize().as_bytes())
}
