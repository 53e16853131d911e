//! Files as people write them, and mistakes as people make them.

use std::path::Path;

use super::*;

const TEXT: &str = r#"# Who may use the robot
owner = "robot"

[admit]
users = ["camera", 1002]
groups = ["robotics"]

[[allow]]
users = ["camera"]
rights = ["publish"]
names = ["camera/**"]
kinds = ["topic"]

[[allow]]
groups = ["robotics"]
rights = ["subscribe", "read", "call"]
names = ["**"]

[[deny]]
rights = ["subscribe"]
names = ["camera/private/**", "secret"]

[[allow]]
users = [1002]
rights = ["write"]
names = ["settings"]

[[allow]]
groups = ["robotics"]
rights = ["admin"]

[[quota]]
users = ["camera"]
memory = "64 MiB"
nodes = 2

[[quota]]
topics = 10
descriptors = 100
memory = 4096
"#;

fn accounts() -> Accounts {
    Accounts::parse("robot:x:500:500::/:\ncamera:x:1001:1001::/:\n", "robotics:x:2000:\n")
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("lab.toml"), text, &accounts())
}

fn who(uid: u32, gids: &[u32]) -> Who {
    Who { uid, gids: gids.to_vec() }
}

fn action(right: Right, kind: Kind, name: &str) -> Action<'_> {
    Action::Named { right, kind, name }
}

#[test]
fn rules_decide_and_say_which_of_them_did() {
    let config = parse(TEXT).unwrap();
    assert_eq!((config.owner(), config.admits_others()), (Some(500), true));
    let camera = who(1001, &[1001]);
    let engineer = who(1003, &[100, 2000]);
    let tuner = who(1002, &[100]);
    let publish = |name| action(Right::Publish, Kind::Topic, name);
    assert_eq!(config.decide(&camera, publish("camera/front")), Decision::Allowed { line: 8 });
    assert_eq!(config.decide(&camera, publish("lidar")), Decision::NoRule);
    let dataset = action(Right::Publish, Kind::Dataset, "camera/front");
    assert_eq!(config.decide(&camera, dataset), Decision::NoRule);
    let subscribe = |name| action(Right::Subscribe, Kind::Topic, name);
    assert_eq!(config.decide(&engineer, subscribe("camera/front")), Decision::Allowed { line: 14 });
    assert_eq!(config.decide(&engineer, subscribe("camera/private/x")), Decision::Denied { line: 19 });
    assert_eq!(config.decide(&camera, subscribe("camera/private")), Decision::Denied { line: 19 });
    assert_eq!(config.decide(&engineer, Action::Admin), Decision::Allowed { line: 28 });
    assert_eq!(config.decide(&camera, Action::Admin), Decision::NoRule);
    // Writing a region includes reading it, and not the other way around.
    let region = |right, name| action(right, Kind::Region, name);
    for right in [Right::Read, Right::Write] {
        assert_eq!(config.decide(&tuner, region(right, "settings")), Decision::Allowed { line: 23 });
    }
    assert_eq!(config.decide(&engineer, region(Right::Write, "settings")), Decision::NoRule);
    assert_eq!(config.decide(&engineer, region(Right::Read, "settings")), Decision::Allowed { line: 14 });
    for stranger in [who(7, &[7]), who(1003, &[100])] {
        assert_eq!(config.decide(&stranger, subscribe("lidar")), Decision::NotAdmitted);
    }
}

#[test]
fn the_first_quota_about_somebody_counts() {
    let config = parse(TEXT).unwrap();
    let camera = config.allowance(&who(1001, &[2000]), false);
    assert_eq!(
        camera,
        Allowance { memory_bytes: Some(64 << 20), nodes: Some(2), descriptors: None, topics: None }
    );
    let other = who(1003, &[2000]);
    assert_eq!(config.allowance(&other, false).topics, Some(10));
    assert_eq!(config.allowance_line(&other, false), Some(37));
    // The broker's own user is limited only if it is meant.
    assert_eq!(config.allowance(&other, true), Allowance::default());
    assert_eq!(config.allowance(&who(1001, &[]), true), camera);
}

#[test]
fn without_a_file_nobody_else_is_let_in() {
    let config = Config::default();
    assert!(!config.admits_others() && config.file().is_none());
    assert_eq!(config.decide(&who(0, &[0]), Action::Admin), Decision::NotAdmitted);
    assert_eq!(parse("# nothing\n").unwrap().decide(&who(0, &[0]), Action::Admin), Decision::NotAdmitted);
}

#[test]
fn mistakes_are_told_where_they_are() {
    let rule = |rest: &str| format!("[admit]\nusers = [1001]\n\n[[allow]]\n{rest}\n");
    let cases = [
        ("owner = \"nobody-here\"\n".to_owned(), 1, 9, "`id -u nobody-here`"),
        ("[admit]\nusers = [1001, \"ghost\"]\n".to_owned(), 2, 16, "no user \"ghost\""),
        ("[admit]\ngroups = [\"ghosts\"]\n".to_owned(), 2, 11, "`getent group ghosts`"),
        ("[admit]\nusers = [-1]\n".to_owned(), 2, 9, "its number, or its name"),
        ("[admit]\nusers = 1001\n".to_owned(), 2, 9, "expected"),
        ("[admitt]\n".to_owned(), 1, 2, "unknown field `admitt`"),
        ("[admit\n".to_owned(), 1, 7, ""),
        (rule("rights = [\"publsh\"]\nnames = [\"a\"]"), 5, 11, "`publish`"),
        (rule("rights = [\"publish\"]\nnames = [\"/a\"]"), 6, 10, "write \"a\""),
        (rule("rights = [\"publish\"]\nnames = [\"a**\"]"), 6, 10, "`**` alone"),
        (rule("rights = [\"publish\"]"), 4, 1, "names = [\"**\"]"),
        (rule("rights = [\"publish\"]\nnames = []"), 6, 9, "names = [\"**\"]"),
        (rule("rights = []\nnames = [\"a\"]"), 5, 10, "at least one"),
        (rule("names = [\"a\"]"), 4, 1, "missing field `rights`"),
        (rule("users = []\nrights = [\"call\"]\nnames = [\"a\"]"), 4, 1, "nobody"),
        (rule("rights = [\"call\", \"admin\"]\nnames = [\"a\"]"), 5, 10, "a rule of its own"),
        (rule("rights = [\"call\"]\nnames = [\"a\"]\nkinds = [\"topic\"]"), 5, 11, "\"service\""),
        (rule("rights = [\"call\"]\nnames = [\"a\"]\nkinds = []"), 7, 9, "leave it out"),
        (rule("rights = [\"call\"]\nnames = [\"a\"]\nkinds = [\"tpoic\"]"), 7, 10, "`topic`"),
        ("[[quota]]\nusers = [1001]\n".to_owned(), 1, 1, "limits nothing"),
        ("[[quota]]\nmemory = \"64 MB\"\n".to_owned(), 2, 10, "\"64 MiB\""),
        ("[[quota]]\nmemory = \"99999999999 TiB\"\n".to_owned(), 2, 10, "no size"),
        ("# é\n[[quota]]\nmemory = true\n".to_owned(), 3, 10, "number of bytes"),
    ];
    for (text, line, column, hint) in cases {
        let error = parse(&text).unwrap_err();
        let message = error.to_string();
        let ConfigError::Content { line: found_line, column: found_column, .. } = error else {
            panic!("{message}")
        };
        assert_eq!((found_line, found_column), (line, column), "{text}\n{message}");
        assert!(message.contains(hint) && message.starts_with("lab.toml:"), "{text}\n{message}");
    }
}

#[test]
fn sizes_are_written_as_people_write_them() {
    for (size, bytes) in [("1", 1), ("\"1 KiB\"", 1024), ("\"2GiB\"", 2 << 30), ("\"7 B\"", 7)] {
        let config = parse(&format!("[[quota]]\nmemory = {size}\n")).unwrap();
        assert_eq!(config.allowance(&who(1, &[]), false).memory_bytes, Some(bytes), "{size}");
    }
}

#[test]
fn the_example_of_the_documentation_says_what_the_documentation_says() {
    let page = include_str!("../../../../docs/access.md");
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let config = parse(example).unwrap();
    let camera = who(1001, &[1001]);
    let subscribe = action(Right::Subscribe, Kind::Topic, "camera/private/a");
    let Decision::Denied { line } = config.decide(&camera, subscribe) else { panic!("it is denied") };
    assert!(page.contains(&format!("the rule in line {line} of /etc/onecopy/default.toml denies it")));
    let publish = action(Right::Publish, Kind::Topic, "camera/front");
    assert!(config.decide(&camera, publish).is_allowed() && config.advice().is_empty());
}
