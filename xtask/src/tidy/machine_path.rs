//! Nothing in the tree depends on where somebody keeps it: no path of one person's machine.

use super::finding::Finding;
use super::tree::TextFile;

/// Written in halves so that this file does not find itself.
const FOLDERS: [&str; 3] = [concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/ro", "ot/")];

pub(super) fn check(file: &TextFile, findings: &mut Vec<Finding>) {
    for (index, line) in file.text.lines().enumerate() {
        if let Some(folder) = FOLDERS.iter().find(|folder| contains_absolute(line, folder)) {
            let message = format!(
                "{folder}… is a path of this machine: write it relative to the repository, or find it at run time"
            );
            findings.push(Finding::new(&file.path, index + 1, message));
        }
    }
}

/// Whether the folder occurs at the beginning of a path, not inside a relative one.
fn contains_absolute(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || "._-~}*)".contains(before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> usize {
        let mut findings = Vec::new();
        check(&TextFile { path: "README.md".to_owned(), text: format!("first\n{line}\n") }, &mut findings);
        assert!(findings.iter().all(|finding| finding.line == 2));
        findings.len()
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        for folder in FOLDERS {
            for before in ["", "cd ", "\"", "`", "=", "file://"] {
                assert_eq!(found(&format!("{before}{folder}someone")), 1, "{before}{folder}");
            }
        }
    }

    #[test]
    fn relative_paths_are_not() {
        for folder in FOLDERS {
            for before in ["docs", "..", "~", "crates/x"] {
                assert_eq!(found(&format!("{before}{folder}page.md")), 0, "{before}{folder}");
            }
        }
        assert_eq!(found("/tmp/onecopy and /dev/shm"), 0);
    }
}
