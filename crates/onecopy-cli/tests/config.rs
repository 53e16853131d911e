//! `onecopy config`: what it says of files, and who may do what by them.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use std::os::unix::fs::PermissionsExt;

use common::{World, json, text};

const RULES: &str = r#"owner = 5000
[admit]
users = [1001]
[[allow]]
users = [1001]
rights = ["publish"]
names = ["camera/**"]
[[deny]]
rights = ["publish"]
names = ["camera/secret"]
[[allow]]
rights = ["read"]
names = ["**"]
kinds = ["dataset"]
[[quota]]
users = [1001]
memory = "64 MiB"
nodes = 4
"#;

#[test]
fn a_good_file_is_summed_up() {
    let world = World::new();
    let file = world.file("lab.toml", RULES.as_bytes());
    let file = file.to_str().unwrap();
    let output = world.run(&["config", "check", file]);
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stdout);
    assert!(said.contains("user 5000") && said.contains("users 1001") && said.contains("rules: 3"), "{said}");
    let report = json(&world.run(&["config", "check", file, "--json"]));
    assert_eq!((&report["owner"], &report["admitted_uids"][0]), (&5000.into(), &1001.into()));
    // That of the instance, where the environment says that it is.
    let output = world.command(&["config", "check"]).env("ONECOPY_CONFIG", file).output().unwrap();
    assert!(text(&output.stdout).contains(file));
    let nowhere = world.path().join("nowhere");
    let check = ["--instance", "lab-of-nobody", "config", "check"];
    let output = world.command(&check).env("XDG_CONFIG_HOME", &nowhere).output().unwrap();
    let said = text(&output.stdout);
    let expected = nowhere.join("onecopy/lab-of-nobody.toml").display().to_string();
    assert!(said.contains("no configuration") && said.contains(&expected), "{said}");
    assert!(said.contains("/etc/onecopy/lab-of-nobody.toml"), "{said}");
}

#[test]
fn a_mistake_is_told_with_its_place_by_every_command() {
    let world = World::new();
    let file = world.file("lab.toml", RULES.replace("[\"publish\"]", "[\"publsh\"]").as_bytes());
    let name = file.to_str().unwrap();
    let output = world.run(&["config", "check", name]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("{name}:6:11: unknown variant `publsh`, expected one of `publish`");
    assert!(text(&output.stderr).contains(&expected), "{}", text(&output.stderr));
    let report = json(&world.run(&["config", "check", name, "--json"]));
    assert_eq!((&report["line"], &report["column"]), (&6.into(), &11.into()));
    for command in [&["status"][..], &["serve"], &["topic", "list"]] {
        let output = world.command(command).env("ONECOPY_CONFIG", name).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        assert!(text(&output.stderr).contains(&expected), "{command:?}");
    }
    let output = world.command(&["doctor"]).env("ONECOPY_CONFIG", name).output().unwrap();
    assert_eq!(output.status.code(), Some(10));
    assert!(text(&output.stdout).contains("problem  configuration"), "{}", text(&output.stdout));
    // Whoever can write it decides who may do what.
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
    let output = world.run(&["config", "check", name]);
    assert!(text(&output.stderr).contains(&format!("`chmod go-w {name}`")), "{}", text(&output.stderr));
    let output = world.run(&["config", "check", world.path().join("absent.toml").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("No such file"), "{}", text(&output.stderr));
}

#[test]
fn who_may_do_what_is_told_with_the_rule() {
    let world = World::new();
    let file = world.file("lab.toml", RULES.as_bytes());
    let file = file.to_str().unwrap();
    let ask = |question: &[&str]| {
        let output = world.run(&[&["config", "may", "--file", file], question].concat());
        (output.status.code(), text(&output.stdout).to_owned() + text(&output.stderr))
    };
    let (code, said) = ask(&["1001", "publish", "camera/front"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("the rule in line 4 of {file} allows it")), "{said}");
    assert!(said.contains("its quota, in line 15: 64.0 MiB of shared memory, 4 nodes"), "{said}");
    let cases: [(&[&str], &str); 5] = [
        (&["1001", "publish", "camera/secret"], "the rule in line 8"),
        (&["1001", "publish", "lidar"], "no rule"),
        (&["1001", "read", "map"], "may not read region \"map\""),
        (&["1001", "admin"], "may not administer this instance"),
        (&["1002", "read", "map", "--kind", "dataset"], "does not admit it"),
    ];
    for (question, reason) in cases {
        let (code, said) = ask(question);
        assert_eq!(code, Some(11), "{question:?}: {said}");
        assert!(said.contains(reason), "{question:?}: {said}");
    }
    assert_eq!(ask(&["1001", "read", "map", "--kind", "dataset"]).0, Some(0));
    let (code, said) = ask(&["5000", "write", "anything"]);
    assert!(code == Some(0) && said.contains("owns the instance"), "{said}");
    for nonsense in
        [&["1001", "publish"][..], &["1001", "call", "x", "--kind", "topic"], &["1001", "admin", "x"]]
    {
        assert_eq!(ask(nonsense).0, Some(2), "{nonsense:?}");
    }
    let (code, said) = ask(&["nobody-by-this-name", "admin"]);
    assert!(code == Some(1) && said.contains("`id -u nobody-by-this-name`"), "{said}");
    let answer =
        json(&world.run(&["config", "may", "--file", file, "1001", "publish", "camera/x", "--json"]));
    assert_eq!((&answer["allowed"], &answer["line"]), (&true.into(), &4.into()));
    assert_eq!(answer["quota"]["memory_bytes"], 64 << 20);
}
