//! What keeps a subscriber alive towards the broker while somebody still reads what it received.

use std::any::Any;
use std::sync::Arc;

use super::conversation::Conversation;
use crate::broker::protocol::{PortId, Request, Route};

/// Keeps a subscriber open towards the broker, and its node with it, for as long as one of its readers or a
/// message that one of them holds is there: a publisher that is told of its end takes the memory of held
/// messages back.
#[derive(Debug)]
pub(super) struct SubscriberLease {
    port: PortId,
    conversation: Arc<Conversation>,
    /// Dropped after the last word was sent. Of whatever type: what is kept need not be known to be kept.
    _node: Arc<dyn Any + Send + Sync>,
}

impl SubscriberLease {
    pub(super) fn new(
        port: PortId,
        conversation: Arc<Conversation>,
        node: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self { port, conversation, _node: node }
    }
}

impl Drop for SubscriberLease {
    fn drop(&mut self) {
        let port = self.port;
        self.conversation.say_or_log(|ledger| ledger.close(port), &Request::Close { port }, None);
    }
}

/// Tells the publisher, when a reader and all it holds are gone, that it may forget the reader.
#[derive(Debug)]
pub(super) struct DetachToken {
    pub(super) lease: Arc<SubscriberLease>,
    pub(super) publisher: PortId,
}

impl Drop for DetachToken {
    fn drop(&mut self) {
        let route = Route { publisher: self.publisher, subscriber: self.lease.port };
        let conversation = &self.lease.conversation;
        conversation.say_or_log(|ledger| ledger.detach(route), &Request::Detach { route }, None);
    }
}
