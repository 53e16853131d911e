//! The files that make up the repository, read once. Found by walking, not by asking git, so that tidy also works
//! on an unpacked archive and in a container where git distrusts the folder's owner.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;

/// What is built or generated, as the root's `.gitignore` lists it.
const IGNORED_FOLDERS: [&str; 6] =
    [".git", "target", "fuzz/target", "fuzz/corpus", "fuzz/artifacts", "fuzz/coverage"];

/// A file of text.
#[derive(Debug)]
pub(super) struct TextFile {
    /// From the root of the repository, with forward slashes.
    pub(super) path: String,
    pub(super) text: String,
}

impl TextFile {
    pub(super) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// The repository.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// The files that are text, by path.
    pub(super) files: Vec<TextFile>,
    /// Every file and folder, text or not.
    pub(super) paths: BTreeSet<String>,
}

impl Tree {
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        tree.read_folder(root, "")?;
        tree.files.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(tree)
    }

    fn read_folder(&mut self, root: &Path, folder: &str) -> anyhow::Result<()> {
        let location = root.join(folder);
        let entries =
            std::fs::read_dir(&location).with_context(|| format!("cannot list {}", location.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().with_context(|| format!("not UTF-8: {}", entry.path().display()))?;
            let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            if IGNORED_FOLDERS.contains(&path.as_str()) {
                continue;
            }
            self.paths.insert(path.clone());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.read_folder(root, &path)?;
            } else if kind.is_file() {
                let bytes = std::fs::read(entry.path()).with_context(|| format!("cannot read {path}"))?;
                // What is not UTF-8 is a picture or the like, which no rule is about.
                if let Ok(text) = String::from_utf8(bytes) {
                    self.files.push(TextFile { path, text });
                }
            }
        }
        Ok(())
    }

    /// The text file at exactly this path.
    pub(super) fn file(&self, path: &str) -> Option<&TextFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// A tree of the given paths and texts.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            let parents = path.match_indices('/').map(|(end, _)| path[..end].to_owned());
            tree.paths.extend(parents.chain([(*path).to_owned()]));
            tree.files.push(TextFile { path: (*path).to_owned(), text: (*text).to_owned() });
        }
        tree
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_output_and_binary_files_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["target", "crates/one", "fuzz/corpus"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for file in ["target/out.rs", "crates/one/a.rs", "fuzz/corpus/seed", "b.md"] {
            std::fs::write(root.path().join(file), "text").unwrap();
        }
        std::fs::write(root.path().join("picture"), [0xff, 0xfe]).unwrap();
        let tree = Tree::read(root.path()).unwrap();
        let paths: Vec<_> = tree.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["b.md", "crates/one/a.rs"]);
        assert!(tree.paths.contains("crates/one") && tree.paths.contains("picture"));
        assert!(!tree.paths.contains("target"));
    }
}
