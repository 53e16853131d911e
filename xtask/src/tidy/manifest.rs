//! Each dependency says in a comment above it why the project carries it. Asked where the version is chosen: what
//! comes from the workspace's list has its reason there, and the project's own crates need none.

use anyhow::Context;
use toml_edit::{Document, Item, Key, TableLike};

use super::finding::Finding;
use super::tree::{TextFile, Tree};

const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// A package of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// From the root of the repository.
    pub(super) folder: String,
    pub(super) name: String,
}

/// The packages that the root's manifest names.
pub(super) fn members(tree: &Tree) -> anyhow::Result<Vec<Member>> {
    let root = tree.file("Cargo.toml").context("no Cargo.toml at the root of the repository")?;
    let manifest = parse(root)?;
    let folders =
        manifest.get("workspace").and_then(|workspace| workspace.get("members")).and_then(Item::as_array);
    let folders = folders.context("Cargo.toml: no list `members` under [workspace]")?;
    let mut members = Vec::new();
    for folder in folders {
        let folder = folder.as_str().context("Cargo.toml: a member of the workspace is not a string")?;
        let path = format!("{folder}/Cargo.toml");
        let file = tree
            .file(&path)
            .with_context(|| format!("Cargo.toml names the member {folder}, but {path} is missing"))?;
        let manifest = parse(file)?;
        let name = manifest.get("package").and_then(|package| package.get("name")).and_then(Item::as_str);
        let name = name.with_context(|| format!("{path}: no package name"))?.to_owned();
        members.push(Member { folder: folder.to_owned(), name });
    }
    Ok(members)
}

pub(super) fn check(file: &TextFile, findings: &mut Vec<Finding>) -> anyhow::Result<()> {
    let manifest = parse(file)?;
    check_tables(manifest.as_table(), file, findings);
    if let Some(workspace) = manifest.get("workspace").and_then(Item::as_table_like) {
        check_tables(workspace, file, findings);
    }
    if let Some(targets) = manifest.get("target").and_then(Item::as_table_like) {
        for (_, target) in targets.iter() {
            if let Some(target) = target.as_table_like() {
                check_tables(target, file, findings);
            }
        }
    }
    Ok(())
}

fn parse(file: &TextFile) -> anyhow::Result<Document<&str>> {
    Document::parse(file.text.as_str()).with_context(|| format!("{} is not valid TOML", file.path))
}

fn check_tables(parent: &dyn TableLike, file: &TextFile, findings: &mut Vec<Finding>) {
    for table in TABLES.iter().filter_map(|name| parent.get(name)?.as_table_like()) {
        for (name, dependency) in table.iter() {
            if has_reason_elsewhere(dependency) {
                continue;
            }
            let line = line_of(table.key(name), dependency, &file.text);
            let above = file.text.lines().nth(line.saturating_sub(2)).unwrap_or_default();
            if line < 2 || !above.trim_start().starts_with('#') {
                let message =
                    format!("dependency `{name}` without a reason: say in a comment above it what it is for");
                findings.push(Finding::new(&file.path, line, message));
            }
        }
    }
}

fn has_reason_elsewhere(dependency: &Item) -> bool {
    dependency.get("path").is_some() || dependency.get("workspace").is_some()
}

fn line_of(key: Option<&Key>, dependency: &Item, text: &str) -> usize {
    // A dependency with a table of its own begins at the table's heading.
    let heading = dependency.as_table().filter(|table| !table.is_dotted()).and_then(toml_edit::Table::span);
    let start = heading.or_else(|| key?.span()).map_or(0, |span| span.start);
    text.get(..start).map_or(1, |before| before.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<usize> {
        let mut findings = Vec::new();
        check(&TextFile { path: "Cargo.toml".to_owned(), text: text.to_owned() }, &mut findings).unwrap();
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_dependency_without_a_reason_is_found_in_every_table() {
        for table in [
            "dependencies",
            "dev-dependencies",
            "build-dependencies",
            "workspace.dependencies",
            "target.'cfg(loom)'.dependencies",
        ] {
            assert_eq!(found(&format!("[{table}]\nserde = \"1\"\n")), [2], "{table}");
            assert_eq!(
                found(&format!("[{table}]\n# Packets.\nserde = \"1\"\nclap = \"4\"\n")),
                [4],
                "{table}"
            );
            assert_eq!(found(&format!("[{table}]\n# Packets.\nserde = \"1\"\n")), [], "{table}");
        }
    }

    #[test]
    fn every_way_to_write_a_dependency_is_understood() {
        assert_eq!(found("[package]\n\n[dependencies.serde]\nversion = \"1\"\n"), [3]);
        assert_eq!(found("[package]\n# Packets.\n[dependencies.serde]\nversion = \"1\"\n"), []);
        assert_eq!(
            found("[dependencies]\nserde = { version = \"1\", features = [\n    \"derive\",\n] }\n"),
            [2]
        );
        assert_eq!(found("[dependencies]\nserde.version = \"1\"\n"), [2]);
    }

    #[test]
    fn a_reason_given_elsewhere_is_enough() {
        assert_eq!(
            found("[dependencies]\nserde = { workspace = true, features = [] }\nclap.workspace = true\n"),
            []
        );
        assert_eq!(found("[dependencies]\nonecopy = { path = \"../onecopy\" }\n"), []);
    }

    #[test]
    fn members_are_read_from_the_manifests() {
        let tree = Tree::of(&[
            ("Cargo.toml", "[workspace]\nmembers = [\"crates/one\"]\n"),
            ("crates/one/Cargo.toml", "[package]\nname = \"first\"\n"),
        ]);
        let expected = Member { folder: "crates/one".to_owned(), name: "first".to_owned() };
        assert_eq!(members(&tree).unwrap(), [expected]);
        let broken = Tree::of(&[("Cargo.toml", "[workspace]\nmembers = [\"crates/one\"]\n")]);
        assert!(members(&broken).unwrap_err().to_string().contains("crates/one/Cargo.toml"));
    }
}
