//! A region whose writer is stopped: nobody takes it for gone, whatever brokers and other readers come and go
//! meanwhile.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use common::{Child, LONG, Stage, directory, node_in};
use onecopy::Node;
use onecopy::region::{Region, RegionError};

/// Of a size that is read where it lies.
type Large = [u64; 100];

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "write" => write(stage),
        "read" => read(stage),
        role => panic!("no role {role}"),
    });
}

fn write(stage: &Stage) {
    let node = stage.node();
    let region = node.region::<Large>("value").unwrap().create(&[1; 100]).unwrap();
    stage.say("ready");
    while let Some(number) = stage.hear() {
        region.write(&[number.parse().unwrap(); 100]).unwrap();
        stage.say("written");
    }
}

/// Closes the region when it is told to, and stays.
fn read(stage: &Stage) {
    let node = stage.node();
    let region = open(&node).unwrap();
    assert_eq!(region.read().unwrap()[0], 1);
    stage.say("ready");
    stage.hear();
    drop(region);
    node.inventory().unwrap();
    stage.say("closed");
    stage.stay();
}

fn open(node: &Node) -> Result<Region<Large>, RegionError> {
    node.region::<Large>("value").unwrap().open()
}

fn is_stuck<T>(opened: &Result<T, RegionError>) -> bool {
    matches!(opened, Err(RegionError::WriterStuck { .. }))
}

#[test]
fn a_stopped_writer_is_told_from_one_that_is_gone() {
    let directory = directory();
    let mut broker = Child::broker(directory.path());
    let mut writer = Child::spawn("write", directory.path());
    writer.expect("ready");
    let mut reader = Child::spawn("read", directory.path());
    reader.expect("ready");
    let node = node_in(directory.path());
    writer.stop();
    assert!(is_stuck(&open(&node)), "its broker knows it");

    broker.kill();
    assert!(is_stuck(&open(&node)), "a reader knows it");
    assert!(is_stuck(&node.region::<Large>("value").unwrap().open_or_create(&[7; 100])));
    // Who comes now is left nothing by the reader that goes, and meets the writer.
    let met = std::thread::scope(|scope| {
        let opening = scope.spawn(|| open(&node));
        let readers = || node.inventory().unwrap().regions.iter().map(|region| region.readers).sum::<u32>();
        while readers() < 2 && !opening.is_finished() {
            std::thread::yield_now();
        }
        reader.tell("close");
        reader.expect("closed");
        writer.go_on();
        opening.join().unwrap()
    });
    let (was_met, mut region) = (!is_stuck(&met), met);
    // On a busy machine it may have waited in vain, and then nobody is there who knows of the region but its writer.
    while is_stuck(&region) || matches!(&region, Err(RegionError::NotFound { .. })) && !was_met {
        region = open(&node);
    }
    let region = region.unwrap();
    writer.tell("2");
    writer.expect("written");
    let value = region.wait_for_change(1, LONG).unwrap();
    assert_eq!(*value, [2; 100]);
}
