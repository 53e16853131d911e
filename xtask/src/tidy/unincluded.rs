//! Every source belongs to something: a module that no file names is not compiled, and nobody notices that it
//! does not hold.

use std::collections::BTreeSet;

use super::finding::Finding;
use super::rust_file::RustFile;
use super::tree::Tree;

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let mut included = BTreeSet::new();
    for file in tree.files.iter().filter(|file| file.path.ends_with(".rs")) {
        // One that does not parse is reported by whoever parses all files.
        if let Ok(rust) = RustFile::parse(file) {
            note_modules(&rust.syntax.items, &folder_of_modules(&file.path), &file.path, &mut included);
        }
    }
    for file in tree.files.iter().filter(|file| file.path.ends_with(".rs")) {
        if !is_root(tree, &file.path) && !included.contains(&file.path) {
            let message = "no module includes this file: name it with `mod`, or remove it";
            findings.push(Finding::new(&file.path, 1, message));
        }
    }
}

/// What Cargo compiles by itself: the roots of crates, tests, examples, and targets that a manifest names.
fn is_root(tree: &Tree, path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let (parent, last) = folder.rsplit_once('/').unwrap_or(("", folder));
    let is_package = |folder: &str| tree.file(&format!("{folder}/Cargo.toml")).is_some();
    match last {
        "src" => is_package(parent) && matches!(name, "lib.rs" | "main.rs"),
        "tests" | "examples" | "benches" | "fuzz_targets" => is_package(parent),
        "bin" => parent.strip_suffix("/src").is_some_and(is_package),
        _ => is_package(folder) && name == "build.rs",
    }
}

/// Where the files of a file's modules are.
fn folder_of_modules(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_in_tests =
        matches!(folder.rsplit('/').next(), Some("tests" | "examples" | "benches" | "fuzz_targets"));
    match name {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        // The root of a crate of its own.
        _ if is_in_tests => folder.to_owned(),
        name => format!("{folder}/{}", name.trim_end_matches(".rs")),
    }
}

/// Notes the files that modules without a body may be in.
fn note_modules(items: &[syn::Item], folder: &str, path: &str, included: &mut BTreeSet<String>) {
    for item in items {
        let syn::Item::Mod(module) = item else { continue };
        let name = module.ident.to_string();
        let name = name.trim_start_matches("r#");
        if let Some((_, items)) = &module.content {
            note_modules(items, &format!("{folder}/{name}"), path, included);
        } else if let Some(elsewhere) = module.attrs.iter().find_map(path_attribute) {
            let (beside, _) = path.rsplit_once('/').unwrap_or(("", path));
            included.insert(resolve(beside, &elsewhere));
        } else {
            included.insert(format!("{folder}/{name}.rs"));
            included.insert(format!("{folder}/{name}/mod.rs"));
        }
    }
}

fn path_attribute(attribute: &syn::Attribute) -> Option<String> {
    let syn::Meta::NameValue(value) = &attribute.meta else { return None };
    match &value.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) if value.path.is_ident("path") => {
            Some(text.value())
        }
        _ => None,
    }
}

/// The path from the root of the repository.
fn resolve(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').collect();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let mut findings = Vec::new();
        check(&Tree::of(files), &mut findings);
        findings.into_iter().map(|finding| finding.path).collect()
    }

    #[test]
    fn a_file_that_nothing_names_is_found() {
        let files = [
            ("crates/one/Cargo.toml", ""),
            ("crates/one/src/lib.rs", "mod a;\nmod b;\nmod inner { mod deep; }\n"),
            ("crates/one/src/a.rs", "mod c;\n"),
            ("crates/one/src/a/c.rs", ""),
            ("crates/one/src/b/mod.rs", "#[cfg(test)]\nmod tests;\n"),
            ("crates/one/src/b/tests.rs", ""),
            ("crates/one/src/inner/deep.rs", ""),
            ("crates/one/src/c.rs", ""),
            ("crates/one/src/a/mod_of_nobody.rs", ""),
            ("crates/one/tests/whole.rs", "mod common;\n"),
            ("crates/one/tests/common/mod.rs", ""),
            ("crates/one/tests/other/mod.rs", ""),
        ];
        assert_eq!(
            found(&files),
            ["crates/one/src/c.rs", "crates/one/src/a/mod_of_nobody.rs", "crates/one/tests/other/mod.rs"]
        );
    }

    #[test]
    fn a_file_may_be_named_by_its_path() {
        let files = [
            ("fuzz/Cargo.toml", ""),
            ("fuzz/fuzz_targets/one.rs", "#[path = \"../../crates/one/src/part.rs\"]\nmod part;\n"),
            ("crates/one/Cargo.toml", ""),
            ("crates/one/src/main.rs", ""),
            ("crates/one/src/part.rs", ""),
        ];
        assert_eq!(found(&files), [""; 0]);
    }
}
