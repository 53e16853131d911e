//! Each crate declares its policy on unsafe code at its root, where the compiler holds it to it.

use super::finding::Finding;
use super::manifest::Member;
use super::rust_file::RustFile;
use super::tree::Tree;

/// The crate that holds the unsafe code.
const EXEMPT: &str = "crates/onecopy-memory";

/// Crates of which one module may lift the ban, as `forbid` does not let it.
const DENYING: [&str; 1] = ["bench"];

pub(super) fn check(tree: &Tree, members: &[Member], findings: &mut Vec<Finding>) {
    for member in members.iter().filter(|member| member.folder != EXEMPT) {
        let level = if DENYING.contains(&member.folder.as_str()) { "deny" } else { "forbid" };
        let source = format!("{}/src/", member.folder);
        for file in &tree.files {
            let Some(name) = file.path.strip_prefix(&source) else { continue };
            if !is_root(name) {
                continue;
            }
            // One that does not parse is reported by whoever parses all files.
            let Ok(rust) = RustFile::parse(file) else { continue };
            if !rust.syntax.attrs.iter().any(|attribute| bans_unsafe_code(attribute, level)) {
                let message =
                    format!("no `#![{level}(unsafe_code)]`: add it below the crate's documentation");
                findings.push(Finding::new(&file.path, 1, message));
            }
        }
    }
}

fn is_root(name: &str) -> bool {
    matches!(name, "lib.rs" | "main.rs")
        || name.strip_prefix("bin/").is_some_and(|name| name.ends_with(".rs") && !name.contains('/'))
}

fn bans_unsafe_code(attribute: &syn::Attribute, level: &str) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    let is_at_level = list.path.is_ident(level) || list.path.is_ident("forbid");
    is_at_level && list.tokens.clone().into_iter().any(|token| token.to_string() == "unsafe_code")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(folder: &str, file: &str, text: &str) -> usize {
        let path = format!("{folder}/src/{file}");
        let tree = Tree::of(&[(&path, text)]);
        let mut findings = Vec::new();
        check(&tree, &[Member { folder: folder.to_owned(), name: "any".to_owned() }], &mut findings);
        findings.len()
    }

    #[test]
    fn every_root_of_a_crate_needs_the_ban() {
        for file in ["lib.rs", "main.rs", "bin/tool.rs"] {
            assert_eq!(found("crates/onecopy", file, "//! Words.\n"), 1, "{file}");
            assert_eq!(found("crates/onecopy", file, "#![deny(unsafe_code)]\n"), 1, "{file}");
            assert_eq!(found("crates/onecopy", file, "//! Words.\n#![forbid(unsafe_code)]\n"), 0, "{file}");
        }
        assert_eq!(found("crates/onecopy", "node.rs", "//! Words.\n"), 0);
    }

    #[test]
    fn the_exceptions_are_the_crate_with_unsafe_code_and_the_benchmarks() {
        assert_eq!(found("crates/onecopy-memory", "lib.rs", "//! Words.\n"), 0);
        assert_eq!(found("bench", "main.rs", "//! Words.\n"), 1);
        assert_eq!(found("bench", "main.rs", "#![deny(unsafe_code)]\n"), 0);
        assert_eq!(found("bench", "main.rs", "#![forbid(unsafe_code)]\n"), 0);
    }
}
