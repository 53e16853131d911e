//! What a client or a server receives: messages of all its counterparts, in turn, whole but not looked into.

use onecopy_memory::ring::{MessageParts, Received};

use super::letter::{Header, Letter};
use crate::content::Content;
use crate::draft::chunk_header_bytes;
use crate::error::ReceiveError;
use crate::feed::Feed;
use crate::feeds::Feeds;

/// The feeds of a client or a server, and the message received last.
pub(super) struct Mail<H: Header> {
    pub(super) feeds: Feeds,
    pub(super) content: Letter<H>,
}

impl<H: Header> Mail<H> {
    pub(super) fn new(feeds: Feeds) -> Self {
        Self { feeds, content: Letter::new() }
    }

    /// Receives the next message and lets `look` see it with the feed that it came from; `None` if there is none.
    #[inline]
    pub(super) fn next<R>(
        &mut self,
        look: impl FnOnce(&Feed, &mut Content<H>) -> R,
    ) -> Result<Option<R>, ReceiveError> {
        let mut tried = 0;
        loop {
            self.feeds.refresh()?;
            if let Some(feed) = self.feeds.current() {
                let Content { header, inline, held: chunk, .. } = &mut *self.content;
                let (header, payload) = (header.as_mut_bytes(), inline.buffer());
                match feed.reader.receive(&mut MessageParts { header, payload, exact: false, chunk }) {
                    Ok(Received::Inline { length }) => {
                        self.content.held = None;
                        self.content.inline.set_bytes(length);
                        let seen = look(feed, &mut self.content);
                        self.feeds.received();
                        return Ok(Some(seen));
                    }
                    Ok(Received::Empty) => {}
                    Ok(Received::Chunk { count: 1, .. })
                        if self.content.open_chunk(chunk_header_bytes::<H>()) =>
                    {
                        let seen = look(feed, &mut self.content);
                        self.feeds.received();
                        return Ok(Some(seen));
                    }
                    unusual => self.feeds.stumble(unusual)?,
                }
                self.feeds.turn();
                tried += 1;
            }
            if tried >= self.feeds.len() {
                // True if something came between the look and the arming of the doorbells.
                if !self.feeds.arm()? {
                    return Ok(None);
                }
                tried = 0;
            }
        }
    }
}
