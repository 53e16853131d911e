//! A file has what was committed, and nothing else: neither a value that was refused, nor one whose writer
//! died before it was current.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::path::Path;

use common::{Child, LONG, Stage, directory, node_in};
use onecopy::Node;
use onecopy::region::{Region, RegionError};

const BYTES: usize = 5000;

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "hold" => hold(stage),
        role => panic!("no role {role}"),
    });
}

fn hold(stage: &Stage) {
    let node = stage.node();
    let mut region = region(&node, &stage.directory, true);
    let _guard = region.lock(LONG).unwrap();
    stage.say("held");
    stage.stay();
}

fn region(node: &Node, directory: &Path, shared: bool) -> Region<[u8]> {
    let builder = node.region_bytes("kept").unwrap().capacity(BYTES).file(directory.join("kept.region"));
    let builder = if shared { builder.shared() } else { builder };
    builder.lock_timeout(LONG).open_or_create(b"first").unwrap()
}

/// What the next run would begin with.
fn in_file(directory: &Path, shared: bool) -> Vec<u8> {
    let elsewhere = common::directory();
    std::fs::copy(directory.join("kept.region"), elsewhere.path().join("kept.region")).unwrap();
    region(&node_in(elsewhere.path()), elsewhere.path(), shared).read().unwrap().to_vec()
}

#[test]
fn a_value_for_which_there_is_no_room_does_not_get_into_the_file() {
    for shared in [false, true] {
        let directory = directory();
        let node = node_in(directory.path());
        let region = region(&node, directory.path(), shared);
        let open = |_| {
            let builder = node.region_bytes("kept").unwrap();
            if shared { builder.shared().open().unwrap() } else { builder.open().unwrap() }
        };
        // One participant of a shared region can't note as many as there are.
        let views: Vec<Region<[u8]>> = (0..4).map(open).collect();
        let (mut held, mut last) = (Vec::new(), Vec::new());
        let error = (0_u8..100).find_map(|number| {
            held.push(views[usize::from(number) % views.len()].read().unwrap());
            let value = vec![number; BYTES];
            match region.write(&value) {
                Ok(_) => {
                    last = value;
                    None
                }
                Err(error) => Some(error),
            }
        });
        assert!(matches!(error, Some(RegionError::Write(_))), "{error:?}");
        assert!(matches!(
            region.write(&[0; BYTES + 1]),
            Err(RegionError::TooLarge { .. } | RegionError::Write(_))
        ));
        assert!(*region.read().unwrap() == *last, "shared: {shared}");
        assert!(in_file(directory.path(), shared) == last, "shared: {shared}");
        drop(held);
        region.write(b"and on").unwrap();
        assert!(matches!(region.write(&[0; BYTES + 1]), Err(RegionError::TooLarge { .. })));
        assert_eq!(in_file(directory.path(), shared), b"and on");
    }
}

#[test]
fn what_a_killed_holder_had_saved_and_not_committed_is_gone() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut region = region(&node, directory.path(), true);
    region.write(b"committed").unwrap();
    let mut victim = Child::spawn("hold", directory.path());
    victim.expect("held");
    // The file as it is if it dies between the two.
    let elsewhere = common::directory();
    std::fs::copy(directory.path().join("kept.region"), elsewhere.path().join("kept.region")).unwrap();
    self::region(&node_in(elsewhere.path()), elsewhere.path(), true).write(b"not committed").unwrap();
    std::fs::copy(elsewhere.path().join("kept.region"), directory.path().join("kept.region")).unwrap();
    assert_eq!(in_file(directory.path(), true), b"not committed");
    victim.kill();
    let guard = region.lock(LONG).unwrap();
    assert!(guard.was_abandoned());
    assert_eq!(*guard, *b"committed");
    drop(guard);
    assert_eq!(in_file(directory.path(), true), b"committed");
}
