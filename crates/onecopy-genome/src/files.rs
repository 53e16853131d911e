//! What files of this crate have in common: how they get their names, and what lies beside a BAM file.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::GenomeError;

/// `path` with something behind its name.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// The folder that holds `path`.
pub(crate) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Temporary files are for their owner only; results are for everyone whom the folder lets in.
pub(crate) fn make_ordinary(file: &File) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(0o644))
}

/// Writes a small file as a whole, or not at all.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), GenomeError> {
    let written = tempfile::NamedTempFile::new_in(folder(path)).and_then(|mut file| {
        file.write_all(content)?;
        make_ordinary(file.as_file())?;
        file.persist(path).map_err(|error| error.error)
    });
    written.map(drop).map_err(GenomeError::file("write", path))
}

/// Keeps a file for the next time, if the folder lets us: it may be somebody else's.
pub(crate) fn write_if_possible(path: &Path, content: &[u8]) -> Result<(), GenomeError> {
    keep(path, |temporary| std::fs::write(temporary, content))
}

/// The same for content that `write` puts into a file that it is given.
pub(crate) fn keep(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), GenomeError> {
    let written = tempfile::NamedTempFile::new_in(folder(path)).and_then(|file| {
        write(file.path())?;
        make_ordinary(file.as_file())?;
        file.persist(path).map_err(|error| error.error)
    });
    match written {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            Ok(())
        }
        other => other.map(drop).map_err(GenomeError::file("write", path)),
    }
}
