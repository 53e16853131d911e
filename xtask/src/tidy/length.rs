//! Files and functions stay short enough to be read in one go.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::finding::Finding;
use super::rust_file::RustFile;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 80;

pub(super) fn check(rust: &RustFile<'_>, findings: &mut Vec<Finding>) {
    let lines = rust.lines.len();
    if lines > FILE_LINES_MAX && !rust.is_test() {
        let message =
            format!("{lines} lines, at most {FILE_LINES_MAX}: move a concept into a file of its own");
        findings.push(Finding::new(rust.path, FILE_LINES_MAX + 1, message));
    }
    Functions { path: rust.path, findings }.visit_file(&rust.syntax);
}

struct Functions<'a> {
    path: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl Functions<'_> {
    fn measure(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let span = body.brace_token.span;
        let lines = span.close().start().line.saturating_sub(span.open().start().line + 1);
        if lines > FUNCTION_LINES_MAX {
            let name = &signature.ident;
            let message = format!(
                "the body of `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}: give its parts names"
            );
            self.findings.push(Finding::new(self.path, signature.fn_token.span().start().line, message));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.measure(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::super::rust_file::findings_of;
    use super::*;

    const PATH: &str = "crates/onecopy/src/node.rs";

    fn function_of(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    step();\n".repeat(lines))
    }

    #[test]
    fn a_long_file_is_found_unless_it_holds_tests() {
        let text = "// line\n".repeat(FILE_LINES_MAX + 1);
        assert_eq!(findings_of(check, PATH, &text).len(), 1);
        assert!(findings_of(check, PATH, &text[8..]).is_empty());
        for path in ["crates/onecopy/tests/chaos.rs", "crates/onecopy/src/broker/tests.rs"] {
            assert!(findings_of(check, path, &text).is_empty(), "{path}");
        }
    }

    #[test]
    fn a_long_function_is_found_wherever_it_stands() {
        let long = function_of(FUNCTION_LINES_MAX + 1);
        let places = [
            long.clone(),
            format!("impl X {{\n{long}}}\n"),
            format!("trait X {{\n{long}}}\n"),
            format!("fn f() {{\n{long}}}\n"),
        ];
        for text in &places {
            let findings = findings_of(check, PATH, text);
            assert!(
                findings.iter().any(|finding| finding.message.contains("`long` has 81 lines")),
                "{findings:?}"
            );
        }
        assert!(findings_of(check, PATH, &function_of(FUNCTION_LINES_MAX)).is_empty());
    }
}
