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

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::RegionError;

const MAGIC: [u8; 8] = *b"1cregion";
const HASHED_HEADER_BYTES: usize = 32;
const HEADER_BYTES: usize = 64;
/// The next value is beside the file, as `<its name>.<process>.new`, until it takes its place.
const TEMPORARY_SUFFIX: &str = ".new";

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
    /// Also removes what processes have left beside the file that were killed while they saved.
    pub(super) fn new(path: PathBuf, layout_hash: u64) -> Self {
        let file = Self { path, layout_hash };
        // What can't be removed is in nobody's way.
        let _ = file.sweep();
        file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
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
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(format!(".{}{TEMPORARY_SUFFIX}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let written =
            write_whole(&temporary, &header(self.layout_hash, version, value), value).and_then(|file| {
                fs::rename(&temporary, &self.path)?;
                // Not before it has its name: it would be taken for a dead process's.
                drop(file);
                // The name is on the disk when the directory is.
                File::open(self.directory())?.sync_all()
            });
        written.map_err(|source| {
            // What is left of the attempt is of no use; that it can't be removed is not the news.
            let _ = fs::remove_file(&temporary);
            self.failed("replace", source)
        })
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        }
    }

    fn sweep(&self) -> io::Result<()> {
        let Some(own_name) = self.path.file_name() else { return Ok(()) };
        for entry in fs::read_dir(self.directory())? {
            let entry = entry?;
            if !is_temporary(&entry.file_name(), own_name) {
                continue;
            }
            // Whoever lives and saves has it locked.
            let file = File::open(entry.path())?;
            if file.try_lock().is_ok() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> RegionError {
        RegionError::File { operation, path: self.path.clone(), source }
    }
}

fn is_temporary(name: &OsStr, of: &OsStr) -> bool {
    let process = name.as_bytes().strip_prefix(of.as_bytes()).and_then(|rest| rest.strip_prefix(b"."));
    process
        .and_then(|rest| rest.strip_suffix(TEMPORARY_SUFFIX.as_bytes()))
        .is_some_and(|process| !process.is_empty() && process.iter().all(u8::is_ascii_digit))
}

/// Gives the file, locked as long as it is open.
fn write_whole(path: &Path, header: &[u8], value: &[u8]) -> io::Result<File> {
    let mut file = loop {
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        // Where files can't be locked, nobody else locks it to remove it either.
        let _ = file.lock();
        // Somebody may have removed it before it was locked.
        if file.metadata()?.nlink() > 0 {
            break file;
        }
    };
    file.write_all(header)?;
    file.write_all(value)?;
    file.sync_all()?;
    Ok(file)
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
        let left = |process: &str| directory.path().join(format!("settings.{process}.new"));
        let saving = write_whole(&left("1"), &[], b"by one that lives").unwrap();
        drop(write_whole(&left("2"), &[], b"by one that died").unwrap());
        fs::write(left("mine"), b"not of ours").unwrap();
        ValueFile::new(path.clone(), 7);
        assert_eq!(["1", "2", "mine"].map(|process| left(process).exists()), [true, false, true]);
        drop(saving);
        let whole = fs::read(&path).unwrap();
        for (index, _) in whole.iter().enumerate() {
            let mut damaged = whole.clone();
            damaged[index] ^= 1;
            assert!(parse(&damaged, 7).is_err(), "byte {index}");
            assert!(parse(&whole[..index], 7).is_err(), "cut at {index}");
        }
    }
}
