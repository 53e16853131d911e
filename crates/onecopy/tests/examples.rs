//! Every example runs to its end. Cargo has built them beside this test.

use std::path::PathBuf;
use std::process::Command;

fn sources() -> Vec<String> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .expect("the examples are there")
        .map(|entry| entry.expect("the directory can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| path.file_stem().expect("a file has a name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn every_example_runs() {
    let test = std::env::current_exe().expect("the test knows its own binary");
    let profile = test.ancestors().nth(2).expect("it lies in target/<profile>/deps");
    let names = sources();
    assert!(names.len() >= 14, "{names:?}");
    for name in names {
        if name.contains("async") && !cfg!(feature = "tokio") {
            continue;
        }
        let program = profile.join("examples").join(&name);
        let output = Command::new(&program).output().unwrap_or_else(|error| {
            panic!("{} must be built (`cargo build --examples`): {error}", program.display())
        });
        assert!(
            output.status.success() && !output.stdout.is_empty(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn examples_are_numbered_in_reading_order() {
    for (index, name) in sources().iter().enumerate() {
        assert!(name.starts_with(&format!("{:02}_", index + 1)), "{name} should be number {}", index + 1);
    }
}
