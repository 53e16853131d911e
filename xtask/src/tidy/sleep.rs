//! Nothing waits by the clock: code that sleeps until something has probably happened is slow when it is right, and
//! wrong when the machine is busy. Waiting is for a futex, a descriptor, or a process.

use super::finding::Finding;
use super::rust_file::RustFile;

/// Files that may sleep after all, each with its reason beside it here.
const ALLOWED: [&str; 1] = [
    // Who is stuck shows in two looks that are so far apart as the user said.
    "crates/onecopy-cli/src/stuck_json.rs",
];

pub(super) fn check(rust: &RustFile<'_>, findings: &mut Vec<Finding>) {
    if !is_covered(rust.path) || ALLOWED.contains(&rust.path) {
        return;
    }
    let has_its_own = (0..rust.tokens.len()).any(|index| is_definition(rust, index));
    for (index, token) in rust.tokens.iter().enumerate() {
        if is_clock_sleep(rust, index, has_its_own) {
            let message =
                "sleep: wait for the event itself (a futex, a descriptor, a child's output or its end)";
            findings.push(Finding::new(rust.path, token.line, message));
        }
    }
}

/// The crates' sources and tests.
fn is_covered(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("crates") && parts.next().is_some() && matches!(parts.next(), Some("src" | "tests"))
}

/// A function or a closure of that name.
fn is_definition(rust: &RustFile<'_>, index: usize) -> bool {
    rust.text_at(index, 0) == "sleep" && matches!(rust.text_at(index, -1), "fn" | "let")
}

fn is_clock_sleep(rust: &RustFile<'_>, index: usize, has_its_own: bool) -> bool {
    if rust.text_at(index, 0) != "sleep" {
        return false;
    }
    let is_in_clock_module =
        rust.text_at(index, -1) == ":" && matches!(rust.text_at(index, -3), "thread" | "time");
    // A method belongs to a type that waits for something; a bare name may be imported from a clock's module by any
    // spelling, unless the file itself says what it means.
    let is_call = rust.text_at(index, 1) == "(" && !matches!(rust.text_at(index, -1), "." | "fn");
    is_in_clock_module || (is_call && !has_its_own)
}

#[cfg(test)]
mod tests {
    use super::super::rust_file::findings_of;
    use super::*;

    #[test]
    fn sleeping_by_the_clock_is_found() {
        for text in [
            "fn f() {\n    std::thread::sleep(d);\n}\n",
            "fn f() {\n    tokio::time::sleep(d).await;\n}\n",
            "\nuse std::thread::sleep;\n",
            "fn f() {\n    sleep(d);\n}\n",
            "fn f() {\n    assert!(sleep(d));\n}\n",
        ] {
            for path in ["crates/onecopy/src/node.rs", "crates/onecopy/tests/chaos.rs"] {
                let findings = findings_of(check, path, text);
                assert_eq!(findings.len(), 1, "{path}: {text}");
                assert_eq!(findings[0].line, 2);
            }
        }
    }

    #[test]
    fn waiting_for_something_is_allowed() {
        for text in [
            "// sleep(d)\nfn f() {\n    futex.sleep(3);\n    asleep();\n}\n",
            "fn sleep(word: &Futex) {}\nfn f() {\n    sleep(word);\n}\n",
            "fn f() {\n    let sleep = |word| wait(word);\n    sleep(word);\n}\n",
        ] {
            assert!(findings_of(check, "crates/onecopy/src/node.rs", text).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_function_of_that_name_does_not_hide_the_clock() {
        let text = "fn sleep() {\n    std::thread::sleep(d);\n}\n";
        assert_eq!(findings_of(check, "crates/onecopy/src/node.rs", text).len(), 1);
    }

    #[test]
    fn measuring_programs_may_sleep() {
        let text = "fn f() {\n    std::thread::sleep(d);\n}\n";
        assert!(findings_of(check, "bench/src/main.rs", text).is_empty());
    }
}
