//! Processes of several users in one instance: what the rules let them do, and what they are told if they may not.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;
mod users_common;

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;

use common::Child;
use users_common::{FRIENDS, GUEST, OWNER, STRANGER, World, does, fails, has_other_users, play};

#[test]
fn child() {
    common::play(play);
}

const RULES: &str = r#"owner = 61001

[admit]
users = [61002]
groups = [61900]

[[allow]]
users = [61002]
rights = ["subscribe", "read", "call"]
names = ["open/**"]

[[allow]]
users = [61002]
rights = ["publish", "subscribe", "write", "serve"]
names = ["guest/*"]

[[deny]]
rights = ["subscribe"]
names = ["open/secret"]

[[allow]]
groups = [61900]
rights = ["admin"]
"#;

/// An instance with a broker that runs on its own, and a process of its owner.
fn staffed(config: &str) -> (World, Child, Child) {
    let world = World::new(config);
    let broker = world.broker();
    let owner = world.actor(OWNER);
    (world, broker, owner)
}

#[test]
fn an_admitted_user_may_do_what_the_rules_say_and_is_told_which_rule_refuses() {
    if !has_other_users() {
        return;
    }
    let (world, _broker, mut owner) = staffed(RULES);
    let mut guest = world.actor(GUEST);
    // Messages pass from one user to the other, in both directions.
    does(&mut owner, "publish open/a");
    does(&mut guest, "subscribe open/a");
    does(&mut owner, "say 7");
    does(&mut guest, "hear 7");
    does(&mut guest, "publish guest/b");
    does(&mut owner, "subscribe guest/b");
    does(&mut guest, "say 8");
    does(&mut owner, "hear 8");

    let file = world.config();
    let file = file.display();
    let told = fails(&mut guest, "publish open/a");
    let expected = format!("user {GUEST} may not publish on topic \"open/a\": no rule of {file} allows it");
    assert!(told.starts_with(&expected), "{told}");
    let expected = format!("users = [{GUEST}], rights = [\"publish\"], names = [\"open/a\"] under [[allow]]");
    assert!(told.contains(&expected), "{told}");
    does(&mut owner, "publish open/secret");
    let told = fails(&mut guest, "subscribe open/secret");
    let expected = format!(
        "user {GUEST} may not subscribe to topic \"open/secret\": the rule in line 17 of {file} denies it"
    );
    assert_eq!(told, expected);
    assert!(fails(&mut guest, "publish guest/b/c").contains("no rule"));
    // Nothing of that has cost it its connection.
    does(&mut owner, "say 9");
    does(&mut guest, "hear 9");
}

#[test]
fn regions_are_read_without_being_written_and_the_same_goes_for_services_and_datasets() {
    if !has_other_users() {
        return;
    }
    let (world, _broker, mut owner) = staffed(RULES);
    let mut guest = world.actor(GUEST);
    for what in ["write open/r", "share open/s", "serve open/v", "load open/d"] {
        does(&mut owner, what);
    }
    does(&mut guest, "read open/r");
    // Nobody writes it now, so whoever may would become its writer.
    let told = fails(&mut guest, "write open/new");
    assert!(told.contains("may not write region \"open/new\""), "{told}");
    let told = fails(&mut guest, "share open/s");
    assert!(told.contains("may not write region \"open/s\""), "{told}");
    does(&mut guest, "call open/v");
    let told = fails(&mut guest, "serve open/v");
    assert!(told.contains("may not serve service \"open/v\""), "{told}");
    does(&mut guest, "view open/d");
    let told = fails(&mut guest, "load open/d");
    assert!(told.contains("may not publish dataset \"open/d\""), "{told}");
    let told = fails(&mut guest, "keep open/r");
    assert!(told.contains("may not write region \"open/r\""), "{told}");
    // With the right to write, all of it.
    for what in ["write guest/r", "share guest/s", "keep guest/s", "serve guest/v"] {
        does(&mut guest, what);
    }
    does(&mut owner, "share guest/s");
}

#[test]
fn whoever_is_not_admitted_is_told_so_at_the_door() {
    if !has_other_users() {
        return;
    }
    let (world, _broker, mut owner) = staffed(RULES);
    let mut stranger = world.process("actor", STRANGER, STRANGER);
    let told = stranger.line();
    let expected = format!("user {STRANGER} is not admitted to this instance; add it to `users`");
    assert!(told.contains(&expected) && told.contains(&world.config().display().to_string()), "{told}");
    // A member of a group that is admitted is let in.
    let mut friend = world.process("actor", STRANGER, FRIENDS);
    friend.expect("joined");
    does(&mut owner, "publish open/a");
    assert!(fails(&mut friend, "subscribe open/a").contains("no rule"));
}

#[test]
fn without_a_configuration_there_is_one_user_only() {
    if !has_other_users() {
        return;
    }
    // Whom to trust is all that the others know.
    let (world, _broker, _owner) = staffed("owner = 61001\n");
    let metadata = std::fs::metadata(world.directory()).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.uid()), (0o700, OWNER));
    let mut guest = world.process("actor", GUEST, GUEST);
    assert!(guest.line().contains("Permission denied"));
    // And if somebody has opened the directory and the socket, the broker still serves its user only.
    let socket = world.directory().join("default.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
    std::fs::set_permissions(world.directory(), PermissionsExt::from_mode(0o711)).unwrap();
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
    let mut guest = world.process("actor", GUEST, GUEST);
    let told = guest.line();
    assert!(told.contains(&format!("user {GUEST} is not admitted")), "{told}");
}

#[test]
fn whoever_listens_in_the_owners_place_is_not_told_a_word() {
    if !has_other_users() {
        return;
    }
    let (world, elsewhere) = (World::new(RULES), tempfile::tempdir().unwrap());
    chown(elsewhere.path(), Some(STRANGER), Some(STRANGER)).unwrap();
    let mut impostor =
        Child::spawn_with("impostor", elsewhere.path(), |command| command.uid(STRANGER).gid(STRANGER));
    impostor.expect("listens");
    let socket = world.directory().join("default.sock");
    std::fs::rename(elsewhere.path().join("default.sock"), &socket).unwrap();
    std::fs::set_permissions(world.directory(), PermissionsExt::from_mode(0o711)).unwrap();
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
    // The owner as well as its guests.
    for user in [OWNER, GUEST] {
        impostor.tell("accept");
        let told = world.process("actor", user, user).line();
        let expected = format!("is not to be trusted: process {} of user {STRANGER} listens", impostor.pid());
        assert!(told.contains(&expected) && told.contains(&socket.display().to_string()), "{told}");
        assert_eq!(impostor.line(), "0", "bytes that were said before it was found out");
    }
}

#[test]
fn only_what_somebody_has_a_right_on_is_shown_and_administering_is_a_right() {
    if !has_other_users() {
        return;
    }
    let (world, mut broker, mut owner) = staffed(RULES);
    let mut guest = world.actor(GUEST);
    let mut friend = world.process("actor", STRANGER, FRIENDS);
    friend.expect("joined");
    for what in ["publish open/a", "publish private/b", "write private/r"] {
        does(&mut owner, what);
    }
    assert_eq!(fails(&mut guest, "list"), "open/a");
    assert_eq!(fails(&mut owner, "list"), "open/a private/b private/r");
    assert_eq!(fails(&mut friend, "list"), "open/a private/b private/r");

    let told = fails(&mut guest, "stop");
    assert!(told.contains(&format!("user {GUEST} may not administer this instance")), "{told}");
    for who in [&mut guest, &mut friend] {
        let told = fails(who, "replace");
        assert!(told.contains(&format!("user {OWNER}, who alone may run its broker")), "{told}");
    }
    does(&mut friend, "stop");
    broker.tell("");
    // The owner's process is the broker from then on, and nothing is lost.
    does(&mut guest, "subscribe open/a");
    does(&mut owner, "say 5");
    does(&mut guest, "hear 5");
    assert_eq!(fails(&mut owner, "broker?"), "true");
}

const QUOTAS: &str = r#"owner = 61001
[admit]
users = [61002]
[[allow]]
rights = ["publish", "subscribe", "read", "write"]
names = ["**"]
[[quota]]
users = [61002]
memory = "4 MiB"
nodes = 2
topics = 3
descriptors = 14
"#;

#[test]
fn quotas_bound_what_a_user_takes_with_all_its_processes() {
    if !has_other_users() {
        return;
    }
    let (world, _broker, mut owner) = staffed(QUOTAS);
    let (mut one, mut other) = (world.actor(GUEST), world.actor(GUEST));
    let quota = format!("by the quota in line 7 of {}", world.config().display());
    let told = fails(&mut one, "join");
    assert!(told.contains(&format!("user {GUEST} may have 2 nodes")) && told.contains(&quota), "{told}");
    // Topics count once for the user, whoever has them open how often.
    does(&mut one, "subscribe t/1");
    does(&mut other, "subscribe t/1");
    does(&mut other, "subscribe t/2");
    does(&mut other, "subscribe t/3");
    let told = fails(&mut one, "subscribe t/4");
    assert!(told.contains("3 topics, services, regions and datasets") && told.contains(&quota), "{told}");
    does(&mut one, "subscribe t/3");
    does(&mut other, "close");
    does(&mut one, "subscribe t/4");
    let told = fails(&mut other, "subscribe t/5");
    assert!(told.contains("3 topics"), "{told}");
    does(&mut one, "close");
    // Memory counts at its full size, and is given back with its publisher.
    does(&mut one, "publish t/1");
    let told = fails(&mut one, "reserve t/2");
    assert!(told.contains("bytes of shared memory") && told.contains(&quota), "{told}");
    does(&mut one, "publish t/2");
    // Nobody else is bound by it.
    for topic in 1..=5 {
        does(&mut owner, &format!("publish t/{topic}"));
    }
    does(&mut owner, "join");
}

#[test]
fn open_files_are_bounded_for_each_user() {
    if !has_other_users() {
        return;
    }
    let (world, _broker, mut owner) = staffed(&QUOTAS.replace("memory = \"4 MiB\"\n", ""));
    let mut guest = world.actor(GUEST);
    // Three of the broker's open files for the node, and one for each publisher.
    for _ in 0..11 {
        does(&mut guest, "publish t/1");
        does(&mut owner, "publish t/1");
    }
    let told = fails(&mut guest, "publish t/1");
    let expected = format!("user {GUEST} may have 14 open files and not more, by the quota in line 7");
    assert!(told.contains(&expected), "{told}");
    does(&mut owner, "publish t/1");
    does(&mut guest, "close");
    does(&mut guest, "publish t/1");
}
