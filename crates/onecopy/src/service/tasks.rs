//! Tasks that wait for something, each with what tells whether that has come. A task is listed anew whenever
//! its wait is polled; a wait that is dropped leaves nothing behind.

use std::collections::HashMap;
use std::task::Waker;

use onecopy_memory::ring::SpaceWait;

pub(super) struct Tasks<T> {
    next_key: u64,
    waiting: HashMap<u64, (T, Waker)>,
}

impl<T> Default for Tasks<T> {
    fn default() -> Self {
        Self { next_key: 0, waiting: HashMap::new() }
    }
}

impl<T> Tasks<T> {
    /// Lists a task until [`Self::leave`] is called with the key returned.
    pub(super) fn enter(&mut self, what: T, waker: &Waker) -> u64 {
        self.next_key += 1;
        self.waiting.insert(self.next_key, (what, waker.clone()));
        self.next_key
    }

    pub(super) fn leave(&mut self, key: u64) {
        self.waiting.remove(&key);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn wake_all(&self) {
        self.wake_those(|_| true);
    }

    /// Wakes the tasks for which it has come.
    pub(super) fn wake_those(&self, has_come: impl Fn(&T) -> bool) {
        self.waiting.values().filter(|(what, _)| has_come(what)).for_each(|(_, waker)| waker.wake_by_ref());
    }
}

impl Tasks<SpaceWait> {
    /// Lists a task that waits for space. What has come since its wait began may have been for others, and
    /// will not be told of again: then it looks again at once, as a thread that sleeps would.
    pub(super) fn enter_for_space(&mut self, wait: SpaceWait, waker: &Waker) -> u64 {
        if wait.is_over() {
            waker.wake_by_ref();
        }
        self.enter(wait, waker)
    }

    /// Wakes the tasks whose counterparts have made space.
    pub(super) fn wake_for_space(&self) {
        self.wake_those(SpaceWait::is_over);
    }
}
