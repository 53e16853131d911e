//! `publish-cost-observed`: [`publish_cost`](super::publish_cost) while somebody looks at everything that is counted, a
//! hundred times as often as `onecopy top` does. What a look takes of the processor is beside the point, so it is on
//! whichever core is free, and seldom enough to be no part of the median.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;
use onecopy::{PublisherEntry, SubscriberEntry};

use crate::child::Link;
use crate::onecopy_node;
use crate::samples::Samples;

const INTERVAL: Duration = Duration::from_millis(10);

/// Measures with somebody who looks.
pub(super) fn measure(
    link: &mut Link,
    measure: impl FnOnce(&mut Link) -> anyhow::Result<Samples>,
) -> anyhow::Result<Samples> {
    let node = onecopy_node::open(&link.job)?;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let observer = scope.spawn(|| {
            let mut messages_seen = 0;
            while !is_over.load(Ordering::Relaxed) {
                let inventory = node.inventory()?;
                for topic in &inventory.topics {
                    let publishers = topic.publishers.iter().filter_map(PublisherEntry::counters);
                    let subscribers = topic.subscribers.iter().map(SubscriberEntry::counters);
                    messages_seen += publishers.map(|counters| counters.messages).sum::<u64>();
                    messages_seen += subscribers.map(|counters| counters.received).sum::<u64>();
                }
                std::thread::park_timeout(INTERVAL);
            }
            anyhow::Ok(messages_seen)
        });
        let samples = measure(link);
        is_over.store(true, Ordering::Relaxed);
        observer.thread().unpark();
        let seen = observer.join().map_err(|_| anyhow::anyhow!("the observer panicked"))??;
        ensure!(samples.is_err() || seen > 0, "the observer saw nothing");
        samples
    })
}
