//! A file that keeps a region's last value from one run to the next. It is replaced as a whole: whoever reads it finds
//! either the value before or the value after, also when the machine loses power in between.
//!
//! ```text
//!  0  magic          "1cregion"
//!  8  layout hash    of the region's type, little-endian
//! 16  version        little-endian
//! 24  length         of the value, little-endian
//! 32  BLAKE3         of the 32 bytes before and the value
//! 64  the value
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::RegionError;

const MAGIC: [u8; 8] = *b"1cregion";
const HASHED_HEADER_BYTES: usize = 32;
const HEADER_BYTES: usize = 64;

/// Where a region's value is kept.
#[derive(Debug)]
pub(super) struct ValueFile {
    path: PathBuf,
    layout_hash: u64,
}

/// A value that was kept.
pub(super) struct Kept {
    pub(super) version: u64,
    pub(super) value: Vec<u8>,
}

impl ValueFile {
    pub(super) fn new(path: PathBuf, layout_hash: u64) -> Self {
        Self { path, layout_hash }
    }

    /// The value, if the file is there.
    pub(super) fn load(&self) -> Result<Option<Kept>, RegionError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.failed("read", source)),
        };
        parse(&bytes, self.layout_hash)
            .map(Some)
            .map_err(|reason| RegionError::ForeignFile { path: self.path.clone(), reason })
    }

    /// Returns when the value is on the disk.
    pub(super) fn save(&self, version: u64, value: &[u8]) -> Result<(), RegionError> {
        let directory = match self.path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        };
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(format!(".{}.new", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let written = write_whole(&temporary, &header(self.layout_hash, version, value), value)
            .and_then(|()| fs::rename(&temporary, &self.path))
            // The name is on the disk when the directory is.
            .and_then(|()| File::open(directory)?.sync_all());
        written.map_err(|source| {
            // What is left of the attempt is of no use; that it can't be removed is not the news.
            let _ = fs::remove_file(&temporary);
            self.failed("replace", source)
        })
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> RegionError {
        RegionError::File { operation, path: self.path.clone(), source }
    }
}

fn write_whole(path: &Path, header: &[u8], value: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(header)?;
    file.write_all(value)?;
    file.sync_all()
}

fn header(layout_hash: u64, version: u64, value: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&layout_hash.to_le_bytes());
    header[16..24].copy_from_slice(&version.to_le_bytes());
    header[24..32].copy_from_slice(&(value.len() as u64).to_le_bytes());
    let hash = hash(&header[..HASHED_HEADER_BYTES], value);
    header[HASHED_HEADER_BYTES..].copy_from_slice(hash.as_bytes());
    header
}

fn hash(header: &[u8], value: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header);
    hasher.update(value);
    hasher.finalize()
}

fn parse(bytes: &[u8], layout_hash: u64) -> Result<Kept, &'static str> {
    let (header, value) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or("it is too short")?;
    let (hashed, expected) = header.split_at(HASHED_HEADER_BYTES);
    let (words, _) = hashed.as_chunks::<8>();
    let &[magic, layout, version, length] = words else { return Err("it is too short") };
    if magic != MAGIC {
        return Err("it is no region's file");
    }
    if u64::from_le_bytes(length) != value.len() as u64 || hash(hashed, value).as_bytes() != expected {
        return Err("it is damaged");
    }
    if u64::from_le_bytes(layout) != layout_hash {
        return Err("its value has another type");
    }
    Ok(Kept { version: u64::from_le_bytes(version), value: value.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_last_is_loaded_and_damage_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("settings");
        let file = ValueFile::new(path.clone(), 7);
        assert!(file.load().unwrap().is_none());
        file.save(1, b"first").unwrap();
        file.save(2, b"second").unwrap();
        let kept = file.load().unwrap().unwrap();
        assert_eq!((kept.version, kept.value.as_slice()), (2, b"second".as_slice()));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
        assert!(matches!(
            ValueFile::new(path.clone(), 8).load(),
            Err(RegionError::ForeignFile { reason: "its value has another type", .. })
        ));
        let whole = fs::read(&path).unwrap();
        for (index, _) in whole.iter().enumerate() {
            let mut damaged = whole.clone();
            damaged[index] ^= 1;
            assert!(parse(&damaged, 7).is_err(), "byte {index}");
            assert!(parse(&whole[..index], 7).is_err(), "cut at {index}");
        }
    }
}
