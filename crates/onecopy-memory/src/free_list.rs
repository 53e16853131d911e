//! Which entries of a table are free: those that were given back, and those that nobody had yet.

use crate::sync::{Mutex, lock};

/// The free entries of one table, by their indices.
#[derive(Debug)]
pub(crate) struct FreeList {
    free: Mutex<Free>,
    length: usize,
}

#[derive(Debug, Default)]
struct Free {
    returned: Vec<u32>,
    never_used: u32,
}

impl FreeList {
    /// All entries of a table of that length.
    pub(crate) fn of(length: usize) -> Self {
        Self { free: Mutex::default(), length }
    }

    /// Takes an entry, one that was used before if there is one: memory behind it is there already. For any other,
    /// `reached` is told the new end of those that were ever used, before another is taken. `None` if all are taken.
    pub(crate) fn take(&self, reached: impl FnOnce(u32)) -> Option<u32> {
        let mut free = lock(&self.free);
        if let Some(index) = free.returned.pop() {
            return Some(index);
        }
        if free.never_used as usize >= self.length {
            return None;
        }
        free.never_used += 1;
        reached(free.never_used);
        Some(free.never_used - 1)
    }

    /// Gives one back that was taken, and is as new.
    pub(crate) fn give_back(&self, index: u32) {
        lock(&self.free).returned.push(index);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_taken_first_and_the_end_only_grows() {
        let list = FreeList::of(2);
        let mut ends = Vec::new();
        assert_eq!(list.take(|end| ends.push(end)), Some(0));
        list.give_back(0);
        assert_eq!(list.take(|end| ends.push(end)), Some(0));
        assert_eq!(list.take(|end| ends.push(end)), Some(1));
        assert_eq!(list.take(|end| ends.push(end)), None);
        list.give_back(1);
        assert_eq!(list.take(|end| ends.push(end)), Some(1));
        assert_eq!(ends, [1, 2]);
    }
}
