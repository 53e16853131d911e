//! `cargo xtask tidy`: what must be true of the tree and what no compiler checks. A rule is a module with one
//! function that reads the tree and adds findings; its tests show that it can fail.

mod architecture;
mod crate_root;
mod finding;
mod length;
mod machine_path;
mod manifest;
mod marker;
mod rust_file;
mod sleep;
mod tree;
mod unincluded;
mod unsafe_code;

use anyhow::bail;
use finding::Finding;
use rust_file::RustFile;
use tree::Tree;

pub(crate) fn run() -> anyhow::Result<()> {
    let tree = Tree::read(&crate::workspace::root())?;
    let findings = check(&tree)?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings, listed above", findings.len());
    }
    eprintln!("tidy: {} files, nothing to mend", tree.files.len());
    Ok(())
}

fn check(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in &tree.files {
        marker::check_text(file, &mut findings);
        machine_path::check(file, &mut findings);
        if file.path.ends_with(".rs") {
            match RustFile::parse(file) {
                Ok(rust) => check_rust(&rust, &mut findings),
                Err(finding) => findings.push(finding),
            }
        }
        if file.file_name() == "Cargo.toml" {
            manifest::check(file, &mut findings)?;
        }
    }
    let members = manifest::members(tree)?;
    crate_root::check(tree, &members, &mut findings);
    unincluded::check(tree, &mut findings);
    architecture::check(tree, &members, &mut findings);
    findings.sort();
    Ok(findings)
}

fn check_rust(rust: &RustFile<'_>, findings: &mut Vec<Finding>) {
    length::check(rust, findings);
    marker::check_macros(rust, findings);
    sleep::check(rust, findings);
    unsafe_code::check(rust, findings);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_does_not_parse_is_a_finding() {
        let tree = Tree::of(&[
            ("Cargo.toml", "[workspace]\nmembers = []\n"),
            ("ARCHITECTURE.md", "# Map\n"),
            ("crates/onecopy/Cargo.toml", ""),
            ("crates/onecopy/src/lib.rs", "fn main() {\n    let = 1;\n}\n"),
        ]);
        let findings = check(&tree).unwrap();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!((findings[0].path.as_str(), findings[0].line), ("crates/onecopy/src/lib.rs", 2));
    }

    #[test]
    fn every_rule_is_run_on_the_tree() {
        let tree = Tree::of(&[
            ("Cargo.toml", "[workspace]\nmembers = [\"crates/onecopy\"]\n"),
            ("ARCHITECTURE.md", "The library is `crates/onecopy`, and `absent.rs`.\n"),
            ("crates/onecopy/Cargo.toml", "[package]\nname = \"onecopy\"\n[dependencies]\nserde = \"1\"\n"),
            ("crates/onecopy/src/forgotten.rs", ""),
            (
                "crates/onecopy/src/lib.rs",
                concat!(
                    "// TO",
                    "DO, see /ho",
                    "me/me\n",
                    "fn f() {\n    unsafe { g() }\n    std::thread::sleep(x);\n    dbg!(x);\n}\n"
                ),
            ),
        ]);
        let findings: Vec<String> = check(&tree).unwrap().iter().map(ToString::to_string).collect();
        for expected in [
            "absent.rs",
            "no module",
            "serde",
            "unfinished",
            "this machine",
            "unsafe",
            "sleep",
            "dbg!",
            "#![forbid",
        ] {
            assert!(findings.iter().any(|finding| finding.contains(expected)), "{expected}: {findings:#?}");
        }
    }
}
