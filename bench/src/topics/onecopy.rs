//! This project, used as its README says: typed messages for the small rows, slices for the large ones, one node a
//! process, the broker inside the first.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::Context;
use onecopy::{Error, LoanError, PlainData, Publisher, Subscriber};

use super::{join, memory, observed, publish_cost, throughput};
use crate::cell::Cell;
use crate::child::Link;
use crate::endpoint::{Endpoint, Side};
use crate::job::Job;
use crate::payload::{self, Received};
use crate::samples::Samples;
use crate::{latency, onecopy_node};

/// The payload of most rows: 64 bytes.
type Small = [u64; 8];
/// The payload of the 48-byte row, which with its slot's header fills one line.
type Smaller = [u64; 6];
/// How long a reader that sleeps may wait before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn cell(bench: &str) -> Option<Cell> {
    Some(match bench {
        "latency-spin" => Cell::Pair {
            parent: |link| match link.job.payload {
                64 => latency::ask(Polling(TwoWay::<Small>::open(link, Side::Parent)?), link),
                _ => latency::ask(Polling(TwoWay::<[u64]>::open(link, Side::Parent)?), link),
            },
            child: |link| match link.job.payload {
                64 => latency::answer(Polling(TwoWay::<Small>::open(link, Side::Child)?), link),
                _ => latency::answer(Polling(TwoWay::<[u64]>::open(link, Side::Child)?), link),
            },
        },
        "latency-wait" => Cell::Pair {
            parent: |link| latency::ask(Sleeping(TwoWay::open(link, Side::Parent)?), link),
            child: |link| latency::answer(Sleeping(TwoWay::open(link, Side::Child)?), link),
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
        "throughput-batch" => Cell::Pair {
            parent: |link| throughput::send(Batches(Stream::sender(link)?), link, throughput::BATCH),
            child: |link| throughput::receive(Batches(Stream::receiver(link)?), link),
        },
        "publish-cost" => Cell::Pair { parent: publish, child: poll },
        "publish-cost-observed" => {
            Cell::Pair { parent: |link| observed::measure(link, publish), child: poll }
        }
        "join" => Cell::Many { parent: join_parent, child: join_child },
        "memory" => Cell::Pair { parent: memory_parent, child: memory_child },
        _ => return None,
    })
}

/// How a payload is written and read in place.
trait Message: onecopy::Payload {
    fn send(publisher: &mut Publisher<Self>, words: usize, first: u64) -> Result<(), Error>;
    fn read(&self) -> Received;
}

impl<const WORDS: usize> Message for [u64; WORDS]
where
    Self: PlainData,
{
    #[inline]
    fn send(publisher: &mut Publisher<Self>, _words: usize, first: u64) -> Result<(), Error> {
        let mut loan = publisher.loan()?;
        payload::fill(&mut *loan, first);
        loan.publish()
    }

    #[inline]
    fn read(&self) -> Received {
        Received::read(self)
    }
}

impl Message for [u64] {
    #[inline]
    fn send(publisher: &mut Publisher<Self>, words: usize, first: u64) -> Result<(), Error> {
        let mut loan = publisher.loan_slice(words)?;
        payload::fill(&mut loan, first);
        loan.publish()
    }

    #[inline]
    fn read(&self) -> Received {
        Received::read(self)
    }
}

/// A topic in each direction.
struct TwoWay<M: Message + ?Sized> {
    publisher: Publisher<M>,
    subscriber: Subscriber<M>,
    words: usize,
}

impl<M: Message + ?Sized> TwoWay<M> {
    fn open(link: &mut Link, side: Side) -> anyhow::Result<Self> {
        let node = onecopy_node::open(&link.job)?;
        let (outward, inward) = side.directions();
        let publisher = node.topic::<M>(outward)?.publisher().open()?;
        let subscriber = node.topic::<M>(inward)?.subscriber().open()?;
        // What is sent before the other side's subscriber is there would be lost.
        link.meet()?;
        Ok(Self { publisher, subscriber, words: link.job.words() })
    }
}

struct Polling<M: Message + ?Sized>(TwoWay<M>);

impl<M: Message + ?Sized> Endpoint for Polling<M> {
    #[inline]
    fn send(&mut self, first: u64) -> anyhow::Result<()> {
        Ok(M::send(&mut self.0.publisher, self.0.words, first)?)
    }

    #[inline]
    fn receive(&mut self) -> anyhow::Result<Received> {
        loop {
            if let Some(message) = self.0.subscriber.receive()? {
                return Ok(message.read());
            }
        }
    }
}

struct Sleeping(TwoWay<Small>);

impl Endpoint for Sleeping {
    fn send(&mut self, first: u64) -> anyhow::Result<()> {
        Ok(Small::send(&mut self.0.publisher, self.0.words, first)?)
    }

    fn receive(&mut self) -> anyhow::Result<Received> {
        Ok(self.0.subscriber.wait(PATIENCE)?.read())
    }
}

/// One end of a reliable topic.
struct Stream<M: Message> {
    publisher: Option<Publisher<M>>,
    subscriber: Option<Subscriber<M>>,
}

impl<M: Message> Stream<M> {
    fn sender(link: &mut Link) -> anyhow::Result<Self> {
        let publisher = onecopy_node::open(&link.job)?.topic::<M>("stream")?.publisher().reliable().open()?;
        link.meet()?;
        // The subscriber opens now, and says so when it hears us.
        link.meet()?;
        Ok(Self { publisher: Some(publisher), subscriber: None })
    }

    fn receiver(link: &mut Link) -> anyhow::Result<Self> {
        link.meet()?;
        let subscriber = onecopy_node::open(&link.job)?.topic::<M>("stream")?.subscriber().open()?;
        link.meet()?;
        Ok(Self { publisher: None, subscriber: Some(subscriber) })
    }
}

impl<M: Message> Endpoint for Stream<M> {
    #[inline]
    fn send(&mut self, first: u64) -> anyhow::Result<()> {
        let publisher = self.publisher.as_mut().context("this end only receives")?;
        loop {
            match M::send(publisher, 0, first) {
                Err(Error::Loan(LoanError::Full)) => std::hint::spin_loop(),
                sent => return Ok(sent?),
            }
        }
    }

    #[inline]
    fn receive(&mut self) -> anyhow::Result<Received> {
        let subscriber = self.subscriber.as_mut().context("this end only sends")?;
        loop {
            if let Some(message) = subscriber.receive()? {
                return Ok(message.read());
            }
            // A reader that looks without pause takes each line from the sender while it is being written.
            std::hint::spin_loop();
        }
    }
}

/// The same, several messages a call.
struct Batches(Stream<Small>);

impl Endpoint for Batches {
    #[inline]
    fn send(&mut self, first: u64) -> anyhow::Result<()> {
        let publisher = self.0.publisher.as_mut().context("this end only receives")?;
        loop {
            match publisher.loan_batch(throughput::BATCH as usize) {
                Ok(mut batch) => {
                    for (message, first) in batch.iter_mut().zip(first..) {
                        payload::fill(message, first);
                    }
                    return Ok(batch.publish()?);
                }
                Err(LoanError::Full) => std::hint::spin_loop(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    #[inline]
    fn receive(&mut self) -> anyhow::Result<Received> {
        self.0.receive()
    }
}

fn publish(link: &mut Link) -> anyhow::Result<Samples> {
    let mut publisher = onecopy_node::open(&link.job)?.topic::<Small>("cost")?.publisher().open()?;
    link.meet()?;
    link.meet()?;
    publish_cost::publish(link, |first| Ok(Small::send(&mut publisher, 0, first)?))
}

fn poll(link: &mut Link) -> anyhow::Result<()> {
    link.meet()?;
    let subscribers = subscribers::<Small>(&link.job, "cost")?;
    link.meet()?;
    publish_cost::poll(link, subscribers, |subscriber| {
        Ok(subscriber.receive()?.map(|message| message.read()))
    })
}

fn subscribers<M: Message + ?Sized>(job: &Job, name: &str) -> anyhow::Result<Vec<Subscriber<M>>> {
    let topic = onecopy_node::open(job)?.topic::<M>(name)?;
    (0..job.readers).map(|_| Ok(topic.subscriber().open()?)).collect()
}

fn join_parent(job: &Job) -> anyhow::Result<Samples> {
    // One publisher for all the processes, each of which has a closure of its own.
    let publisher = RefCell::new(onecopy_node::open(job)?.topic::<Small>("join")?.publisher().open()?);
    join::publish(job, |_| Ok(|first| Ok(Small::send(&mut publisher.borrow_mut(), 0, first)?)))
}

fn join_child(link: &mut Link) -> anyhow::Result<()> {
    join::receive(link, |link| {
        let node = onecopy_node::open(&link.job)?;
        let mut subscriber = node.topic::<Small>("join")?.subscriber().open()?;
        loop {
            let received = subscriber.receive()?.map(|message| message.read());
            if let Some(received) = received {
                return Ok((received, subscriber));
            }
        }
    })
}

fn memory_parent(link: &mut Link) -> anyhow::Result<Samples> {
    let open = |link: &Link| {
        let publisher = onecopy_node::open(&link.job)?.topic::<[u64]>("memory")?.publisher().open()?;
        Ok((publisher, link.job.words()))
    };
    memory::publish(link, open, |(publisher, words), first| Ok(<[u64]>::send(publisher, *words, first)?))
}

fn memory_child(link: &mut Link) -> anyhow::Result<()> {
    memory::receive(
        link,
        |link| subscribers::<[u64]>(&link.job, "memory"),
        |subscriber| Ok(subscriber.receive()?.map(|message| message.read())),
    )
}
