//! One message held: its chunk is not reused while its entry stands in the reader's chain.

use super::chain::Entry;
use super::error::HoldError;
use super::reader_state::ReaderState;
use crate::sync::Arc;

/// One message held; dropped, its chunk may be reused.
///
/// See [`HeldChunk`](crate::ring::HeldChunk), which has one, for an example.
#[derive(Debug)]
pub struct Hold {
    state: Arc<ReaderState>,
    entry: Entry,
}

#[cfg(loom)]
impl Hold {
    /// A second hold on the same message, as [`crate::ring::HeldChunk::part`] takes one.
    pub fn again_for_model(&self) -> Self {
        let entry = self.state.enter_again(self.entry).expect("the model's table is large enough");
        Self { state: Arc::clone(&self.state), entry }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.state.release(self.entry);
    }
}

/// A hold for the length of a look: nothing has to be kept for it.
#[derive(Debug)]
pub(crate) struct BriefHold<'a> {
    state: &'a ReaderState,
    entry: Entry,
}

impl<'a> BriefHold<'a> {
    /// Enters `position` into the reader's held table, for no longer than `state` is borrowed. The caller
    /// must then check that the writer had not given it up.
    #[inline]
    pub(crate) fn take(state: &'a ReaderState, position: u64) -> Result<Self, HoldError> {
        Ok(Self { state, entry: state.enter(position)? })
    }

    /// Makes it last. `state` is the one it borrows.
    #[inline]
    pub(crate) fn keep(self, state: &Arc<ReaderState>) -> Hold {
        let entry = self.leave(state);
        Hold { state: Arc::clone(state), entry }
    }

    /// Leaves its entry to somebody who will release it.
    #[inline]
    pub(crate) fn leave(self, state: &ReaderState) -> Entry {
        debug_assert!(std::ptr::eq(self.state, state), "a hold stays with its reader");
        std::mem::ManuallyDrop::new(self).entry
    }
}

impl Drop for BriefHold<'_> {
    #[inline]
    fn drop(&mut self) {
        self.state.release(self.entry);
    }
}
