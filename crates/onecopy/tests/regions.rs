//! Regions between nodes: one writer or several, small values and large ones, locks, watching, growing, files.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::time::Duration;

use onecopy::Node;
use onecopy::region::RegionError;

const SOON: Duration = Duration::from_secs(20);

fn node(directory: &tempfile::TempDir) -> Node {
    Node::builder().directory(directory.path()).open().unwrap()
}

#[test]
fn everyone_sees_the_writers_last_value() {
    let directory = tempfile::tempdir().unwrap();
    let (writing, reading) = (node(&directory), node(&directory));
    let settings = writing.region::<[u64; 3]>("settings").unwrap().open_or_create(&[1, 2, 3]).unwrap();
    let view = reading.region::<[u64; 3]>("settings").unwrap().open().unwrap();
    assert!(settings.is_writer() && !view.is_writer());
    assert_eq!((*view.read().unwrap(), view.version().unwrap()), ([1, 2, 3], 1));
    assert_eq!(settings.write(&[4, 5, 6]).unwrap(), 2);
    assert_eq!(settings.update(|value| value[0] *= 10).unwrap(), 3);
    let now = view.read().unwrap();
    assert_eq!((*now, now.version(), now.is_held()), ([40, 5, 6], 3, false));
    assert_eq!(view.get().unwrap(), [40, 5, 6]);
    assert!(matches!(settings.compare_and_set(2, &[0; 3]), Err(RegionError::Conflict { current: 3 })));
    // One that nobody has written yet is no more expected than one that is gone.
    assert!(matches!(settings.compare_and_set(4, &[0; 3]), Err(RegionError::Conflict { current: 3 })));
    assert_eq!(settings.compare_and_set(3, &[0; 3]).unwrap(), 4);
    let pid = std::process::id();
    assert!(matches!(view.write(&[0; 3]), Err(RegionError::ReadOnly { pid: writer, .. }) if writer == pid));
    let second = reading.region::<[u64; 3]>("settings").unwrap().open_or_create(&[0; 3]).unwrap();
    assert!(!second.is_writer(), "there is a writer already");
}

#[test]
fn large_values_are_held_where_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let (writing, reading) = (node(&directory), node(&directory));
    let region = writing.region_bytes("map").unwrap().capacity(1 << 20).open_or_create(b"").unwrap();
    let view = reading.region_bytes("map").unwrap().open().unwrap();
    region.write(&vec![7; 1 << 20]).unwrap();
    let held = view.read().unwrap();
    assert!(held.is_held() && held.len() == 1 << 20);
    for round in 0..100 {
        region.write(&vec![round; 1000]).unwrap();
    }
    assert!(held.iter().all(|byte| *byte == 7), "what is held does not change");
    assert_eq!(&*view.read().unwrap(), [99; 1000]);
    let error = region.write(&vec![0; (1 << 20) + 1]).unwrap_err();
    assert!(
        matches!(error, RegionError::TooLarge { capacity_bytes, .. } if capacity_bytes == 1 << 20),
        "{error}"
    );
}

#[test]
fn a_look_may_read_and_write_the_region_it_looks_at() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    for capacity_bytes in [64, 1 << 16] {
        let name = format!("notes/{capacity_bytes}");
        let notes = node.region_bytes(&name).unwrap().capacity(capacity_bytes).create(b"first").unwrap();
        let version = notes.with(|first| {
            notes.write(b"second").unwrap();
            // News for the node come in between as well.
            let other = node.region_bytes("other").unwrap().open_or_create(b"").unwrap();
            assert_eq!((first, &*notes.read().unwrap()), (&b"first"[..], &b"second"[..]));
            notes.with(|second| assert_eq!(second, b"second")).unwrap();
            other.version().unwrap() + notes.version().unwrap()
        });
        assert_eq!(version.unwrap(), 1 + 2);
    }
}

#[test]
fn a_lock_changes_a_value_in_place_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    for shared in [false, true] {
        let name = format!("notes/{shared}");
        let builder = node.region_bytes(&name).unwrap();
        let builder = if shared { builder.shared() } else { builder };
        let mut region = builder.open_or_create(b"one").unwrap();
        let mut guard = region.lock(SOON).unwrap();
        guard.copy_from_slice(b"two");
        drop(guard);
        assert_eq!(region.read().unwrap().as_text().unwrap(), "one", "dropped unchanged");
        let mut guard = region.lock(SOON).unwrap();
        guard.set_len(5).unwrap();
        guard.copy_from_slice(b"three");
        assert!(matches!(guard.set_len(1 << 30), Err(RegionError::TooLarge { .. })));
        assert_eq!(guard.commit().unwrap(), 2);
        assert_eq!(region.read().unwrap().as_text().unwrap(), "three");
    }
}

#[test]
fn several_write_by_turns_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let total =
                    node(&directory).region::<u64>("total").unwrap().shared().open_or_create(&0).unwrap();
                for _ in 0..500 {
                    total.update(|total| *total += 1).unwrap();
                }
                // Somebody has to hold the region until all have come to it.
                std::mem::forget(total);
            });
        }
    });
    let total = node(&directory).region::<u64>("total").unwrap().shared().open().unwrap();
    assert_eq!(total.get().unwrap(), 2000);
}

#[test]
fn watchers_wake_when_the_version_moves() {
    let directory = tempfile::tempdir().unwrap();
    for shared in [false, true] {
        let builder = |node: &Node| {
            let builder = node.region::<u64>(if shared { "shared" } else { "single" }).unwrap();
            if shared { builder.shared() } else { builder }
        };
        let writing = node(&directory);
        let region = builder(&writing).open_or_create(&0).unwrap();
        let (ready, wait) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let node = node(&directory);
                let view = builder(&node).open().unwrap();
                let mut watch = view.watch().unwrap();
                ready.send(()).unwrap();
                loop {
                    let value = *watch.wait(SOON).unwrap();
                    if value == 50 {
                        return;
                    }
                }
            });
            wait.recv().unwrap();
            for value in 1..=50 {
                region.write(&value).unwrap();
            }
            watcher.join().unwrap();
        });
        assert!(matches!(region.wait_for_change(51, Duration::ZERO), Err(RegionError::Timeout)));
    }
}

#[test]
fn a_region_that_grows_takes_everybody_along() {
    let directory = tempfile::tempdir().unwrap();
    for shared in [false, true] {
        let builder = |node: &Node| {
            let builder = node.region_bytes(if shared { "shared" } else { "single" }).unwrap().capacity(100);
            if shared { builder.shared() } else { builder }
        };
        let (writing, reading) = (node(&directory), node(&directory));
        let region = builder(&writing).open_or_create(b"small").unwrap();
        let view = builder(&reading).open().unwrap();
        assert!(matches!(region.write(&[1; 1000]), Err(RegionError::TooLarge { .. })));
        region.resize(1000).unwrap();
        assert!(region.version().unwrap() >= 1);
        assert_eq!(region.read().unwrap().as_text().unwrap(), "small");
        let version = region.write(&[1; 1000]).unwrap();
        let seen = view.wait_for_change(version - 1, SOON).unwrap();
        let seen = if seen.version() == version {
            seen
        } else {
            view.wait_for_change(seen.version(), SOON).unwrap()
        };
        assert_eq!((seen.version(), seen.len()), (version, 1000));
        if shared {
            view.write(b"from the other side").unwrap();
            assert_eq!(region.read().unwrap().as_text().unwrap(), "from the other side");
        }
    }
}

#[test]
fn the_value_outlives_its_writer_while_anybody_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let reading = node(&directory);
    let writing = node(&directory);
    let region = writing.region::<u64>("left").unwrap().open_or_create(&7).unwrap();
    let view = reading.region::<u64>("left").unwrap().open().unwrap();
    region.write(&8).unwrap();
    drop(region);
    drop(writing);
    assert_eq!(*view.read().unwrap(), 8);
    let late = reading.region::<u64>("left").unwrap().open().unwrap();
    assert_eq!(*late.read().unwrap(), 8);
    let heir = reading.region::<u64>("left").unwrap().open_or_create(&0).unwrap();
    assert!(heir.is_writer());
    assert_eq!(*heir.read().unwrap(), 8, "the heir goes on with what was left");
    let version = heir.write(&9).unwrap();
    assert!(version > 2, "{version}");
    assert_eq!(*view.wait_for_change(version - 1, SOON).unwrap(), 9);
    drop((heir, view, late));
    assert!(matches!(reading.region::<u64>("left").unwrap().open(), Err(RegionError::NotFound { .. })));
}

#[test]
fn a_file_keeps_the_last_value() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kept");
    for (round, shared) in [(0, false), (1, false), (2, true)] {
        let node = node(&directory);
        let builder = node.region::<u64>("kept").unwrap().file(&path);
        let builder = if shared { builder.shared() } else { builder };
        let region = builder.open_or_create(&0).unwrap();
        assert_eq!(region.get().unwrap(), round);
        region.update(|value| *value += 1).unwrap();
    }
    let node = node(&directory);
    let error = node.region::<u32>("kept").unwrap().file(&path).open_or_create(&0).err().unwrap();
    assert!(matches!(error, RegionError::ForeignFile { .. }), "{error}");
}

#[test]
fn wrong_types_and_modes_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    let single = node.region::<u64>("single").unwrap().open_or_create(&0).unwrap();
    let shared = node.region::<u64>("shared").unwrap().shared().open_or_create(&0).unwrap();
    let errors = [
        node.region::<u32>("single").unwrap().open().err().unwrap().to_string(),
        node.region::<u32>("shared").unwrap().shared().open().err().unwrap().to_string(),
        node.region::<u64>("single").unwrap().shared().open().err().unwrap().to_string(),
        node.region::<u64>("shared").unwrap().open().err().unwrap().to_string(),
    ];
    assert!(errors[0].contains("u32") && errors[1].contains("u32"), "{errors:?}");
    assert!(errors[2].contains("single writer") && errors[3].contains("several writers"), "{errors:?}");
    assert!(matches!(node.region::<u64>("none").unwrap().open(), Err(RegionError::NotFound { .. })));
    assert!(matches!(node.region::<u64>("single").unwrap().create(&0), Err(RegionError::Exists { .. })));
    assert!(matches!(
        node.region_bytes("text").unwrap().capacity(3).open_or_create(b"four"),
        Err(RegionError::TooLarge { bytes: 4, capacity_bytes: 3 })
    ));
    drop((single, shared));
}

#[test]
fn any_region_is_bytes_in_its_own_mode() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    let single = node.region::<u64>("single").unwrap().open_or_create(&1).unwrap();
    let shared = node.region::<u64>("shared").unwrap().shared().open_or_create(&2).unwrap();
    let any = node.any_region("single").unwrap().open().unwrap();
    assert_eq!(&*any.read().unwrap(), 1_u64.to_ne_bytes());
    let any = node.any_region("shared").unwrap().open().unwrap();
    assert!(matches!(any.write(b"short"), Err(RegionError::WrongSize { bytes: 5, expected: 8 })));
    any.write(&3_u64.to_ne_bytes()).unwrap();
    assert_eq!(shared.get().unwrap(), 3);
    assert!(matches!(node.any_region("none"), Err(RegionError::NotFound { .. })));
    drop(single);
}

#[test]
fn an_event_loop_is_told_of_changes() {
    let directory = tempfile::tempdir().unwrap();
    let (writing, reading) = (node(&directory), node(&directory));
    for shared in [false, true] {
        let builder = |node: &Node| {
            let builder = node.region_bytes(if shared { "shared" } else { "single" }).unwrap().capacity(10);
            if shared { builder.shared() } else { builder }
        };
        let region = builder(&writing).open_or_create(b"").unwrap();
        let view = builder(&reading).open().unwrap();
        let mut watch = view.watch().unwrap();
        let readiness = watch.readiness().unwrap();
        assert!(watch.receive().unwrap().is_none());
        for round in 0..20 {
            if round == 10 {
                region.resize(1000).unwrap();
            }
            let text = format!("round {round}");
            let version = region.write_text(&text).unwrap();
            loop {
                let mut polled = [rustix::event::PollFd::new(&readiness, rustix::event::PollFlags::IN)];
                rustix::event::poll(&mut polled, None).unwrap();
                let seen = watch.receive().unwrap();
                if let Some(value) = seen.filter(|value| value.version() == version) {
                    assert_eq!(value.as_text().unwrap(), text);
                    break;
                }
            }
            while watch.receive().unwrap().is_some() {}
        }
    }
}
