//! Where the configuration file is, and whether it may be believed: whoever can write it decides who may do what.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;

use super::error::ConfigError;
use crate::limits::CONFIG_BYTES_MAX;

/// The environment variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "ONECOPY_CONFIG";
/// Where a machine's configuration files are.
pub const SYSTEM_DIRECTORY: &str = "/etc/onecopy";

/// Where the configuration file of an instance may be, the first that counts first. The runtime directory is
/// no place for it: that one ends with the machine, and has nothing but sockets and locks.
pub(super) fn candidates(instance: &str) -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = variable(CONFIG_VARIABLE) {
        return vec![path];
    }
    let own = variable("XDG_CONFIG_HOME")
        .filter(|directory| directory.is_absolute())
        .or_else(|| variable("HOME").map(|home| home.join(".config")));
    let file = format!("{instance}.toml");
    let directories = own.map(|directory| directory.join("onecopy")).into_iter();
    directories.chain([PathBuf::from(SYSTEM_DIRECTORY)]).map(|directory| directory.join(&file)).collect()
}

/// Whether a file that is not there is an error: one that was named has to be.
pub(super) fn is_named() -> bool {
    std::env::var_os(CONFIG_VARIABLE).is_some_and(|value| !value.is_empty())
}

/// The text of the file, or `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    let unreadable = |source: std::io::Error| ConfigError::Unreadable { path: path.to_owned(), source };
    // A pipe must not keep us waiting.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(source) => return Err(unreadable(source.into())),
    };
    let stat = fstat(&file).map_err(|source| unreadable(source.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(ConfigError::NotAFile { path: path.to_owned() });
    }
    let uid = rustix::process::geteuid().as_raw();
    check_trust(path, stat.st_uid, Mode::from_raw_mode(stat.st_mode), uid)?;
    let mut text = String::new();
    let read = File::from(file).take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if read as u64 > CONFIG_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    Ok(Some(text))
}

fn check_trust(path: &Path, owner: u32, mode: Mode, uid: u32) -> Result<(), ConfigError> {
    let path = path.to_owned();
    if owner != uid && owner != 0 {
        return Err(ConfigError::ForeignOwner { path, owner, uid });
    }
    if mode.intersects(Mode::WGRP | Mode::WOTH) {
        return Err(ConfigError::Writable { path, mode: mode.as_raw_mode() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_others_could_have_written_is_refused_with_what_mends_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lab.toml");
        assert!(read(&path).unwrap().is_none());
        std::fs::write(&path, "# nothing").unwrap();
        let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o600, 0o644, 0o444] {
            set(mode);
            assert_eq!(read(&path).unwrap().as_deref(), Some("# nothing"));
        }
        for mode in [0o664, 0o646, 0o622] {
            set(mode);
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("`chmod go-w {}`", path.display())), "{error}");
        }
        let mode = Mode::from_raw_mode(0o644);
        assert!(check_trust(&path, 0, mode, 1000).is_ok() && check_trust(&path, 7, mode, 7).is_ok());
        let error = check_trust(&path, 7, mode, 1000).unwrap_err().to_string();
        assert!(error.contains(&format!("`sudo chown 1000 {}`", path.display())), "{error}");
    }

    #[test]
    fn what_is_no_text_file_of_sensible_size_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(read(directory.path()), Err(ConfigError::NotAFile { .. })));
        let path = directory.path().join("large.toml");
        std::fs::write(&path, vec![b'#'; CONFIG_BYTES_MAX as usize + 1]).unwrap();
        assert!(matches!(read(&path), Err(ConfigError::TooLarge { .. })));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(matches!(read(&path), Err(ConfigError::Unreadable { .. })));
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(matches!(read(&pipe), Err(ConfigError::NotAFile { .. })));
    }
}
