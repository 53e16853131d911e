//! A request or response that was received and may be kept: a box, so that it goes from hand to hand as one
//! word. By value, its three hundred bytes were copied four times from the ring to the user, each time
//! waiting for the stores of the time before (docs/decisions/store-forwarding.md): half the time of a call
//! that stays in one process.
//!
//! Boxes that are done with wait in their thread for the next message, so that nothing is allocated for each.
//! One that ends in another thread than it was received in is that thread's from then on.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

use super::header::{RequestHeader, ResponseHeader};
use crate::content::Content;
use crate::payload::PlainData;

/// Boxes that a thread keeps: as many messages as it usually has at once, and some ten kilobytes.
const SPARE_MAX: usize = 32;

/// Empty boxes of one thread.
pub(super) type Spare<H> = RefCell<Vec<Box<Content<H>>>>;

/// What goes before the payload: each kind has its boxes.
pub(super) trait Header: PlainData + Copy {
    fn spare() -> &'static LocalKey<Spare<Self>>;
}

thread_local! {
    static REQUESTS: Spare<RequestHeader> = const { RefCell::new(Vec::new()) };
    static RESPONSES: Spare<ResponseHeader> = const { RefCell::new(Vec::new()) };
}

impl Header for RequestHeader {
    fn spare() -> &'static LocalKey<Spare<Self>> {
        &REQUESTS
    }
}

impl Header for ResponseHeader {
    fn spare() -> &'static LocalKey<Spare<Self>> {
        &RESPONSES
    }
}

/// A message in a box, which is there until this is dropped.
pub(super) struct Letter<H: Header>(Option<Box<Content<H>>>);

impl<H: Header> Letter<H> {
    /// An empty one. What it says means nothing until something is received into it.
    #[inline]
    pub(super) fn new() -> Self {
        // A thread that ends has no boxes any more.
        let spare = H::spare().try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
        Self(Some(spare.unwrap_or_else(|| Box::new(Content::empty()))))
    }

    /// Leaves an empty one behind.
    #[inline]
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new())
    }
}

impl<H: Header> Deref for Letter<H> {
    type Target = Content<H>;

    #[inline]
    fn deref(&self) -> &Content<H> {
        self.0.as_deref().expect("the box is there until the end")
    }
}

impl<H: Header> DerefMut for Letter<H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Content<H> {
        self.0.as_deref_mut().expect("the box is there until the end")
    }
}

impl<H: Header> Drop for Letter<H> {
    #[inline]
    fn drop(&mut self) {
        let Some(mut content) = self.0.take() else { return };
        if content.held.is_some() {
            content.let_go();
        }
        // A thread that ends takes no more.
        let _ended = H::spare().try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_MAX {
                spare.push(content);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spare() -> usize {
        RequestHeader::spare().with(|spare| spare.borrow().len())
    }

    #[test]
    fn boxes_are_used_again() {
        let mut received = Letter::<RequestHeader>::new();
        received.header.id = 7;
        let kept = received.take();
        assert_eq!((kept.header.id, spare()), (7, 0));
        let first: *const Content<_> = &raw const *kept;
        drop(kept);
        assert_eq!(spare(), 1);
        let again = received.take();
        assert_eq!(spare(), 0);
        assert!(std::ptr::eq(first, &raw const *received));
        drop((received, again));
        assert_eq!(spare(), 2);
    }

    #[test]
    fn no_more_are_kept_than_a_thread_needs() {
        let many: Vec<_> = (0..2 * SPARE_MAX).map(|_| Letter::<RequestHeader>::new()).collect();
        drop(many);
        assert_eq!(spare(), SPARE_MAX);
    }
}
