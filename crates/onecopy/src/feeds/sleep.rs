//! A subscriber asleep: every publisher's futex or doorbell wakes it, and so does its mailbox.

use std::os::fd::{AsFd, BorrowedFd};

use onecopy_memory::sync::Futex;

use super::Feeds;
use crate::error::{ReceiveError, WaitError};
use crate::feed::Feed;
use crate::sleep::Sleeper;

impl Sleeper for Feeds {
    fn words(&self) -> usize {
        self.feeds.len() + 1
    }

    fn announce(&mut self, on_doorbell: bool) -> Result<(), WaitError> {
        // A child must not speak for its parent, nor write into the parent's reader state.
        if self.node.is_forked() {
            return Err(ReceiveError::Forked.into());
        }
        if on_doorbell {
            self.make_event_loop()?;
        }
        for feed in &mut self.feeds {
            if let (true, Some(event_loop)) = (on_doorbell, &self.event_loop) {
                match feed.hand_out_doorbell(&self.node, self.port, &event_loop.readiness) {
                    // The news that say why are here: there is something to do, and no sleep.
                    Err(WaitError::NoDoorbell) if self.node.was_refused() => return Ok(()),
                    handed_out => handed_out?,
                }
            } else {
                feed.announce_futex(&self.node, self.port)?;
            }
        }
        Ok(())
    }

    fn prepare(&mut self, on_doorbell: bool) {
        if let (true, Some(event_loop)) = (on_doorbell, &self.event_loop) {
            // An old ring would end this sleep at once. News that rang it is seen by the look that follows.
            event_loop.inbox_bell.was_rung();
        }
        self.posted_value = self.inbox.news.posted().value();
        for feed in &mut self.feeds {
            feed.wake_value = feed.reader.prepare_sleep(on_doorbell);
        }
    }

    fn is_ready(&self) -> bool {
        self.inbox.news.has_news(self.seen)
            || self.feeds.iter().any(Feed::is_ready)
            || !self.errors.is_empty()
    }

    fn futexes<'a>(&'a self, futexes: &mut Vec<(&'a Futex, u32)>) {
        futexes.push((self.inbox.news.posted(), self.posted_value));
        futexes.extend(self.feeds.iter().map(|feed| (feed.reader.wake_word(), feed.wake_value)));
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.event_loop.as_ref().map(|event_loop| event_loop.readiness.as_fd())
    }

    fn cancel(&mut self) {
        self.say_awake();
        // The user's event loop was promised that the descriptor becomes readable, and this wait has taken the rings.
        if self.event_loop.as_ref().is_some_and(|event_loop| event_loop.for_user) {
            self.ring_own_bell();
        }
    }
}
