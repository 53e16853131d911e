//! What the control thread has left for a subscriber, taken in before the next message is looked for.

use super::Feeds;
use crate::error::ReceiveError;
use crate::feed::Feed;
use crate::inbox::News;

impl Feeds {
    /// Whether [`Self::refresh`] has something to take in.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.inbox_has_news() || !self.errors.is_empty()
    }

    /// Whether news have come that were not taken in.
    #[inline]
    pub(crate) fn inbox_has_news(&self) -> bool {
        self.inbox.news.has_news(self.seen)
    }

    /// Keeps an error for the next [`Self::refresh`]: there is something else to return now.
    pub(crate) fn tell_later(&mut self, error: ReceiveError) {
        self.errors.push(error);
    }

    /// Takes news in, if there is any.
    #[inline]
    pub(crate) fn refresh(&mut self) -> Result<(), ReceiveError> {
        if self.inbox.news.has_news(self.seen) || self.is_armed() || !self.errors.is_empty() {
            return self.take_news();
        }
        if self.node.is_forked() {
            return Err(ReceiveError::Forked);
        }
        Ok(())
    }

    #[cold]
    fn take_news(&mut self) -> Result<(), ReceiveError> {
        if self.node.is_forked() {
            return Err(ReceiveError::Forked);
        }
        self.disarm();
        for news in self.inbox.news.take(&mut self.seen) {
            if let Err(error) = self.take_one(news) {
                self.errors.push(error);
            }
        }
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors.remove(0)) }
    }

    fn take_one(&mut self, news: News) -> Result<(), ReceiveError> {
        match news {
            News::Attached(new) => {
                self.feeds.push(Feed::new(new));
                self.changes += 1;
            }
            News::Segment { publisher, index, replaced, descriptor } => {
                if let Some(position) = self.feeds.iter().position(|feed| feed.publisher == publisher)
                    && let Err(error) = self.feeds[position].take_segment(index, replaced, descriptor)
                {
                    self.current = position;
                    return Err(self.drop_because(&error.to_string()));
                }
            }
            News::MemoryLost { publisher, reason } => {
                let error = ReceiveError::MemoryLost(reason);
                // Whatever it publishes next may lie in there, and a reliable publisher would wait for us to read it.
                if let Some(position) = self.feeds.iter().position(|feed| feed.publisher == publisher) {
                    self.current = position;
                    self.forget_current(Some(&error));
                }
                return Err(error);
            }
            News::Gone { publisher } => {
                if let Some(feed) = self.feeds.iter_mut().find(|feed| feed.publisher == publisher) {
                    feed.end();
                }
            }
            News::Peer(news) => self.peer_news.push_back(news),
            News::Region(_) => {}
            News::Refused(error) => return Err(error),
            News::Evicted(reason) => {
                // Publishers go on knowing us until we let go, and reliable ones would wait for us to read. What the user
                // holds stays as it is.
                let error = ReceiveError::Evicted(reason);
                while !self.feeds.is_empty() {
                    self.forget_current(Some(&error));
                }
                return Err(error);
            }
        }
        Ok(())
    }
}
