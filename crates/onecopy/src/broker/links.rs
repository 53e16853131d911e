//! How far each publisher and each subscriber of a topic have come with each other. The tie between the two
//! (a *link*) is kept in one place, at the subscriber, so the two sides can't disagree.

use std::collections::BTreeSet;
use std::sync::Arc;

use onecopy_memory::layout::SEGMENTS_MAX;

use super::descriptor::Descriptor;
use super::protocol::{Event, PortId, Refusal, Route, SegmentSet};
use super::topics::{Outbox, PidOf, Topic, Topics};

/// How far a publisher and a subscriber have come with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// The subscriber was shown the publisher.
    Offered,
    /// The same, and the publisher knows the subscriber from an earlier broker.
    OfferedAgain,
    /// The publisher was told where the subscriber's reader state is.
    Requested,
    /// The subscriber was told where to start.
    Attached,
}

impl Topics {
    pub(super) fn add_segment(
        &mut self,
        port: PortId,
        index: u32,
        replaced: SegmentSet,
        segment: &Descriptor,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        let Some(topic) = self.topic_of(port) else { return Ok(()) };
        let publisher = topic.publishers.get_mut(&port).ok_or(Refusal::WrongRole { port })?;
        if index >= SEGMENTS_MAX {
            return Err(Refusal::SegmentOutOfRange { publisher: port, index });
        }
        if publisher.segments.contains_key(&index) {
            return Err(Refusal::DuplicateSegment { publisher: port, index });
        }
        publisher.segments.retain(|index, _| !replaced.contains(*index));
        publisher.segments.insert(index, Arc::clone(segment));
        for (subscriber, record) in &topic.subscribers {
            if record.links.contains_key(&port) {
                let route = Route { publisher: port, subscriber: *subscriber };
                outbox.tell_with(subscriber.node, Event::Segment { route, index, replaced }, segment);
            }
        }
        Ok(())
    }

    /// Shows a subscriber a publisher, with all its segments.
    pub(super) fn offer(&mut self, route: Route, pids: PidOf<'_>, outbox: &mut Outbox) {
        if let Some(topic) = self.topic_of(route.subscriber) {
            topic.offer(route, pids, outbox);
        }
    }

    /// Shows a subscriber a publisher that knows it already, and whose answer got lost.
    pub(super) fn offer_again(&mut self, route: Route, pids: PidOf<'_>, outbox: &mut Outbox) {
        self.offer(route, pids, outbox);
        let subscriber =
            self.topic_of(route.subscriber).and_then(|it| it.subscribers.get_mut(&route.subscriber));
        if let Some(link) = subscriber.and_then(|subscriber| subscriber.links.get_mut(&route.publisher)) {
            *link = Link::OfferedAgain;
        }
    }

    /// Two that know each other already, of which the subscriber has these segments.
    pub(super) fn resume(&mut self, route: Route, segments: SegmentSet, outbox: &mut Outbox) {
        let Some(topic) = self.topic_of(route.subscriber) else { return };
        let Some(publisher) = topic.publishers.get(&route.publisher) else { return };
        let present = publisher.segments.keys().copied().collect();
        let mut replaced = segments.without(present);
        for (index, segment) in publisher.segments.iter().filter(|(index, _)| !segments.contains(**index)) {
            let event = Event::Segment { route, index: *index, replaced };
            outbox.tell_with(route.subscriber.node, event, segment);
            replaced = SegmentSet::EMPTY;
        }
        if let Some(subscriber) = topic.subscribers.get_mut(&route.subscriber) {
            subscriber.links.insert(route.publisher, Link::Attached);
        }
    }

    /// Tells a port that everyone who was there is there, if that is so.
    pub(super) fn tell_settled(&mut self, port: PortId, outbox: &mut Outbox) {
        let Some(topic) = self.topic_of(port) else { return };
        let publisher = topic.publishers.get(&port).map(|publisher| &publisher.awaited);
        let subscriber = topic.subscribers.get(&port);
        let absent = subscriber.map(|_| &topic.absent_writers);
        let subscriber = subscriber.map(|subscriber| &subscriber.awaited);
        if [publisher, subscriber, absent].into_iter().flatten().all(BTreeSet::is_empty) {
            outbox.tell(port.node, Event::Settled { port });
        }
    }

    /// The subscriber's first step. Like every word from one side to the other it may cross the other's end, so it is
    /// dropped without blame if the link isn't (or isn't any more) in a state to take it: the other side
    /// alone could have brought that about, by closing its port and opening it again.
    pub(super) fn attach(
        &mut self,
        route: Route,
        event: Event,
        readers: &Descriptor,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        let Some(topic) = self.topic_of(route.subscriber) else { return Ok(()) };
        let Some(link) = topic.subscriber(route.subscriber)?.links.get_mut(&route.publisher) else {
            return Ok(());
        };
        if matches!(link, Link::Offered | Link::OfferedAgain) {
            *link = Link::Requested;
            outbox.tell_with(route.publisher.node, event, readers);
            topic.publisher_met(route, outbox);
        }
        Ok(())
    }

    /// The publisher's answer to [`attach`](Self::attach).
    pub(super) fn attached(&mut self, route: Route, start: u64, outbox: &mut Outbox) -> Result<(), Refusal> {
        let port = route.publisher;
        let Some(topic) = self.topic_of(port) else { return Ok(()) };
        if !topic.publishers.contains_key(&port) {
            return Err(Refusal::WrongRole { port });
        }
        let Some(subscriber) = topic.subscribers.get_mut(&route.subscriber) else { return Ok(()) };
        if let Some(link @ Link::Requested) = subscriber.links.get_mut(&port) {
            *link = Link::Attached;
            outbox.tell(route.subscriber.node, Event::Attached { route, start });
            topic.subscriber_met(route, outbox);
        }
        Ok(())
    }

    pub(super) fn may_sleep(
        &mut self,
        route: Route,
        event: Event,
        doorbell: Option<&Descriptor>,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        let Some(topic) = self.topic_of(route.subscriber) else { return Ok(()) };
        let link = topic.subscriber(route.subscriber)?.links.get(&route.publisher);
        if let Some(Link::Requested | Link::Attached) = link {
            outbox.0.push((route.publisher.node, event, doorbell.map(Arc::clone)));
        }
        Ok(())
    }

    pub(super) fn detach(&mut self, route: Route, outbox: &mut Outbox) -> Result<(), Refusal> {
        let Some(topic) = self.topic_of(route.subscriber) else { return Ok(()) };
        if let Some(link) = topic.subscriber(route.subscriber)?.links.remove(&route.publisher) {
            topic.subscriber_left(route, link, outbox);
            topic.subscriber_met(route, outbox);
        }
        Ok(())
    }
}

impl Topic {
    /// Shows a subscriber a publisher, with all its segments. Both wait for each other.
    pub(super) fn offer(&mut self, route: Route, pids: PidOf<'_>, outbox: &mut Outbox) {
        let Route { publisher, subscriber } = route;
        let (Some(payload), Some(delivery)) = (self.payload.clone(), self.delivery) else { return };
        let (Some(from), Some(to)) =
            (self.publishers.get_mut(&publisher), self.subscribers.get_mut(&subscriber))
        else {
            return;
        };
        let pid = pids(publisher);
        let event = Event::Publisher { route, payload, delivery, from: from.from, pid };
        outbox.tell_with(subscriber.node, event, &from.ring);
        for (index, segment) in &from.segments {
            let event = Event::Segment { route, index: *index, replaced: SegmentSet::EMPTY };
            outbox.tell_with(subscriber.node, event, segment);
        }
        to.links.insert(publisher, Link::Offered);
        to.awaited.insert(publisher);
        from.awaited.insert(subscriber);
    }

    pub(super) fn publisher_ended(&mut self, publisher: PortId, outbox: &mut Outbox) {
        let subscribers: Vec<PortId> = self.subscribers.keys().copied().collect();
        for subscriber in subscribers {
            let route = Route { publisher, subscriber };
            let links = self.subscribers.get_mut(&subscriber).map(|record| &mut record.links);
            if links.is_some_and(|links| links.remove(&publisher).is_some()) {
                outbox.tell(subscriber.node, Event::PublisherGone { route });
                self.subscriber_met(route, outbox);
            }
        }
    }

    /// A subscriber's end as its publisher sees it, which knows of it only since it was asked to attach it.
    pub(super) fn subscriber_left(&mut self, route: Route, link: Link, outbox: &mut Outbox) {
        if link != Link::Offered {
            outbox.tell(route.publisher.node, Event::SubscriberGone { route });
        }
        self.publisher_met(route, outbox);
    }

    /// The publisher need not wait for this subscriber any more.
    fn publisher_met(&mut self, route: Route, outbox: &mut Outbox) {
        let Some(publisher) = self.publishers.get_mut(&route.publisher) else { return };
        if publisher.awaited.remove(&route.subscriber) && publisher.awaited.is_empty() {
            outbox.tell(route.publisher.node, Event::Settled { port: route.publisher });
        }
    }

    /// The subscriber need not wait for this publisher any more.
    fn subscriber_met(&mut self, route: Route, outbox: &mut Outbox) {
        let Some(subscriber) = self.subscribers.get_mut(&route.subscriber) else { return };
        if subscriber.awaited.remove(&route.publisher) && subscriber.awaited.is_empty() {
            outbox.tell(route.subscriber.node, Event::Settled { port: route.subscriber });
        }
    }
}
