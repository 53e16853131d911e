//! What the kernel refuses to whoever was given a segment, and what is refused of segments that others offer.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use onecopy_memory::layout::{FORMAT_VERSION, MAGIC, SegmentKind};
use onecopy_memory::segment::{Segment, SegmentError, View};
use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

const BYTES: usize = 8192;

fn segment() -> Segment {
    Segment::create(SegmentKind::Pool, BYTES, 7).expect("memory for a small segment")
}

/// As a process has it that was sent the descriptor.
fn received(segment: &Segment) -> OwnedFd {
    segment.descriptor().try_clone_to_owned().expect("descriptors are not used up")
}

fn map(descriptor: BorrowedFd<'_>, protection: ProtFlags) -> Result<*mut std::ffi::c_void, Errno> {
    // SAFETY: a null hint lets the kernel choose an unused range.
    unsafe { rustix::mm::mmap(std::ptr::null_mut(), BYTES, protection, MapFlags::SHARED, descriptor, 0) }
}

#[test]
fn a_second_writable_mapping_is_refused() {
    let segment = segment();
    let descriptor = received(&segment);
    assert_eq!(map(descriptor.as_fd(), ProtFlags::READ | ProtFlags::WRITE), Err(Errno::PERM));
    assert_eq!(map(descriptor.as_fd(), ProtFlags::WRITE), Err(Errno::PERM));
}

#[test]
fn a_read_only_mapping_cannot_be_made_writable() {
    let segment = segment();
    let base = map(received(&segment).as_fd(), ProtFlags::READ).expect("reading is allowed");
    // SAFETY: the range was mapped above and nothing else refers to it.
    let result = unsafe { rustix::mm::mprotect(base, BYTES, MprotectFlags::READ | MprotectFlags::WRITE) };
    assert_eq!(result, Err(Errno::ACCESS));
    // SAFETY: as above.
    unsafe { rustix::mm::munmap(base, BYTES) }.expect("the range is ours");
}

#[test]
fn the_file_cannot_be_written() {
    let segment = segment();
    let mut file = File::from(received(&segment));
    let error = file.write_all(b"x").expect_err("writing is sealed off");
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn the_size_is_fixed() {
    let segment = segment();
    let descriptor = received(&segment);
    for bytes in [0, BYTES - 1, BYTES + 1, BYTES * 2] {
        assert_eq!(rustix::fs::ftruncate(&descriptor, bytes as u64), Err(Errno::PERM));
    }
    let grow = rustix::fs::fallocate(&descriptor, FallocateFlags::empty(), 0, 2 * BYTES as u64);
    assert_eq!(grow, Err(Errno::PERM));
}

#[test]
fn no_hole_can_be_punched() {
    let segment = segment();
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    assert_eq!(rustix::fs::fallocate(received(&segment), flags, 0, 4096), Err(Errno::PERM));
}

#[test]
fn no_seal_can_be_added() {
    let segment = segment();
    assert_eq!(rustix::fs::fcntl_add_seals(received(&segment), SealFlags::WRITE), Err(Errno::PERM));
}

#[test]
fn opening_it_again_for_writing_gives_no_writable_mapping() {
    let segment = segment();
    let path = format!("/proc/self/fd/{}", segment.descriptor().as_raw_fd());
    let reopened = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    // A kernel that refuses the opening itself is as good.
    if let Ok(reopened) = reopened {
        assert_eq!(map(reopened.as_fd(), ProtFlags::READ | ProtFlags::WRITE), Err(Errno::PERM));
        assert_eq!(rustix::io::write(&reopened, b"x"), Err(Errno::PERM));
    }
}

#[test]
fn what_is_received_is_what_was_made() {
    let segment = segment();
    let view = View::open(received(&segment), SegmentKind::Pool).expect("an honest segment");
    assert_eq!(view.total_bytes(), BYTES);
    view.expect_layout(7).expect("the same layout");
    let error = view.expect_layout(8).expect_err("another layout");
    assert!(matches!(error, SegmentError::Layout { ours: 8, theirs: 7 }));
}

#[test]
fn a_view_outlives_its_segment() {
    let segment = segment();
    let view = View::open(received(&segment), SegmentKind::Pool).expect("an honest segment");
    drop(segment);
    view.expect_layout(7).expect("the memory is still there");
}

/// A memfd with the contents and seals that a hostile process chose.
fn offered(words: &[u64], bytes: usize, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let descriptor = rustix::fs::memfd_create("hostile", flags).expect("memory for a memfd");
    let contents: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    rustix::io::write(&descriptor, &contents).expect("room for the header");
    rustix::fs::ftruncate(&descriptor, bytes as u64).expect("room for the contents");
    rustix::fs::fcntl_add_seals(&descriptor, seals).expect("sealing was allowed");
    descriptor
}

const ALL_SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

fn refusal(words: &[u64], bytes: usize) -> SegmentError {
    View::open(offered(words, bytes, ALL_SEALS), SegmentKind::Pool).expect_err("a hostile segment")
}

#[test]
fn a_header_that_lies_is_refused() {
    let honest = [MAGIC, FORMAT_VERSION, SegmentKind::Pool as u64, BYTES as u64];
    View::open(offered(&honest, BYTES, ALL_SEALS), SegmentKind::Pool).expect("an honest header");
    let with = |field: usize, value: u64| {
        let mut words = honest;
        words[field] = value;
        refusal(&words, BYTES)
    };
    assert!(matches!(with(0, MAGIC + 1), SegmentError::NotASegment));
    let later = FORMAT_VERSION + 1;
    assert!(
        matches!(with(1, later), SegmentError::Version { ours: FORMAT_VERSION, theirs } if theirs == later)
    );
    assert!(matches!(with(2, 1), SegmentError::Kind { ours: SegmentKind::Pool, theirs: 1 }));
    assert!(matches!(with(2, u64::MAX), SegmentError::Kind { theirs: u64::MAX, .. }));
    assert!(matches!(with(3, u64::MAX), SegmentError::Size { claimed: u64::MAX, actual: 8192 }));
    assert!(matches!(with(3, 4096), SegmentError::Size { claimed: 4096, actual: 8192 }));
    assert!(matches!(refusal(&honest[..1], 8), SegmentError::NotASegment));
    assert!(matches!(refusal(&[], 0), SegmentError::NotASegment));
}

#[test]
fn memory_without_every_seal_is_refused() {
    let honest = [MAGIC, FORMAT_VERSION, SegmentKind::Pool as u64, BYTES as u64];
    for missing in [SealFlags::SHRINK, SealFlags::GROW, SealFlags::FUTURE_WRITE, SealFlags::SEAL] {
        let descriptor = offered(&honest, BYTES, ALL_SEALS.difference(missing));
        let error = View::open(descriptor, SegmentKind::Pool).expect_err("a seal is missing");
        assert!(matches!(error, SegmentError::NotSealed));
    }
}

#[test]
fn what_is_no_memfd_is_refused() {
    let file = File::open("/proc/self/exe").expect("a regular file");
    let (pipe, _other) = std::io::pipe().expect("descriptors are not used up");
    for descriptor in [OwnedFd::from(file), OwnedFd::from(pipe)] {
        let error = View::open(descriptor, SegmentKind::Pool).expect_err("it has no seals");
        assert!(matches!(error, SegmentError::NotSealed));
    }
}

/// Touching a huge page can end in a signal, whatever the seals. Such a memfd can be made, though not mapped, even
/// where no huge pages are set aside.
#[test]
fn huge_pages_are_refused() {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB;
    // A kernel without huge pages has nothing to refuse.
    let Ok(descriptor) = rustix::fs::memfd_create("huge", flags) else { return };
    rustix::fs::ftruncate(&descriptor, 1 << 30).expect("a whole number of huge pages of any size");
    rustix::fs::fcntl_add_seals(&descriptor, ALL_SEALS).expect("sealing was allowed");
    let error = View::open(descriptor, SegmentKind::Pool).expect_err("huge pages");
    assert!(matches!(error, SegmentError::NotSealed), "{error}");
}

#[test]
fn a_size_that_no_machine_has_is_an_error() {
    let error = Segment::create(SegmentKind::Pool, 1 << 60, 0).expect_err("an exabyte");
    assert!(matches!(error, SegmentError::OutOfMemory { .. } | SegmentError::System { .. }), "{error}");
}
