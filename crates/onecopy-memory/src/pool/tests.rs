//! Random sequences of allocating and freeing, against the two promises of a pool: no two live chunks overlap, and
//! what was freed can be allocated again, in whatever sizes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::layout::SegmentKind;

const BUDGET_BYTES: usize = 6 << 20;

#[derive(Debug, Clone)]
enum Step {
    Allocate(usize),
    /// The live chunk of this number, counted round.
    Free(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![0..200_usize, 0..20_000_usize, 0..(3_usize << 20)];
    prop_oneof![length.prop_map(Step::Allocate), any::<usize>().prop_map(Step::Free)]
}

/// As [`crate::ring::RingWriter::allocate`] does it, without readers.
fn allocate(pool: &mut Pool, length: usize) -> Option<Chunk> {
    if let Some(chunk) = pool.allocate(length) {
        return Some(chunk);
    }
    let bytes = pool.growth(length).or_else(|| pool.replacement(length))?;
    pool.add(&Segment::create(SegmentKind::Pool, bytes, 0).expect("memory for a small segment"));
    Some(pool.allocate(length).expect("the pool has just grown for it"))
}

fn check(pool: &Pool, live: &[Chunk]) {
    assert!(pool.committed_bytes() <= pool.budget_bytes().next_multiple_of(LINE_BYTES));
    let recent = pool.recent.iter().flat_map(|(class, chunks)| {
        assert!(chunks.iter().all(|chunk| chunk.capacity() == *class));
        chunks
    });
    let recent_bytes: usize = recent.clone().map(Chunk::capacity).sum();
    assert_eq!(recent_bytes, pool.recent_bytes);
    let chunks = live.iter().chain(recent).map(|chunk| (chunk.address(), chunk.capacity(), true));
    let free = pool.ranges.ranges().into_iter().map(|(address, length)| (address, length, false));
    let mut all: Vec<_> = chunks.chain(free).collect();
    all.sort_unstable_by_key(|(address, ..)| *address);
    for (address, length, _) in &all {
        assert!(*length > 0 && address.offset.is_multiple_of(LINE_BYTES as u64));
        let segment = pool.segments[address.segment as usize].as_ref().expect("it was not replaced");
        assert!(address.offset >= HEADER_BYTES as u64);
        assert!(address.offset as usize + length <= segment.mapping.len());
    }
    for pair in all.windows(2) {
        let [(before, length, is_chunk), (after, _, next_is_chunk)] = pair else { unreachable!() };
        if before.segment == after.segment {
            // Nothing overlaps, nothing is lost in between, and free neighbours are one range.
            assert_eq!(before.offset + *length as u64, after.offset);
            assert!(*is_chunk || *next_is_chunk);
        }
    }
    let total: usize = all.iter().map(|(_, length, _)| length).sum();
    let lines: usize = pool.segments.iter().flatten().map(PoolSegment::usable_bytes).sum();
    assert_eq!(total, lines, "every line is somewhere, once");
    assert_eq!(pool.used_bytes(), live.iter().map(Chunk::capacity).sum::<usize>());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chunks_never_overlap_and_come_back_whole(steps in vec(step(), 1..120), budget in 100_000..BUDGET_BYTES) {
        let mut pool = Pool::new(budget);
        let mut live = Vec::new();
        for step in steps {
            match step {
                Step::Allocate(length) => {
                    if let Some(mut chunk) = allocate(&mut pool, length) {
                        prop_assert!(chunk.capacity() >= length);
                        prop_assert_eq!(chunk.bytes_mut().len(), chunk.capacity());
                        prop_assert!(chunk.bytes().as_ptr().addr().is_multiple_of(LINE_BYTES));
                        chunk.bytes_mut()[..length].fill(live.len() as u8);
                        live.push(chunk);
                    }
                }
                Step::Free(number) if !live.is_empty() => pool.free(live.swap_remove(number % live.len())),
                Step::Free(_) => {}
            }
            check(&pool, &live);
        }
        for chunk in live.drain(..) {
            pool.free(chunk);
        }
        // All the memory is free: the budget can be had in one piece, and no more.
        prop_assert!(!pool.may_ever_hold(budget.next_multiple_of(LINE_BYTES) + 1) && pool.may_ever_hold(budget));
        let whole = allocate(&mut pool, budget);
        prop_assert!(whole.is_some(), "{:?}", pool);
        whole.into_iter().for_each(|chunk| pool.free(chunk));
        pool.merge_recent();
        check(&pool, &[]);
    }

    /// Whoever may not have what a pool asks for does with little.
    #[test]
    fn the_least_growth_is_enough(steps in vec(step(), 1..60), budget in 100_000..BUDGET_BYTES) {
        let mut pool = Pool::new(budget);
        let mut live = Vec::new();
        for step in steps {
            match step {
                Step::Allocate(length) => {
                    let chunk = pool.allocate(length).or_else(|| {
                        pool.growth(length).or_else(|| pool.replacement(length))?;
                        // What replaces others may leave room for slack, which is asked for next.
                        (0..2).find_map(|_| {
                            let bytes = pool.growth_least(length).expect("it may grow");
                            pool.add(&Segment::create(SegmentKind::Pool, bytes, 0).expect("memory"));
                            pool.allocate(length)
                        })
                    });
                    // Numbers run out sooner than with what it asks for.
                    let is_full = pool.growth(length).or_else(|| pool.replacement(length)).is_none();
                    prop_assert!(chunk.is_some() || is_full, "{:?}", pool);
                    live.extend(chunk);
                }
                Step::Free(number) if !live.is_empty() => pool.free(live.swap_remove(number % live.len())),
                Step::Free(_) => {}
            }
            check(&pool, &live);
        }
    }

    #[test]
    fn a_size_class_is_close_above_its_length(length in 0..usize::MAX / 4) {
        let class = size_class(length).expect("far from the end of memory");
        prop_assert!(class >= length && class.is_multiple_of(LINE_BYTES));
        prop_assert!(class - length < (length / CLASSES_PER_DOUBLING).max(LINE_BYTES) + LINE_BYTES);
        prop_assert_eq!(size_class(class), Some(class), "a class is of its own class");
    }
}

#[test]
fn indices_do_not_run_out_however_messages_grow() {
    const BUDGET: usize = 16 << 20;
    let mut pool = Pool::new(BUDGET);
    for length in (1..=BUDGET / 4096).map(|pages| pages * 4096) {
        let chunk = allocate(&mut pool, length).expect("nothing else is in use");
        assert!(chunk.capacity() >= length);
        pool.free(chunk);
    }
    assert!(pool.segments() <= 2 * BUDGET.ilog2() as usize - 2 * FIRST_SEGMENT_BYTES.ilog2() as usize + 2);
    assert_eq!(pool.segments.iter().flatten().count(), 1, "one segment has replaced the others");
}

#[test]
fn what_is_in_use_is_not_replaced() {
    const BUDGET: usize = 8 << 20;
    let mut pool = Pool::new(BUDGET);
    let small = allocate(&mut pool, 100).expect("an empty pool has room");
    let large = allocate(&mut pool, 2 << 20).expect("within the budget");
    pool.free(large);
    assert!(
        allocate(&mut pool, BUDGET).is_none() && pool.may_ever_hold(BUDGET),
        "as long as a chunk is in use"
    );
    let rest = BUDGET - pool.segments[0].as_ref().expect("it is in use").usable_bytes();
    let index = small.address().segment;
    let large = allocate(&mut pool, rest).expect("what is not in use makes room");
    assert!(large.address().segment > 1, "no index is used again");
    pool.free(small);
    pool.free(large);
    let whole = allocate(&mut pool, BUDGET).expect("nothing is in use");
    assert!(pool.segments[index as usize].is_none() && pool.replaced_by(1) == SegmentSet::EMPTY);
    pool.free(whole);
}

#[test]
fn a_pool_that_must_not_grow_uses_all_it_has() {
    let mut pool = Pool::new(8 << 20);
    let chunk = allocate(&mut pool, 100).expect("an empty pool has room");
    pool.free(chunk);
    assert!(pool.set_growth(false) && !pool.may_grow());
    let whole = pool.segments[0].as_ref().expect("it was added").usable_bytes();
    assert!(pool.may_ever_hold(whole) && !pool.may_ever_hold(whole + 1));
    assert!(allocate(&mut pool, whole + 1).is_none());
    let chunk = allocate(&mut pool, whole).expect("all of it is free");
    assert!(allocate(&mut pool, 1).is_none());
    pool.free(chunk);
}

#[test]
fn what_cannot_be_addressed_has_no_class() {
    assert_eq!(size_class(usize::MAX), None);
    assert_eq!(Pool::new(usize::MAX).growth(usize::MAX), None);
    assert!(!Pool::new(usize::MAX).may_ever_hold(usize::MAX));
}

#[test]
fn the_budget_bounds_the_pool_even_when_it_is_no_round_number() {
    let mut pool = Pool::new((1 << 20) + 5000);
    assert!(allocate(&mut pool, 500_000).is_some());
    assert_eq!(pool.growth(6000), None);
    let rest = pool.growth(100).expect("some 5000 bytes are left");
    pool.add(&Segment::create(SegmentKind::Pool, rest, 0).expect("memory for a small segment"));
    assert_eq!(pool.growth(1), None);
    assert!(pool.committed_bytes() <= pool.budget_bytes());
}

#[test]
fn segments_are_few_however_large_the_budget() {
    let mut pool = Pool::new(1 << 46);
    let mut segments = 0;
    while let Some(bytes) = pool.growth(1) {
        // Counting is enough: the address space of a test has no room for 64 TiB.
        pool.committed_bytes += bytes;
        segments += 1;
    }
    assert!(segments < crate::layout::SEGMENTS_MAX);
}

#[test]
#[should_panic(expected = "ptr_eq")]
fn a_chunk_of_another_pool_is_not_taken() {
    let mut pools = [Pool::new(1 << 20), Pool::new(1 << 20)];
    let chunk = allocate(&mut pools[0], 100).expect("an empty pool has room");
    drop(allocate(&mut pools[1], 100));
    pools[1].free(chunk);
}

#[test]
fn taking_lines_back_changes_nothing_in_them() {
    const LENGTH: usize = TAKE_BACK_BYTES_MAX + 1000;
    let mut pool = Pool::new(BUDGET_BYTES);
    pool.take_back_next(LENGTH);
    let mut chunk = allocate(&mut pool, LENGTH).expect("the budget is larger");
    let address = chunk.address();
    let bytes: Vec<u8> = (0..chunk.capacity()).map(|index| (index % 251) as u8).collect();
    chunk.bytes_mut().copy_from_slice(&bytes);
    pool.free(chunk);
    pool.take_back_next(LENGTH);
    let chunk = pool.allocate(LENGTH).expect("it was freed");
    assert_eq!((chunk.address(), chunk.bytes()), (address, bytes.as_slice()));
}
