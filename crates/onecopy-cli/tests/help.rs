//! Help and completions.

mod common;

use common::{World, text};

#[test]
fn help_tells_exit_codes_and_examples() {
    let world = World::new();
    let help = world.run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for word in [
        "Exit codes:",
        "Examples:",
        "ONECOPY_RUNTIME_DIR",
        "demo",
        "topic",
        "call",
        "service",
        "genome",
        "dataset",
        "status",
        "serve",
    ] {
        assert!(text(&help.stdout).contains(word), "{word}");
    }
    assert!(!text(&help.stdout).contains("-child"));
    for command in [
        &["demo"][..],
        &["status"],
        &["metrics"],
        &["top"],
        &["doctor"],
        &["config", "check"],
        &["config", "may"],
        &["serve"],
        &["completions"],
        &["topic", "pub"],
        &["topic", "sub"],
        &["topic", "list"],
        &["topic", "info"],
        &["topic", "hz"],
        &["topic", "record"],
        &["topic", "replay"],
        &["call"],
        &["genome", "index"],
        &["genome", "get"],
        &["genome", "convert"],
        &["genome", "share"],
        &["genome", "unshare"],
        &["service", "run"],
        &["service", "list"],
        &["service", "info"],
        &["dataset", "publish"],
        &["dataset", "list"],
        &["dataset", "info"],
        &["dataset", "cat"],
        &["dataset", "verify"],
        &["dataset", "remove"],
    ] {
        let help = world.run(&[command, &["--help"]].concat());
        assert_eq!(help.status.code(), Some(0));
        assert!(
            text(&help.stdout).contains("Examples:\n  onecopy")
                || command == ["topic", "pub"]
                || command == ["completions"],
            "{command:?}"
        );
        assert!(text(&help.stdout).contains(&format!("onecopy {}", command.join(" "))), "{command:?}");
    }
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let world = World::new();
    for arguments in [&[][..], &["dmeo"], &["topic"], &["topic", "sub"], &["--log", "loud", "status"]] {
        assert_eq!(world.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert!(text(&world.run(&["dmeo"]).stderr).contains("demo"));
}

#[test]
fn every_shell_gets_completions() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = world.run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("from-history"), "{shell}");
        assert!(text(&output.stdout).contains("retries"), "{shell}");
    }
}
