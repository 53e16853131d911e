//! Locked bytes of a file: who has locked one is found, and is not found any more once its open file is closed.

use std::fs::File;

use onecopy_memory::range_lock::{BYTES_END, is_byte_locked, lock_byte, locked_bytes, unlock_byte};

fn file() -> (std::path::PathBuf, impl Fn() -> File) {
    let name = format!("onecopy-range-lock-{}-{:?}", std::process::id(), std::thread::current().id());
    let path = std::env::temp_dir().join(name);
    File::create(&path).expect("temporary files can be made");
    let opened = path.clone();
    (path, move || File::open(&opened).expect("the file is there"))
}

#[test]
fn every_locked_byte_is_found_once_and_only_by_others() {
    let (path, open) = file();
    let bytes = [0, 1, 2, 77, 1 << 40, BYTES_END - 2];
    let holders: Vec<File> = bytes
        .iter()
        .map(|byte| {
            let file = open();
            lock_byte(&file, *byte).expect("bytes can be locked");
            file
        })
        .collect();
    let observer = open();
    let mut found = locked_bytes(&observer, 0..BYTES_END, usize::MAX).expect("locks can be listed");
    found.sort_unstable();
    assert_eq!(found, bytes);
    for (holder, byte) in holders.iter().zip(bytes) {
        assert!(is_byte_locked(&observer, byte).expect("a lock can be asked for"));
        assert!(!is_byte_locked(holder, byte).expect("a lock can be asked for"), "its own");
    }
    unlock_byte(&holders[3], 77).expect("it was locked");
    assert!(!is_byte_locked(&observer, 77).expect("a lock can be asked for"));
    drop(holders);
    assert_eq!(locked_bytes(&observer, 0..BYTES_END, usize::MAX).expect("locks can be listed"), [0; 0]);
    std::fs::remove_file(path).expect("it is there");
}

#[test]
fn two_may_lock_one_byte() {
    let (path, open) = file();
    let (one, other, observer) = (open(), open(), open());
    lock_byte(&one, 5).expect("it is free");
    lock_byte(&other, 5).expect("it may be shared");
    drop(one);
    assert!(is_byte_locked(&observer, 5).expect("a lock can be asked for"));
    drop(other);
    assert!(!is_byte_locked(&observer, 5).expect("a lock can be asked for"));
    std::fs::remove_file(path).expect("it is there");
}

#[test]
fn a_byte_past_the_end_of_all_files_is_an_error() {
    let (path, open) = file();
    assert!(lock_byte(open(), BYTES_END).is_err());
    std::fs::remove_file(path).expect("it is there");
}
