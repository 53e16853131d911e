//! The map of the code stays a map: what ARCHITECTURE.md names exists, and every crate is on it.

use super::finding::Finding;
use super::manifest::Member;
use super::tree::Tree;

const MAP: &str = "ARCHITECTURE.md";
const FILE_ENDINGS: [&str; 3] = [".rs", ".md", ".toml"];

/// What one builds or fetches is not there in a clean clone.
const GENERATED: [&str; 1] = ["target/"];

pub(super) fn check(tree: &Tree, members: &[Member], findings: &mut Vec<Finding>) {
    let Some(map) = tree.file(MAP) else {
        findings.push(Finding::new(MAP, 1, "missing: write the map of the code that a newcomer reads first"));
        return;
    };
    let spans = code_spans(&map.text);
    for (line, span) in &spans {
        if looks_like_path(span) && !exists(tree, span) {
            let message = format!(
                "`{span}` does not exist: name the file or folder as it is now (or, if it is not meant as a path, \
                 write it without backticks)"
            );
            findings.push(Finding::new(MAP, *line, message));
        }
    }
    for member in members {
        let is_listed = spans.iter().any(|(_, span)| {
            [&member.name, &member.folder].contains(&&span.trim_end_matches('/').to_owned())
        });
        if !is_listed {
            let message = format!("crate `{}` is not listed: say what it holds", member.folder);
            findings.push(Finding::new(MAP, 1, message));
        }
    }
}

/// The texts between backticks with their lines; blocks of code are drawings or examples and don't count.
fn code_spans(text: &str) -> Vec<(usize, &str)> {
    let mut spans = Vec::new();
    let mut in_block = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            spans.extend(line.split('`').skip(1).step_by(2).map(|span| (index + 1, span)));
        }
    }
    spans
}

fn looks_like_path(span: &str) -> bool {
    let is_path_character =
        |character: char| character.is_ascii_alphanumeric() || "_-./*".contains(character);
    let is_relative = !span.starts_with('/') && !GENERATED.iter().any(|folder| span.starts_with(folder));
    let has_mark = span.contains('/') || FILE_ENDINGS.iter().any(|ending| span.ends_with(ending));
    is_relative && has_mark && span.chars().all(is_path_character)
}

/// Whether a path of the tree is, or ends in, the one named: a chapter on one crate may leave out its folder.
fn exists(tree: &Tree, named: &str) -> bool {
    let named: Vec<&str> = named.trim_start_matches("./").trim_end_matches('/').split('/').collect();
    tree.paths.iter().any(|path| {
        let parts: Vec<&str> = path.split('/').collect();
        let end = parts.len().checked_sub(named.len()).and_then(|start| parts.get(start..));
        end.is_some_and(|end| end.iter().zip(&named).all(|(part, pattern)| matches(part, pattern)))
    })
}

/// Compares a name with a pattern in which one `*` stands for anything.
fn matches(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern,
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(map: &str) -> Vec<Finding> {
        let tree = Tree::of(&[
            (MAP, map),
            (".ci/run", ""),
            ("crates/onecopy/src/broker/names.rs", ""),
            ("crates/onecopy/tests/loom_ring.rs", ""),
        ]);
        let mut findings = Vec::new();
        check(&tree, &[], &mut findings);
        findings
    }

    #[test]
    fn a_path_that_does_not_exist_is_found() {
        for path in [
            "crates/onecopy/src/gone.rs",
            "gone.rs",
            "docs/gone/",
            "gone.md",
            "crates/gone",
            "tests/gone_*.rs",
        ] {
            let findings = found(&format!("# Map\n\nSee `{path}` there.\n"));
            assert_eq!(findings.len(), 1, "{path}");
            assert_eq!(findings[0].line, 3);
        }
    }

    #[test]
    fn paths_that_exist_may_be_written_in_full_or_from_their_chapter() {
        for path in
            [".ci/run", "crates/onecopy/", "broker/names.rs", "names.rs", "src/broker", "tests/loom_*.rs"]
        {
            assert!(found(&format!("See `{path}`.\n")).is_empty(), "{path}");
        }
        assert_eq!(found("See `ames.rs`.\n").len(), 1);
    }

    #[test]
    fn what_is_not_a_path_of_the_tree_is_left_alone() {
        for span in
            ["/dev/shm", "$XDG_RUNTIME_DIR/onecopy", "Node::open()", "a | b", "target/doc", "<instance>.sock"]
        {
            assert!(found(&format!("See `{span}`.\n")).is_empty(), "{span}");
        }
        assert!(found("```text\na `gone/x.rs` b\n```\n").is_empty());
    }

    #[test]
    fn a_crate_that_is_not_on_the_map_is_found() {
        let member = Member { folder: "crates/onecopy".to_owned(), name: "onecopy".to_owned() };
        let count = |map: &str| {
            let tree = Tree::of(&[(MAP, map), ("crates/onecopy/Cargo.toml", "")]);
            let mut findings = Vec::new();
            check(&tree, std::slice::from_ref(&member), &mut findings);
            findings.len()
        };
        assert_eq!(count("The onecopy library, and `onecopy-cli`.\n"), 1);
        assert_eq!(count("| `onecopy` | the library |\n"), 0);
        assert_eq!(count("| `crates/onecopy/` | the library |\n"), 0);
    }

    #[test]
    fn a_missing_map_is_found() {
        let mut findings = Vec::new();
        check(&Tree::of(&[]), &[], &mut findings);
        assert_eq!(findings.len(), 1);
    }
}
