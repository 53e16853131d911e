//! Unsafe code stands in one crate only, and each use of it says why it is sound.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::finding::Finding;
use super::rust_file::{RustFile, Token, flatten};

/// Where unsafe code may stand: a folder ends in a slash, anything else is a file.
const ALLOWED: [&str; 3] = [
    "crates/onecopy-memory/",
    "bench/src/shared_memory.rs",
    // The interface of the rival that it measures is unsafe.
    "bench/src/regions/mmap_sync.rs",
];

const ARGUMENT: &str = "SAFETY:";
const CONTRACT: &str = "# Safety";

pub(super) fn check(rust: &RustFile<'_>, findings: &mut Vec<Finding>) {
    if !ALLOWED
        .iter()
        .any(|place| rust.path == *place || place.ends_with('/') && rust.path.starts_with(place))
    {
        for token in rust.tokens.iter().filter(|token| token.text == "unsafe") {
            let message = "unsafe code outside crates/onecopy-memory: move it there, behind a safe interface";
            findings.push(Finding::new(rust.path, token.line, message));
        }
        return;
    }
    let mut uses = UnsafeUses { rust, findings, statement_line: 0 };
    uses.visit_file(&rust.syntax);
}

struct UnsafeUses<'a> {
    rust: &'a RustFile<'a>,
    findings: &'a mut Vec<Finding>,
    /// First line of the innermost statement, item or match arm: the argument may also stand above that.
    statement_line: usize,
}

impl UnsafeUses<'_> {
    fn require_argument(&mut self, line: usize, what: &str) {
        let argued =
            [line, self.statement_line].iter().any(|line| self.rust.comment_above_contains(*line, ARGUMENT));
        if !argued {
            let message = format!(
                "unsafe {what} without its argument: say in a `// {ARGUMENT}` comment right above why it is sound"
            );
            self.findings.push(Finding::new(self.rust.path, line, message));
        }
    }

    fn require_contract(&mut self, attributes: &[syn::Attribute], line: usize, what: &str) {
        if !attributes.iter().any(is_contract) {
            let message = format!(
                "unsafe {what} without its contract: document under `{CONTRACT}` what its user must see to"
            );
            self.findings.push(Finding::new(self.rust.path, line, message));
        }
    }

    fn require_function_contract(&mut self, attributes: &[syn::Attribute], signature: &syn::Signature) {
        if let syn::Safety::Unsafe(word) = &signature.safety {
            self.require_contract(attributes, word.span.start().line, "function");
        }
    }

    fn within(&mut self, line: usize, visit: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.statement_line, line);
        visit(self);
        self.statement_line = outer;
    }

    /// Syntax inside a macro call is not parsed: the blocks and impls in it are found by their words.
    fn check_macro_tokens(&mut self, tokens: &[Token]) {
        for pair in tokens.windows(2) {
            let [word, next] = pair else { continue };
            match next.text.as_str() {
                "{" if word.text == "unsafe" => self.require_argument(word.line, "block in a macro"),
                "impl" if word.text == "unsafe" => self.require_argument(word.line, "impl in a macro"),
                _ => {}
            }
        }
    }
}

fn is_contract(attribute: &syn::Attribute) -> bool {
    let syn::Meta::NameValue(pair) = &attribute.meta else { return false };
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else { return false };
    pair.path.is_ident("doc") && text.value().contains(CONTRACT)
}

impl<'ast> Visit<'ast> for UnsafeUses<'_> {
    fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
        self.within(statement.span().start().line, |uses| visit::visit_stmt(uses, statement));
    }

    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.within(item.span().start().line, |uses| visit::visit_item(uses, item));
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        self.within(item.span().start().line, |uses| visit::visit_impl_item(uses, item));
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        self.within(arm.span().start().line, |uses| visit::visit_arm(uses, arm));
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.require_argument(block.unsafe_token.span.start().line, "block");
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(word) = &item.unsafety {
            self.require_argument(word.span.start().line, "impl");
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        if let Some(word) = &item.unsafety {
            self.require_argument(word.span.start().line, "extern block");
        }
        visit::visit_item_foreign_mod(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if let Some(word) = &item.unsafety {
            self.require_contract(&item.attrs, word.span.start().line, "trait");
        }
        visit::visit_item_trait(self, item);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.require_function_contract(&function.attrs, &function.sig);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.require_function_contract(&function.attrs, &function.sig);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.require_function_contract(&function.attrs, &function.sig);
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let mut tokens = Vec::new();
        flatten(call.tokens.clone(), &mut tokens);
        self.check_macro_tokens(&tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::super::rust_file::findings_of;
    use super::*;

    const INSIDE: &str = "crates/onecopy-memory/src/segment.rs";

    fn found(text: &str) -> Vec<usize> {
        findings_of(check, INSIDE, text).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn unsafe_code_stands_in_its_place_only() {
        let text = "fn f() {\n    // SAFETY: argued.\n    unsafe { g() }\n}\n";
        for path in [
            "crates/onecopy/src/node.rs",
            "bench/src/main.rs",
            "fuzz/fuzz_targets/ring.rs",
            "xtask/src/main.rs",
        ] {
            let findings = findings_of(check, path, text);
            assert_eq!(findings.len(), 1, "{path}");
            assert_eq!(findings[0].line, 3);
        }
        for path in [
            INSIDE,
            "crates/onecopy-memory/tests/mapping.rs",
            "bench/src/shared_memory.rs",
            "bench/src/regions/mmap_sync.rs",
        ] {
            assert!(findings_of(check, path, text).is_empty(), "{path}");
        }
    }

    #[test]
    fn words_about_unsafe_code_are_not_unsafe_code() {
        let text = "#![forbid(unsafe_code)]\n//! Nothing unsafe here.\n// unsafe { g() }\nconst X: &str = \"unsafe { g() }\";\n";
        assert!(findings_of(check, "crates/onecopy/src/lib.rs", text).is_empty());
    }

    #[test]
    fn an_unsafe_block_needs_its_argument() {
        assert_eq!(found("fn f() {\n    unsafe { g() }\n}\n"), [2]);
        assert_eq!(
            found("fn f() {\n    // SAFETY: not right above.\n    h();\n    unsafe { g() }\n}\n"),
            [4]
        );
        assert_eq!(found("fn f() {\n    // Safe, really.\n    unsafe { g() }\n}\n"), [3]);
        assert_eq!(found("fn f() {\n    // SAFETY: argued\n    // at length.\n    unsafe { g() }\n}\n"), []);
        assert_eq!(
            found("fn f() {\n    // SAFETY: argued.\n    let x = h(\n        unsafe { g() },\n    );\n}\n"),
            []
        );
        assert_eq!(
            found(
                "fn f() {\n    // SAFETY: argued.\n    h(|| {\n        g();\n        unsafe { g() }\n    });\n}\n"
            ),
            [5]
        );
    }

    #[test]
    fn an_unsafe_block_in_a_macro_needs_its_argument() {
        assert_eq!(found("fn f() {\n    assert!(unsafe { g() });\n}\n"), [2]);
        assert_eq!(found("macro_rules! m {\n    () => {\n        unsafe { g() }\n    };\n}\n"), [3]);
        assert_eq!(found("fn f() {\n    // SAFETY: argued.\n    assert!(unsafe { g() });\n}\n"), []);
    }

    #[test]
    fn an_unsafe_impl_needs_its_argument() {
        assert_eq!(found("unsafe impl Send for X {}\n"), [1]);
        assert_eq!(found("// SAFETY: argued.\n#[rustfmt::skip]\nunsafe impl Send for X {}\n"), []);
        assert_eq!(found("// SAFETY: argued.\nunsafe impl Send for X {}\nunsafe impl Sync for X {}\n"), [3]);
    }

    #[test]
    fn an_unsafe_function_or_trait_needs_its_contract() {
        assert_eq!(found("/// Does it.\nunsafe fn f() {}\n"), [2]);
        assert_eq!(found("/// Does it.\n///\n/// # Safety\n/// Once only.\nunsafe fn f() {}\n"), []);
        assert_eq!(found("impl X {\n    unsafe fn f() {}\n}\n"), [2]);
        assert_eq!(found("trait X {\n    unsafe fn f();\n}\n"), [2]);
        assert_eq!(found("unsafe trait X {}\n"), [1]);
        assert_eq!(found("/// # Safety\n/// Plain data.\nunsafe trait X {}\n"), []);
    }
}
