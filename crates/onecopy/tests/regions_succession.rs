//! Regions that are opened, and not created, while one broker follows the other: whoever has the region is
//! there, so it is found.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::path::Path;

use common::{Child, Stage, directory, node_in};

const ROUNDS: u64 = 25;

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "single" => keep(stage, false),
        "shared" => keep(stage, true),
        "open" => open(stage),
        "serve" => stage.serve(),
        role => panic!("no role {role}"),
    });
}

/// Has a region, and writes whatever it is told.
fn keep(stage: &Stage, shared: bool) {
    let node = stage.node();
    let builder = node.region::<u64>(&stage.role).unwrap();
    let region = if shared { builder.shared() } else { builder };
    let region = region.open_or_create(&0).unwrap();
    stage.say("has it");
    while let Some(value) = stage.hear() {
        region.write(&value.parse().unwrap()).unwrap();
        stage.say("wrote");
    }
}

/// Opens both, with a node of its own and with one that was there before.
fn open(stage: &Stage) {
    let node = stage.node();
    stage.say("ready");
    while let Some(value) = stage.hear() {
        let value: u64 = value.parse().unwrap();
        for node in [node.clone(), stage.node()] {
            let single = node.region::<u64>("single").unwrap().open().unwrap();
            assert_eq!(single.get().unwrap(), value);
            let shared = node.region::<u64>("shared").unwrap().shared().open().unwrap();
            assert_eq!(shared.get().unwrap(), value);
            let any = node.any_region("single").unwrap().open().unwrap();
            assert_eq!(any.read().unwrap().as_bytes(), value.to_ne_bytes());
        }
        stage.say("found them");
    }
}

fn start(role: &str, directory: &Path, says: &str) -> Child {
    let mut child = Child::spawn(role, directory);
    child.expect(says);
    child
}

#[test]
fn what_somebody_has_is_found_by_those_who_come_while_the_broker_is_succeeded() {
    let directory = directory();
    let mut broker = start("serve", directory.path(), "serves");
    let mut keepers = ["single", "shared"].map(|role| start(role, directory.path(), "has it"));
    let mut openers = [(); 3].map(|()| start("open", directory.path(), "ready"));
    for round in 1..=ROUNDS {
        for keeper in &mut keepers {
            keeper.tell(&round.to_string());
            keeper.expect("wrote");
        }
        broker.kill();
        openers.iter_mut().for_each(|opener| opener.tell(&round.to_string()));
        // One more that nobody has counted before.
        let node = node_in(directory.path());
        assert_eq!(node.region::<u64>("single").unwrap().open().unwrap().get().unwrap(), round);
        openers.iter_mut().for_each(|opener| opener.expect("found them"));
        drop(node);
        broker = start("serve", directory.path(), "serves");
    }
}
