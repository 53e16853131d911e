//! Nothing unfinished is left in the tree: neither a word that says so nor a macro that stands for missing code.

use super::finding::Finding;
use super::rust_file::RustFile;
use super::tree::TextFile;

/// Written in halves so that this file does not find itself.
const WORDS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

const MACROS: [&str; 3] = ["todo", "unimplemented", "dbg"];

pub(super) fn check_text(file: &TextFile, findings: &mut Vec<Finding>) {
    if file.file_name() == "Cargo.lock" {
        return;
    }
    for (index, line) in file.text.lines().enumerate() {
        let mut words = line.split(|character: char| !character.is_alphanumeric() && character != '_');
        if let Some(word) = words.find(|word| WORDS.contains(word)) {
            let message =
                format!("{word} marks something unfinished: finish it, or open an issue and remove the mark");
            findings.push(Finding::new(&file.path, index + 1, message));
        }
    }
}

pub(super) fn check_macros(rust: &RustFile<'_>, findings: &mut Vec<Finding>) {
    for (index, token) in rust.tokens.iter().enumerate() {
        let is_call = rust.text_at(index, 1) == "!" && matches!(rust.text_at(index, 2), "(" | "[" | "{");
        if is_call && MACROS.contains(&token.text.as_str()) {
            let message = format!("{}!: write the code, or remove the call", token.text);
            findings.push(Finding::new(rust.path, token.line, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rust_file::findings_of;
    use super::*;

    fn found(path: &str, text: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        check_text(&TextFile { path: path.to_owned(), text: text.to_owned() }, &mut findings);
        findings
    }

    #[test]
    fn each_word_is_found_in_each_kind_of_file() {
        for word in WORDS {
            for path in ["crates/onecopy/src/node.rs", "README.md", "Cargo.toml", ".ci/run"] {
                let findings = found(path, &format!("first\n// {word}: later\n"));
                assert_eq!(findings.len(), 1, "{word} in {path}");
                assert_eq!(findings[0].line, 2);
            }
        }
    }

    #[test]
    fn words_that_contain_a_marker_are_not_markers() {
        let text =
            WORDS.map(|word| format!("{word}{word} A{word} {word}_SIZE {}", word.to_lowercase())).join("\n");
        assert!(found("README.md", &text).is_empty());
    }

    #[test]
    fn each_macro_is_found_as_a_call_only() {
        for name in MACROS {
            let text = format!("fn f() {{\n    {name}!(x);\n}}\n");
            let findings = findings_of(check_macros, "crates/onecopy/src/node.rs", &text);
            assert_eq!(findings.len(), 1, "{name}");
            assert_eq!(findings[0].line, 2);
        }
        let text = "// dbg!(x)\nfn todo() {}\nfn f() {\n    if dbg != 1 { todo() }\n}\n";
        assert!(findings_of(check_macros, "crates/onecopy/src/node.rs", text).is_empty());
    }
}
