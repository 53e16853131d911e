//! What a region's memory notes of the file that keeps its value: whoever writes the region next has to write there too,
//! or the next run would begin with an older value. The note goes wherever the memory goes, so it is there as long as the
//! region is, whoever has ended in between, the broker included.
//!
//! It comes from another process, and a path is opened for writing only on the word of our own user. The memory of a
//! single writer has been written by nobody but the process that made it, and the kernel says whose that was. To whoever
//! hands it out for another region, or in another instance, the note is of no use: it says for which one it is. The
//! memory of a shared region all who take part can write, so what is noted there is told, and not followed.
//!
//! ```text
//! instance's socket  0  region's name  0  path of the file
//! ```

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use onecopy_memory::region::{RegionReader, SharedRegion};
use rustix::process::geteuid;

use super::error::RegionError;
use crate::node::handle::NodeHandle;

/// What the memory of a region that has a file says of it.
struct Note {
    path: PathBuf,
    /// It was written by our own user, for this region.
    is_vouched_for: bool,
}

/// The note for a region of this name that is kept in `path`.
pub(super) fn write(node: &NodeHandle, region: &str, path: Option<&Path>) -> Vec<u8> {
    path.map_or_else(Vec::new, |path| [&heading(node, region), path.as_os_str().as_bytes()].concat())
}

/// The path that a note has, if it is one.
pub(super) fn path_in(note: &[u8]) -> Option<PathBuf> {
    let path = note.rsplit(|byte| *byte == 0).next().filter(|_| !note.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

fn heading(node: &NodeHandle, region: &str) -> Vec<u8> {
    let socket = node.socket_path();
    let socket = absolute(socket).unwrap_or_else(|_| socket.to_owned());
    [socket.as_os_str().as_bytes(), b"\0", region.as_bytes(), b"\0"].concat()
}

impl Note {
    fn parse(note: &[u8], heading: &[u8], is_own: bool) -> Option<Self> {
        let path = path_in(note)?;
        let is_for_this = note.starts_with(heading) && path.is_absolute();
        Some(Self { path, is_vouched_for: is_own && is_for_this })
    }

    /// The file to write, if `named` was named when the region was opened.
    fn choose(self, region: &str, named: Option<&Path>) -> Result<PathBuf, RegionError> {
        let region = region.to_owned();
        match named {
            Some(named) if named == self.path => Ok(self.path),
            Some(named) => Err(RegionError::OtherFile { region, path: named.to_owned(), kept_in: self.path }),
            None if self.is_vouched_for => Ok(self.path),
            None => Err(RegionError::FileNotNamed { region, kept_in: self.path }),
        }
    }
}

/// The file of a region with a single writer, which has its memory from `reader` if there is any yet.
pub(super) fn file_of_single(
    node: &NodeHandle,
    region: &str,
    named: Option<&Path>,
    reader: Option<&RegionReader>,
) -> Result<Option<PathBuf>, RegionError> {
    let note = reader.and_then(|reader| {
        let is_own = reader.owner_uid() == geteuid().as_raw();
        Note::parse(&reader.note(), &heading(node, region), is_own)
    });
    match note {
        Some(note) => note.choose(region, named).map(Some),
        // Its next memory notes it.
        None => Ok(named.map(Path::to_owned)),
    }
}

/// Checks the file that was named for a region that several may write. Gives the one that the region has, if none was named:
/// whoever comes to write it has to.
pub(super) fn file_not_named(
    node: &NodeHandle,
    region: &str,
    named: Option<&Path>,
    memory: &SharedRegion,
) -> Result<Option<PathBuf>, RegionError> {
    match (Note::parse(&memory.note(), &heading(node, region), false), named) {
        (None, None) => Ok(None),
        (None, Some(path)) => Err(RegionError::NoFile { region: region.to_owned(), path: path.to_owned() }),
        (Some(note), None) => Ok(Some(note.path)),
        (Some(note), Some(_)) => note.choose(region, named).map(|_| None),
    }
}

/// The path by which everybody finds a file, whether it is there already or not.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, RegionError> {
    let failed = |source: io::Error| RegionError::File { operation: "find", path: path.to_owned(), source };
    let absolute = std::path::absolute(path).map_err(failed)?;
    let (Some(directory), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    };
    match directory.canonicalize() {
        Ok(directory) => Ok(directory.join(name)),
        // Saving to it will fail, and say so.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(absolute),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_our_user_wrote_for_this_region_is_followed() {
        let heading = b"/run/default.sock\0notes\0";
        let note = |heading: &[u8], path: &str| [heading, path.as_bytes()].concat();
        let choose = |note: &[u8], is_own: bool, named: Option<&str>| {
            Note::parse(note, heading, is_own).map(|note| note.choose("notes", named.map(Path::new)))
        };
        let own = note(heading, "/var/notes");
        assert!(choose(b"", true, None).is_none());
        assert!(matches!(choose(&own, true, None), Some(Ok(path)) if path == Path::new("/var/notes")));
        for (note, is_own) in [
            (own.clone(), false),
            (note(b"/run/default.sock\0other\0", "/var/notes"), true),
            (note(b"/run/lab.sock\0notes\0", "/var/notes"), true),
            (note(b"", "/var/notes"), true),
        ] {
            let chosen = choose(&note, is_own, None);
            let Some(Err(RegionError::FileNotNamed { kept_in, .. })) = chosen else { panic!("{chosen:?}") };
            assert_eq!(kept_in, Path::new("/var/notes"));
            assert!(matches!(choose(&note, is_own, Some("/var/notes")), Some(Ok(_))));
        }
        assert!(matches!(choose(&note(heading, "notes"), true, None), Some(Err(_))), "relative to what?");
        assert!(matches!(choose(&own, true, Some("/var/other")), Some(Err(RegionError::OtherFile { .. }))));
    }

    #[test]
    fn one_file_has_one_path() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("real")).unwrap();
        std::os::unix::fs::symlink(real.join("real"), real.join("link")).unwrap();
        let expected = real.join("real/value");
        for path in ["real/value", "link/value", "real/../link/./value"] {
            assert_eq!(absolute(&real.join(path)).unwrap(), expected);
        }
        assert!(absolute(Path::new("")).is_err() && absolute(Path::new("/")).is_err());
    }
}
