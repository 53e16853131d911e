//! A region whose file another user has named: that path is told, and never opened for writing.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;
mod users_common;

use std::os::unix::fs::chown;
use std::path::PathBuf;

use common::Stage;
use users_common::{GUEST, OWNER, World, does, fails, has_other_users, play};

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "writer" => write(stage),
        _ => play(stage),
    });
}

/// Becomes the writer for a moment, with the file that it is told, or without naming one.
fn write(stage: &Stage) {
    let node = stage.node();
    let mut held = None;
    stage.say("joined");
    while let Some(line) = stage.hear() {
        let (verb, path) = line.split_once(' ').unwrap_or((&line, ""));
        let region = node.region::<u64>("guest/value").unwrap();
        let answer = match verb {
            "hold" => region.open().map(|region| held = Some(region)),
            "write" if path.is_empty() => {
                region.open_or_create(&1).and_then(|region| region.write(&2)).map(drop)
            }
            _ => region
                .file(PathBuf::from(path))
                .open_or_create(&1)
                .and_then(|region| region.write(&3))
                .map(drop),
        };
        stage.say(&answer.map_or_else(|error| error.to_string(), |()| "done".to_owned()));
    }
    drop(held);
}

#[test]
fn a_path_is_not_followed_on_the_word_of_another_user() {
    if !has_other_users() {
        return;
    }
    let rules = format!(
        "owner = {OWNER}\n[admit]\nusers = [{GUEST}]\n[[allow]]\nrights = [\"read\", \"write\"]\nnames = [\"**\"]\n"
    );
    let world = World::new(&rules);
    let _broker = world.broker();
    let [mut owner, mut guest, mut other_guest] = [OWNER, GUEST, GUEST].map(|uid| {
        let mut writer = world.process("writer", uid, uid);
        writer.expect("joined");
        writer
    });
    let place = tempfile::tempdir().unwrap();
    chown(place.path(), Some(GUEST), Some(GUEST)).unwrap();
    let path = place.path().canonicalize().unwrap().join("value.region");
    let mut holder = world.process("writer", OWNER, OWNER);
    holder.expect("joined");
    let file = format!("write {}", path.display());
    let mut keeper = world.actor(GUEST);
    does(&mut keeper, "write guest/value");
    does(&mut holder, "hold");
    does(&mut keeper, "close");
    does(&mut guest, &file);
    let saved = std::fs::read(&path).unwrap();
    let told = fails(&mut owner, "write");
    assert!(told.contains(path.to_str().unwrap()) && told.contains("as another process says"), "{told}");
    assert_eq!(std::fs::read(&path).unwrap(), saved);
    // Its own user follows it.
    does(&mut other_guest, "write");
    assert_ne!(std::fs::read(&path).unwrap(), saved);
}
