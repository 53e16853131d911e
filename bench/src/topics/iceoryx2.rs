//! The peer `iceoryx2`, set up as its examples do: payloads written in place in loaned memory, a fixed-size type for
//! small messages and a slice for large ones, an event beside the topic for a subscriber that sleeps. Limits that
//! it wants to know beforehand are set to what the row needs.

use std::fmt::Debug;

use anyhow::{Context, ensure};
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{BackpressureStrategy, IceoryxSend, Node, ZeroCopySend, ipc};

use super::{join, memory, publish_cost, throughput};
use crate::cell::Cell;
use crate::child::Link;
use crate::endpoint::{Endpoint, Side};
use crate::iceoryx2_node::{self, Bell, service_name};
use crate::job::Job;
use crate::latency;
use crate::payload::Received;
use crate::samples::Samples;

/// The payload of most rows: 64 bytes.
type Small = [u64; 8];
/// The payload of the 48-byte row.
type Smaller = [u64; 6];
/// In a reliable stream: a buffer about as large as the other peers'.
const STREAM_BUFFER: usize = 1024;

pub(super) fn cell(bench: &str) -> Option<Cell> {
    Some(match bench {
        "latency-spin" => Cell::Pair {
            parent: |link| match link.job.payload {
                64 => latency::ask(TwoWay::<Small>::open(link, Side::Parent)?, link),
                _ => latency::ask(TwoWay::<[u64]>::open(link, Side::Parent)?, link),
            },
            child: |link| match link.job.payload {
                64 => latency::answer(TwoWay::<Small>::open(link, Side::Child)?, link),
                _ => latency::answer(TwoWay::<[u64]>::open(link, Side::Child)?, link),
            },
        },
        "latency-wait" => Cell::Pair {
            parent: |link| latency::ask(Sleeping::open(link, Side::Parent)?, link),
            child: |link| latency::answer(Sleeping::open(link, Side::Child)?, link),
        },
        "throughput" => Cell::Pair {
            parent: |link| match link.job.payload {
                48 => throughput::send(Stream::<Smaller>::sender(link)?, link, 1),
                _ => throughput::send(Stream::<Small>::sender(link)?, link, 1),
            },
            child: |link| match link.job.payload {
                48 => throughput::receive(Stream::<Smaller>::receiver(link)?, link),
                _ => throughput::receive(Stream::<Small>::receiver(link)?, link),
            },
        },
        "publish-cost" => Cell::Pair { parent: publish, child: poll },
        "join" => Cell::Many { parent: join_parent, child: join_child },
        "memory" => Cell::Pair { parent: memory_parent, child: memory_child },
        _ => return None,
    })
}

/// What a service has to be told beforehand.
#[derive(Debug, Clone, Copy)]
struct Limits {
    subscribers: usize,
    /// Messages that a subscriber may be behind
    buffer: usize,
    /// A publisher waits for a full subscriber instead of overwriting
    is_reliable: bool,
}

impl Limits {
    /// As iceoryx2 sets them if nobody says anything.
    const DEFAULT: Self = Self { subscribers: 8, buffer: 2, is_reliable: false };
    const STREAM: Self = Self { subscribers: 1, buffer: STREAM_BUFFER, is_reliable: true };
}

/// A payload type, and how to write and read it in place.
trait Message: IceoryxSend + Debug + 'static {
    fn publisher(
        node: &Node<ipc::Service>,
        job: &Job,
        direction: &str,
        limits: Limits,
    ) -> anyhow::Result<Out<Self>>;
    fn subscriber(
        node: &Node<ipc::Service>,
        job: &Job,
        direction: &str,
        limits: Limits,
    ) -> anyhow::Result<In<Self>>;
    fn send(publisher: &Out<Self>, words: usize, first: u64) -> anyhow::Result<()>;
    fn receive(subscriber: &In<Self>) -> anyhow::Result<Option<Received>>;
}

type Out<M> = Publisher<ipc::Service, M, ()>;
type In<M> = Subscriber<ipc::Service, M, ()>;

/// The service of `$payload`; its builder has no type that a function could name for both kinds of payload.
macro_rules! service {
    ($payload:ty, $node:expr, $job:expr, $direction:expr, $limits:expr) => {
        $node
            .service_builder(&service_name($job, $direction)?)
            .publish_subscribe::<$payload>()
            .max_subscribers($limits.subscribers)
            .subscriber_max_buffer_size($limits.buffer)
            .enable_safe_overflow(!$limits.is_reliable)
            .open_or_create()
            .context("iceoryx2 cannot open a service")?
    };
}

impl<const WORDS: usize> Message for [u64; WORDS]
where
    Self: ZeroCopySend,
{
    fn publisher(
        node: &Node<ipc::Service>,
        job: &Job,
        direction: &str,
        limits: Limits,
    ) -> anyhow::Result<Out<Self>> {
        let service = service!(Self, node, job, direction, limits);
        let builder =
            service.publisher_builder().backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
        builder.create().context("iceoryx2 cannot create a publisher")
    }

    fn subscriber(
        node: &Node<ipc::Service>,
        job: &Job,
        direction: &str,
        limits: Limits,
    ) -> anyhow::Result<In<Self>> {
        let service = service!(Self, node, job, direction, limits);
        service.subscriber_builder().create().context("iceoryx2 cannot create a subscriber")
    }

    #[inline]
    fn send(publisher: &Out<Self>, _words: usize, first: u64) -> anyhow::Result<()> {
        let sample = publisher.loan_uninit()?;
        let sample = sample.write_payload(std::array::from_fn(|index| first + index as u64));
        sample.send()?;
        Ok(())
    }

    #[inline]
    fn receive(subscriber: &In<Self>) -> anyhow::Result<Option<Received>> {
        Ok(subscriber.receive()?.map(|sample| Received::read(sample.payload())))
    }
}

impl Message for [u64] {
    fn publisher(
        node: &Node<ipc::Service>,
        job: &Job,
        direction: &str,
        limits: Limits,
    ) -> anyhow::Result<Out<Self>> {
        let service = service!(Self, node, job, direction, limits);
        let builder = service.publisher_builder().initial_max_slice_len(job.words());
        builder.create().context("iceoryx2 cannot create a publisher")
    }

    fn subscriber(
        node: &Node<ipc::Service>,
        job: &Job,
        direction: &str,
        limits: Limits,
    ) -> anyhow::Result<In<Self>> {
        let service = service!(Self, node, job, direction, limits);
        service.subscriber_builder().create().context("iceoryx2 cannot create a subscriber")
    }

    #[inline]
    fn send(publisher: &Out<Self>, words: usize, first: u64) -> anyhow::Result<()> {
        let sample = publisher.loan_slice_uninit(words)?;
        let sample = sample.write_from_fn(|index| first + index as u64);
        sample.send()?;
        Ok(())
    }

    #[inline]
    fn receive(subscriber: &In<Self>) -> anyhow::Result<Option<Received>> {
        Ok(subscriber.receive()?.map(|sample| Received::read(sample.payload())))
    }
}

/// A topic in each direction, polled.
struct TwoWay<M: Message + ?Sized> {
    publisher: Out<M>,
    subscriber: In<M>,
    words: usize,
    node: Node<ipc::Service>,
}

impl<M: Message + ?Sized> TwoWay<M> {
    fn open(link: &mut Link, side: Side) -> anyhow::Result<Self> {
        let node = iceoryx2_node::open(&link.job)?;
        let (outward, inward) = side.directions();
        let publisher = M::publisher(&node, &link.job, outward, Limits::DEFAULT)?;
        let subscriber = M::subscriber(&node, &link.job, inward, Limits::DEFAULT)?;
        // What is sent before the other side's subscriber is there would be lost.
        link.meet()?;
        Ok(Self { publisher, subscriber, words: link.job.words(), node })
    }
}

impl<M: Message + ?Sized> Endpoint for TwoWay<M> {
    #[inline]
    fn send(&mut self, first: u64) -> anyhow::Result<()> {
        M::send(&self.publisher, self.words, first)
    }

    #[inline]
    fn receive(&mut self) -> anyhow::Result<Received> {
        loop {
            if let Some(received) = M::receive(&self.subscriber)? {
                return Ok(received);
            }
        }
    }
}

/// A topic and an event in each direction: the subscriber sleeps in its listener.
struct Sleeping {
    topics: TwoWay<Small>,
    bell: Bell,
}

impl Sleeping {
    fn open(link: &mut Link, side: Side) -> anyhow::Result<Self> {
        let topics = TwoWay::open(link, side)?;
        let bell = Bell::open(&topics.node, &link.job, side)?;
        link.meet()?;
        Ok(Self { topics, bell })
    }
}

impl Endpoint for Sleeping {
    fn send(&mut self, first: u64) -> anyhow::Result<()> {
        self.topics.send(first)?;
        self.bell.ring()
    }

    fn receive(&mut self) -> anyhow::Result<Received> {
        loop {
            self.bell.wait()?;
            if let Some(received) = Small::receive(&self.topics.subscriber)? {
                return Ok(received);
            }
        }
    }
}

/// One end of a reliable topic.
struct Stream<M: Message> {
    publisher: Option<Out<M>>,
    subscriber: Option<In<M>>,
    words: usize,
    _node: Node<ipc::Service>,
}

impl<M: Message> Stream<M> {
    fn sender(link: &mut Link) -> anyhow::Result<Self> {
        let node = iceoryx2_node::open(&link.job)?;
        let publisher = M::publisher(&node, &link.job, "stream", Limits::STREAM)?;
        link.meet()?;
        Ok(Self { publisher: Some(publisher), subscriber: None, words: link.job.words(), _node: node })
    }

    fn receiver(link: &mut Link) -> anyhow::Result<Self> {
        let node = iceoryx2_node::open(&link.job)?;
        let subscriber = M::subscriber(&node, &link.job, "stream", Limits::STREAM)?;
        link.meet()?;
        // A subscriber connects when it first looks for messages, and until then a publisher does not wait for it.
        ensure!(!subscriber.has_samples()?, "there is a message before any was sent");
        Ok(Self { publisher: None, subscriber: Some(subscriber), words: link.job.words(), _node: node })
    }
}

impl<M: Message> Endpoint for Stream<M> {
    #[inline]
    fn send(&mut self, first: u64) -> anyhow::Result<()> {
        M::send(self.publisher.as_ref().context("this end only receives")?, self.words, first)
    }

    #[inline]
    fn receive(&mut self) -> anyhow::Result<Received> {
        let subscriber = self.subscriber.as_ref().context("this end only sends")?;
        loop {
            if let Some(received) = M::receive(subscriber)? {
                return Ok(received);
            }
            // A reader that looks without pause takes each line from the sender while it is being written.
            std::hint::spin_loop();
        }
    }
}

fn publish(link: &mut Link) -> anyhow::Result<Samples> {
    let limits = Limits { subscribers: link.job.readers, ..Limits::DEFAULT };
    let node = iceoryx2_node::open(&link.job)?;
    let publisher = Small::publisher(&node, &link.job, "cost", limits)?;
    link.meet()?;
    publish_cost::publish(link, |first| Small::send(&publisher, 0, first))
}

fn poll(link: &mut Link) -> anyhow::Result<()> {
    let limits = Limits { subscribers: link.job.readers, ..Limits::DEFAULT };
    let node = iceoryx2_node::open(&link.job)?;
    let subscribers = subscribers::<Small>(&node, &link.job, "cost", limits)?;
    link.meet()?;
    publish_cost::poll(link, subscribers, |subscriber| Small::receive(subscriber))
}

fn subscribers<M: Message + ?Sized>(
    node: &Node<ipc::Service>,
    job: &Job,
    direction: &str,
    limits: Limits,
) -> anyhow::Result<Vec<In<M>>> {
    (0..job.readers).map(|_| M::subscriber(node, job, direction, limits)).collect()
}

fn join_parent(job: &Job) -> anyhow::Result<Samples> {
    let node = iceoryx2_node::open(job)?;
    let publisher = Small::publisher(&node, job, "join", Limits::DEFAULT)?;
    join::publish(job, |_| Ok(|first| Small::send(&publisher, 0, first)))
}

fn join_child(link: &mut Link) -> anyhow::Result<()> {
    join::receive(link, |link| {
        let node = iceoryx2_node::open(&link.job)?;
        let subscriber = Small::subscriber(&node, &link.job, "join", Limits::DEFAULT)?;
        loop {
            if let Some(received) = Small::receive(&subscriber)? {
                return Ok((received, (subscriber, node)));
            }
        }
    })
}

fn memory_parent(link: &mut Link) -> anyhow::Result<Samples> {
    let open = |link: &Link| {
        let node = iceoryx2_node::open(&link.job)?;
        Ok((<[u64]>::publisher(&node, &link.job, "memory", Limits::DEFAULT)?, link.job.words(), node))
    };
    memory::publish(link, open, |(publisher, words, _), first| <[u64]>::send(publisher, *words, first))
}

fn memory_child(link: &mut Link) -> anyhow::Result<()> {
    let open = |link: &Link| {
        let node = iceoryx2_node::open(&link.job)?;
        subscribers::<[u64]>(&node, &link.job, "memory", Limits::DEFAULT)
    };
    memory::receive(link, open, |subscriber| <[u64]>::receive(subscriber))
}
