//! A typed look into a mapping that keeps the mapping alive: how the algorithms hold their atomics without knowing
//! whether these lie in shared memory or, under the model checker, on the heap.

use std::ops::Deref;
use std::ptr::NonNull;

use crate::layout::{
    Block, ClientCounters, CountersHeader, ReaderCounters, RegionHeader, RingHeader, SeatLine, SegmentHeader,
};
use crate::mapping::Mapping;
use crate::sync::{Arc, AtomicU64};

/// Types that may be looked at in memory another process writes.
///
/// # Safety
///
/// Every field is an atomic (or a `repr(transparent)` wrapper of one), so any bytes are valid and no access through
/// a shared reference can be a data race.
pub(crate) unsafe trait SharedLayout {}

// SAFETY: an atomic itself.
unsafe impl SharedLayout for AtomicU64 {}
// SAFETY: `repr(C)` with atomic fields only (see `layout`).
unsafe impl SharedLayout for SegmentHeader {}
// SAFETY: `repr(C)` with atomic fields only (see `layout`).
unsafe impl SharedLayout for RingHeader {}
// SAFETY: `repr(C)` with atomic fields only (see `layout`).
unsafe impl SharedLayout for Block {}
// SAFETY: `repr(C)` with atomic fields only (see `layout`).
unsafe impl SharedLayout for RegionHeader {}
// SAFETY: `repr(C)` with atomic fields only (see `layout`).
unsafe impl SharedLayout for SeatLine {}
// SAFETY: `repr(C)` with atomic fields only (see `layout`).
unsafe impl SharedLayout for CountersHeader {}
// SAFETY: `repr(C)` with atomic fields only (see `layout`).
unsafe impl SharedLayout for ReaderCounters {}
// SAFETY: `repr(C)` with atomic fields only (see `layout`).
unsafe impl SharedLayout for ClientCounters {}

/// `count` consecutive values of `T` inside memory that lives as long as this window.
#[derive(Debug)]
pub(crate) struct Window<T: SharedLayout> {
    base: NonNull<T>,
    count: usize,
    _memory: Memory<T>,
}

#[derive(Debug, Clone)]
enum Memory<T> {
    Mapping {
        _keep: Arc<Mapping>,
        _type: std::marker::PhantomData<T>,
    },
    #[cfg(loom)]
    Heap {
        _keep: std::sync::Arc<Vec<T>>,
    },
}

// SAFETY: the window gives out `&[T]` only, `T` is made of atomics, and the memory behind it is owned (by the
// reference count of a mapping, or of a heap allocation) wherever the window goes.
unsafe impl<T: SharedLayout> Send for Window<T> {}
// SAFETY: as above.
unsafe impl<T: SharedLayout> Sync for Window<T> {}

impl<T: SharedLayout> Window<T> {
    /// `count` values from `offset` on, or `None` if they don't lie inside the mapping or are not aligned.
    pub(crate) fn new(mapping: &Arc<Mapping>, offset: usize, count: usize) -> Option<Self> {
        let bytes = count.checked_mul(size_of::<T>())?;
        let base = mapping.range(offset, bytes)?.cast::<T>();
        if !base.is_aligned() {
            return None;
        }
        let memory = Memory::Mapping { _keep: Arc::clone(mapping), _type: std::marker::PhantomData };
        Some(Self { base, count, _memory: memory })
    }

    /// The same over the heap, for models.
    #[cfg(loom)]
    pub(crate) fn heap(values: Vec<T>) -> Self {
        let values = std::sync::Arc::new(values);
        let base = NonNull::from(values.as_slice()).cast();
        Self { base, count: values.len(), _memory: Memory::Heap { _keep: values } }
    }
}

impl<T: SharedLayout> Clone for Window<T> {
    fn clone(&self) -> Self {
        let memory = match &self._memory {
            Memory::Mapping { _keep, _type } => Memory::Mapping { _keep: Arc::clone(_keep), _type: *_type },
            #[cfg(loom)]
            Memory::Heap { _keep } => Memory::Heap { _keep: std::sync::Arc::clone(_keep) },
        };
        Self { base: self.base, count: self.count, _memory: memory }
    }
}

impl<T: SharedLayout> Deref for Window<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the constructors checked that `count` aligned values lie inside memory that `_memory` keeps alive
        // and in place; a mapping's size is sealed, so no page of it can vanish. `SharedLayout` promises that any
        // bytes are a valid `T` and that concurrent writers are no data race.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.count) }
    }
}

/// A window onto one value.
#[derive(Debug)]
pub(crate) struct Pane<T: SharedLayout> {
    /// Of one value.
    window: Window<T>,
}

impl<T: SharedLayout> Pane<T> {
    /// The value at `offset`, or `None` if it does not lie inside the mapping or is not aligned.
    pub(crate) fn new(mapping: &Arc<Mapping>, offset: usize) -> Option<Self> {
        Some(Self { window: Window::new(mapping, offset, 1)? })
    }

    /// The same over the heap, for models.
    #[cfg(loom)]
    pub(crate) fn heap(value: T) -> Self {
        Self { window: Window::heap(vec![value]) }
    }
}

impl<T: SharedLayout> Clone for Pane<T> {
    fn clone(&self) -> Self {
        Self { window: self.window.clone() }
    }
}

impl<T: SharedLayout> Deref for Pane<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        debug_assert_eq!(self.window.count, 1);
        // SAFETY: the constructors made the window of one value, so it is there.
        unsafe { self.window.get_unchecked(0) }
    }
}
