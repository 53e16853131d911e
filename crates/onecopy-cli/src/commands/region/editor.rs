//! Text in the user's editor. It lies in a file of its own, which goes when the text has arrived, and stays otherwise.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use signal_hook::consts::{SIGINT, SIGQUIT};
use tempfile::TempDir;

use crate::failure::Failure;

/// What POSIX systems have.
const FALLBACK_EDITOR: &str = "vi";

/// Text that is being edited; removed when dropped, unless kept.
pub(super) struct EditedText {
    directory: TempDir,
    path: PathBuf,
    before: String,
}

impl EditedText {
    /// `name` is what the editor shows.
    pub(super) fn new(name: &str, before: String) -> Result<Self, Failure> {
        let failed = || Failure::system("make a file for the editor");
        // Its own directory, so that what the editor puts beside the file goes with it.
        let directory = tempfile::Builder::new().prefix("onecopy-edit-").tempdir().map_err(failed())?;
        let path = directory.path().join(name.replace('/', "-"));
        std::fs::write(&path, &before).map_err(failed())?;
        Ok(Self { directory, path, before })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs the editor until it ends.
    pub(super) fn edit(&self) -> Result<ExitStatus, Failure> {
        // Ctrl-C at the terminal is the editor's affair, as it is for a shell that waits.
        for signal in [SIGINT, SIGQUIT] {
            signal_hook::flag::register(signal, Arc::default())
                .map_err(Failure::system("leave signals to the editor"))?;
        }
        let editor = ["VISUAL", "EDITOR"].into_iter().filter_map(std::env::var_os).find(|it| !it.is_empty());
        let mut command = editor.unwrap_or_else(|| FALLBACK_EDITOR.into());
        // The shell splits it, since it may have arguments.
        command.push(" \"$@\"");
        Command::new("/bin/sh")
            .arg("-c")
            .arg(command)
            .arg("onecopy")
            .arg(&self.path)
            .status()
            .map_err(Failure::system("start the editor"))
    }

    /// What the editor made of it; `None` if nothing changed. An end of the last line that editors like to
    /// add is taken off again where there was none.
    pub(super) fn changed(&self) -> Result<Option<Vec<u8>>, Failure> {
        let read = std::fs::read(&self.path);
        let mut after = read.map_err(Failure::system(format!("read {}", self.path.display())))?;
        if !self.before.is_empty() && !self.before.ends_with('\n') && after.ends_with(b"\n") {
            after.pop();
        }
        Ok((after != self.before.as_bytes()).then_some(after))
    }

    /// Leaves the file where it is.
    pub(super) fn keep(self) -> PathBuf {
        let Self { directory, path, .. } = self;
        // It is where it was.
        let _ = directory.keep();
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(before: &str, after: &str) -> Option<Vec<u8>> {
        let text = EditedText::new("a/b", before.to_owned()).unwrap();
        std::fs::write(text.path(), after).unwrap();
        text.changed().unwrap()
    }

    #[test]
    fn an_added_end_of_line_is_no_change() {
        assert_eq!(after("42", "42\n"), None);
        assert_eq!(after("42", "43\n"), Some(b"43".to_vec()));
        assert_eq!(after("42\n", "43\n"), Some(b"43\n".to_vec()));
        assert_eq!(after("42\n", "42"), Some(b"42".to_vec()));
        assert_eq!(after("", "a\n"), Some(b"a\n".to_vec()));
        assert_eq!(after("", ""), None);
    }

    #[test]
    fn what_is_kept_stays() {
        let text = EditedText::new("a/b", "text".to_owned()).unwrap();
        let (path, directory) = (text.path().to_path_buf(), text.path().parent().unwrap().to_path_buf());
        assert_eq!(path.file_name().unwrap(), "a-b");
        assert_eq!(text.keep(), path);
        assert_eq!(std::fs::read(&path).unwrap(), b"text");
        std::fs::remove_dir_all(&directory).unwrap();
        let text = EditedText::new("a/b", String::new()).unwrap();
        let path = text.path().to_path_buf();
        drop(text);
        assert!(!path.exists());
    }
}
