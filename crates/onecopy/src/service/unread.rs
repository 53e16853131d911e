//! Answers to one call that were received while its client waited for something else, in their order. So the answers of
//! all calls, which come through one ring, need not wait for each other. Small ones are here as they are;
//! large ones stay where their server wrote them, and are held.

use std::collections::VecDeque;

use super::header::ResponseHeader;
use super::letter::Letter;
use crate::limits::{STREAM_ANSWERS_MAX, STREAM_CHUNKS_MAX};

#[derive(Default)]
pub(super) struct Unread {
    letters: VecDeque<Letter<ResponseHeader>>,
    held: usize,
}

impl Unread {
    /// Whether there is room for another answer. No server that keeps to what its client has taken finds
    /// none: what is left beyond a stream's window is for the last answer.
    pub(super) fn has_room(&self) -> bool {
        self.letters.len() <= STREAM_ANSWERS_MAX && self.held <= STREAM_CHUNKS_MAX
    }

    pub(super) fn push(&mut self, letter: Letter<ResponseHeader>) {
        self.held += usize::from(letter.held.is_some());
        self.letters.push_back(letter);
    }

    pub(super) fn pop(&mut self) -> Option<Letter<ResponseHeader>> {
        let letter = self.letters.pop_front()?;
        self.held -= usize::from(letter.held.is_some());
        Some(letter)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
