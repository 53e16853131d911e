//! Files that a rival leaves when a measurement ends or is broken off, told from others' by this program's prefix and
//! the id of the process that measured.

use std::path::Path;

/// Removes what in `folders` is named `prefix`, a process's id, `_` and anything, if that process is this one
/// or gone.
pub(crate) fn remove(prefix: &str, folders: &[&str]) {
    let is_ours = |name: &str| {
        let Some((pid, _)) = name.strip_prefix(prefix).and_then(|rest| rest.split_once('_')) else {
            return false;
        };
        pid == std::process::id().to_string() || !Path::new("/proc").join(pid).exists()
    };
    for folder in folders {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_ours)) {
            let path = entry.path();
            let removed =
                if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            if let Err(error) = removed {
                eprintln!("cannot remove what a measurement left at {}: {error}", path.display());
            }
        }
    }
}
