//! Datasets: what nobody can do to a sealed one, its own publisher included, and what files do to those who read them.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use onecopy_memory::dataset::{
    DatasetDraft, DatasetError, DatasetFile, FileError, HugePagesError, SealedDataset, SectionSpec, Sections,
};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

fn spec(name: &str, element_bytes: u64, alignment_bytes: u64, len: u64) -> SectionSpec {
    let (name, type_name) = (name.to_owned(), format!("of {element_bytes}"));
    SectionSpec { name, type_name, element_bytes, alignment_bytes, layout_hash: 7, len }
}

fn sealed(bytes: &[u8]) -> SealedDataset {
    let mut draft = DatasetDraft::create(bytes.len(), Sections::default()).expect("memory");
    draft.write_at(0, bytes).expect("it fits");
    draft.seal(None).expect("nobody else has it")
}

fn received(dataset: &SealedDataset) -> OwnedFd {
    dataset.descriptor().try_clone_to_owned().expect("descriptors are not used up")
}

#[test]
fn nobody_can_change_a_sealed_dataset() {
    let dataset = sealed(&[7; 10_000]);
    let memory = received(&dataset);
    assert_eq!(rustix::io::pwrite(&memory, b"x", 0), Err(Errno::PERM));
    for bytes in [0, 100, 1 << 20] {
        assert_eq!(rustix::fs::ftruncate(&memory, bytes), Err(Errno::PERM));
    }
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    assert_eq!(rustix::fs::fallocate(&memory, punch, 0, 4096), Err(Errno::PERM));
    assert_eq!(rustix::fs::fcntl_add_seals(&memory, SealFlags::empty()), Err(Errno::PERM));
    let writable = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a null hint lets the kernel choose an unused range, and it refuses anyway.
    let mapped =
        unsafe { rustix::mm::mmap(std::ptr::null_mut(), 4096, writable, MapFlags::SHARED, &memory, 0) };
    assert_eq!(mapped, Err(Errno::PERM));
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let reopened =
        std::fs::OpenOptions::new().write(true).open(path).expect("opening is not what is refused");
    assert!(reopened.write_at(b"x", 0).is_err());
    assert_eq!(dataset.content(), Some(&[7; 10_000][..]));
}

#[test]
fn sections_lie_where_their_elements_are_aligned() {
    let specs = [spec("bytes", 1, 1, 5), spec("pages", 8192, 4096, 2), spec("words", 8, 8, 0)];
    let sections = Sections::lay_out(&specs).expect("they are possible");
    let bytes = usize::try_from(sections.content_bytes()).expect("a small number");
    let mut draft = DatasetDraft::create(bytes, sections).expect("memory");
    draft.content_mut().expect("address space").fill(3);
    let dataset = SealedDataset::open(received(&draft.seal(Some([9; 32])).expect("only we have it")));
    let dataset = dataset.expect("it is sound");
    let catalog = dataset.catalog();
    assert_eq!(catalog.hash, Some([9; 32]));
    let offsets: Vec<_> =
        catalog.sections.as_slice().iter().map(|section| (section.offset, section.len())).collect();
    assert_eq!(offsets, [(0, 5), (4096, 2), (4096 + 2 * 8192, 0)]);
    assert_eq!(catalog.sections.find("pages").map(|section| section.type_name.as_str()), Some("of 8192"));
    assert_eq!(catalog.sections.find("page"), None);
    let content = dataset.content().expect("it is in memory");
    assert!(content.as_ptr().addr().is_multiple_of(4096) && content.iter().all(|byte| *byte == 3));
}

#[test]
fn impossible_sections_are_refused_before_there_is_memory() {
    let of = |spec: SectionSpec| Sections::lay_out(&[spec]).map(drop);
    assert!(matches!(of(spec("", 1, 1, 1)), Err(DatasetError::Section { .. })));
    assert!(matches!(of(spec("tab\t", 1, 1, 1)), Err(DatasetError::Section { .. })));
    assert!(matches!(of(spec(&"x".repeat(256), 1, 1, 1)), Err(DatasetError::Section { .. })));
    assert!(matches!(of(spec("unit", 0, 1, 1)), Err(DatasetError::Section { .. })));
    assert!(matches!(of(spec("odd", 3, 2, 1)), Err(DatasetError::Section { .. })));
    assert!(matches!(of(spec("strict", 8192, 8192, 1)), Err(DatasetError::Section { .. })));
    assert!(matches!(of(spec("vast", 8, 8, u64::MAX / 4)), Err(DatasetError::TooLarge { .. })));
    let twice = Sections::lay_out(&[spec("one", 1, 1, 1), spec("two", 1, 1, 1), spec("one", 8, 8, 1)]);
    assert!(matches!(twice, Err(DatasetError::Section { section, .. }) if section == "one"));
    let many: Vec<_> = (0..1025).map(|number| spec(&number.to_string(), 1, 1, 1)).collect();
    assert!(matches!(Sections::lay_out(&many), Err(DatasetError::Impossible { .. })));
}

#[test]
fn a_draft_takes_only_what_fits() {
    let mut draft = DatasetDraft::create(10, Sections::default()).expect("memory");
    assert!(draft.write_at(8, b"xy").is_ok());
    assert!(matches!(draft.write_at(9, b"xy"), Err(DatasetError::Impossible { .. })));
    assert!(matches!(draft.write_at(usize::MAX, b"xy"), Err(DatasetError::Impossible { .. })));
    assert_eq!(draft.content().expect("address space"), b"\0\0\0\0\0\0\0\0xy");
    let empty = DatasetDraft::create(0, Sections::default()).and_then(|draft| draft.seal(None));
    assert_eq!(empty.expect("nothing is something").content(), Some(&[][..]));
    // Must be refused before anything is taken: the kernel would give out all there is, and then kill somebody.
    let vast = DatasetDraft::create(1 << 45, Sections::default());
    assert!(matches!(vast, Err(DatasetError::NoRoom { .. })), "more memory than any machine has: {vast:?}");
}

/// Where the kernel can, the pages are huge; where it can't, the dataset is as good.
#[test]
fn huge_pages_change_nothing_but_the_pages() {
    let bytes = 5 << 20;
    let mut draft = DatasetDraft::create(bytes, Sections::default()).expect("memory");
    draft.write_at(0, &vec![1; bytes]).expect("it fits");
    let outcome = draft.use_huge_pages();
    let dataset = draft.seal(None).expect("only we have it");
    assert!(dataset.content().is_some_and(|content| content.iter().all(|byte| *byte == 1)));
    let supported = onecopy_memory::kernel::features().collapse;
    assert!(supported || matches!(outcome, Err(HugePagesError::Unsupported)), "{outcome:?}");
    let mut small = DatasetDraft::create(100, Sections::default()).expect("memory");
    assert!(matches!(small.use_huge_pages(), Err(HugePagesError::TooSmall)));
}

fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("file");
    std::fs::write(&path, bytes).expect("room for a file");
    (directory, path)
}

fn change_of(result: Result<(), FileError>) -> &'static str {
    match result {
        Err(FileError::Stale { change, .. }) => change,
        other => panic!("expected it to be stale, got {other:?}"),
    }
}

#[test]
fn a_file_that_changes_is_stale_and_nothing_worse() {
    let (_directory, path) = file(&[5; 10_000]);
    let opened = DatasetFile::open(&path).expect("it is there");
    let mut bytes = [0; 100];
    opened.read_at(9_900, &mut bytes).expect("it is as it was");
    assert_eq!(bytes, [5; 100]);
    assert!(opened.content().is_none(), "its owner could change what was lent");
    assert!(matches!(opened.read_at(9_901, &mut bytes), Err(FileError::OutOfRange { .. })));
    assert!(matches!(opened.read_at(u64::MAX, &mut bytes), Err(FileError::OutOfRange { .. })));

    std::fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(50)).expect("our file");
    assert_eq!(change_of(opened.read_at(9_900, &mut bytes)), "was cut short");
    assert_eq!(change_of(opened.read_at(0, &mut bytes[..10])), "was cut short", "not only beyond the end");
    assert_eq!(change_of(opened.check()), "was cut short");
    std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(&[5; 9_950]))
        .expect("ours");
    assert_eq!(change_of(opened.check()), "was modified", "though its size is what it was");
}

#[test]
fn a_file_that_is_replaced_stays_what_it_was_to_those_who_have_it() {
    let (directory, path) = file(b"before");
    let opened = DatasetFile::open(&path).expect("it is there");
    let other = directory.path().join("other");
    std::fs::write(&other, b"after!").expect("room for a file");
    std::fs::rename(&other, &path).expect("both are ours");
    let mut bytes = [0; 6];
    opened.read_at(0, &mut bytes).expect("the file itself is as it was");
    assert_eq!(&bytes, b"before");
    let reopened = DatasetFile::reopen(opened.reference()).map(drop);
    assert_eq!(change_of(reopened), "was replaced by another file");
    std::fs::remove_file(&path).expect("it is ours");
    assert_eq!(change_of(DatasetFile::reopen(opened.reference()).map(drop)), "was moved or deleted");
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    assert!(matches!(DatasetFile::open(directory.path()), Err(FileError::NotAFile { .. })));
    assert!(matches!(DatasetFile::open("/dev/zero".as_ref()), Err(FileError::NotAFile { .. })));
    let pipe = directory.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .expect("a pipe can be made");
    assert!(matches!(DatasetFile::open(&pipe), Err(FileError::NotAFile { .. })));
    let absent = DatasetFile::open(&directory.path().join("absent"));
    assert!(matches!(absent, Err(FileError::System { .. })));
}

/// What the kernel promises never to change is lent; what it only keeps from growing is not.
#[test]
fn only_what_cannot_change_is_lent() {
    let memory = rustix::fs::memfd_create("file", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
    let memory = memory.expect("memory");
    rustix::io::write(memory.as_fd(), b"bytes").expect("room");
    let path = PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()));
    rustix::fs::fcntl_add_seals(&memory, SealFlags::GROW | SealFlags::FUTURE_WRITE)
        .expect("sealing is allowed");
    assert_eq!(DatasetFile::open(&path).expect("it is there").content(), None);
    rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::WRITE).expect("nobody writes");
    let opened = DatasetFile::open(&path).expect("it is there");
    assert_eq!(opened.content(), Some(&b"bytes"[..]));
    let mut bytes = [0; 3];
    opened.read_at(2, &mut bytes).expect("it is as it was");
    assert_eq!(&bytes, b"tes");
}
