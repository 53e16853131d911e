//! A Rust source in the three forms that rules ask about: lines for comments, a flat list of tokens for words that
//! may also stand inside macros, and the syntax tree for everything with a beginning and an end.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::finding::Finding;
use super::tree::TextFile;

/// One token, groups flattened into their brackets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    /// Counted from 1.
    pub(super) line: usize,
}

/// A parsed source file.
pub(super) struct RustFile<'tree> {
    pub(super) path: &'tree str,
    pub(super) lines: Vec<&'tree str>,
    pub(super) tokens: Vec<Token>,
    pub(super) syntax: syn::File,
}

impl<'tree> RustFile<'tree> {
    pub(super) fn parse(file: &'tree TextFile) -> Result<Self, Finding> {
        let not_rust = |error: syn::Error| {
            let line = error.span().start().line;
            Finding::new(&file.path, line, format!("does not parse ({error}): mend the syntax"))
        };
        let syntax = syn::parse_file(&file.text).map_err(not_rust)?;
        let stream: TokenStream = syn::parse_str(&file.text).map_err(not_rust)?;
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        Ok(Self { path: &file.path, lines: file.text.lines().collect(), tokens, syntax })
    }

    /// Whether the file holds nothing but tests.
    pub(super) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }

    /// The token `distance` places from the one at `index`, or an empty text.
    pub(super) fn text_at(&self, index: usize, distance: isize) -> &str {
        let token = index.checked_add_signed(distance).and_then(|index| self.tokens.get(index));
        token.map_or("", |token| token.text.as_str())
    }

    /// Whether the comment that ends right above the line (attributes may stand between) contains the words.
    pub(super) fn comment_above_contains(&self, line: usize, words: &str) -> bool {
        let above = self.lines.get(..line.saturating_sub(1)).unwrap_or_default();
        above
            .iter()
            .rev()
            .map(|text| text.trim_start())
            .take_while(|text| text.starts_with("//") || text.starts_with("#["))
            .any(|text| text.starts_with("//") && text.contains(words))
    }
}

/// The tokens of a stream as one list.
pub(super) fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let mut push =
            |text: String, span: proc_macro2::Span| tokens.push(Token { text, line: span.start().line });
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = brackets(group.delimiter());
                push(open.to_owned(), group.span_open());
                flatten(group.stream(), tokens);
                tokens.push(Token { text: close.to_owned(), line: group.span_close().start().line });
            }
            TokenTree::Ident(name) => push(name.to_string(), name.span()),
            TokenTree::Punct(mark) => push(mark.as_char().to_string(), mark.span()),
            TokenTree::Literal(literal) => push(literal.to_string(), literal.span()),
        }
    }
}

fn brackets(delimiter: Delimiter) -> (&'static str, &'static str) {
    match delimiter {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    }
}

/// Runs a rule over one source, for the tests of the rules.
#[cfg(test)]
pub(super) fn findings_of(
    rule: fn(&RustFile<'_>, &mut Vec<Finding>),
    path: &str,
    text: &str,
) -> Vec<Finding> {
    let file = TextFile { path: path.to_owned(), text: text.to_owned() };
    let rust = RustFile::parse(&file).expect("the snippet parses");
    let mut findings = Vec::new();
    rule(&rust, &mut findings);
    findings
}
