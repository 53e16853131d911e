//! The claim of datasets: one copy, however many processes read it. The only test of its binary, since others
//! would take their share of the machine's memory and time.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use common::{Child, directory, node_in, pattern};

const BYTES: usize = 32 << 20;
const READERS: usize = 16;
/// What a reader maps beside: rings of the node's own, which are a few pages.
const SLACK_KIB: u64 = 512;

#[test]
fn child() {
    common::play(|stage| {
        let node = stage.node();
        let view = node.dataset("large").unwrap().open().unwrap();
        let sum: u64 =
            view.section::<u64>("words").unwrap().iter().fold(0, |sum, word| sum.wrapping_add(*word));
        stage.say(&sum.to_string());
        stage.stay();
    });
}

/// The process's share of the shared memory that it has mapped: a page that so many have counts as so small a part.
fn share_kib(pid: u32) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut is_ours = false;
    let mut share = 0;
    for line in maps.lines() {
        if line.split_whitespace().next().is_some_and(|range| range.contains('-')) {
            is_ours = line.contains("memfd:onecopy");
        }
        if let (true, Some(kib)) = (is_ours, line.strip_prefix("Pss:")) {
            share += kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
        }
    }
    share
}

#[test]
fn sixteen_readers_share_one_copy() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut draft =
        node.dataset("large").unwrap().builder().section::<u64>("words", BYTES / 8).allocate().unwrap();
    let words = draft.section_mut::<u64>("words").unwrap();
    for (word, seed) in words.iter_mut().zip(pattern(3, BYTES / 8)) {
        *word = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    let sum = words.iter().fold(0_u64, |sum, word| sum.wrapping_add(*word)).to_string();
    let _published = draft.publish().unwrap();
    let mut readers: Vec<_> = (0..READERS).map(|_| Child::spawn("read", directory.path())).collect();
    readers.iter_mut().for_each(|reader| reader.expect(&sum));
    let shares: u64 = readers.iter().map(|reader| share_kib(reader.pid())).sum();
    let one_copy_kib = BYTES as u64 >> 10;
    assert!(shares >= one_copy_kib, "all of it was read: {shares} KiB");
    assert!(shares <= one_copy_kib * 12 / 10 + SLACK_KIB * READERS as u64 / 16, "{shares} KiB for {READERS}");
}
