//! The peer `iceoryx2`: a blackboard of one entry, whose reader gets a copy. It leaves waiting to an event service
//! beside it, so in `watch-wake` each update is followed by a notification.

use anyhow::Context;
use iceoryx2::port::reader::EntryHandle;
use iceoryx2::port::writer::EntryHandleMut;
use iceoryx2::prelude::{Node, ZeroCopySend, ipc};

use super::{Reader, Region, Writer};
use crate::cell::Cell;
use crate::child::Link;
use crate::endpoint::{Endpoint, Side};
use crate::iceoryx2_node::{self, Bell, service_name};
use crate::job::Job;
use crate::latency;
use crate::payload::Received;

/// The only key.
const KEY: u64 = 0;

pub(super) fn cell(bench: &str, payload: usize) -> Option<Cell> {
    match bench {
        "watch-wake" => Some(Cell::Pair {
            parent: |link| latency::ask(Watch::open(link, Side::Parent)?, link),
            child: |link| latency::answer(Watch::open(link, Side::Child)?, link),
        }),
        _ => super::values::<Blackboard<8>, Blackboard<512>>(bench, payload),
    }
}

struct Blackboard<const WORDS: usize>;

struct Updates<const WORDS: usize> {
    entry: EntryHandleMut<ipc::Service, u64, [u64; WORDS]>,
    node: Node<ipc::Service>,
}

struct Copies<const WORDS: usize> {
    entry: EntryHandle<ipc::Service, u64, [u64; WORDS]>,
    _node: Node<ipc::Service>,
}

impl<const WORDS: usize> Region for Blackboard<WORDS>
where
    [u64; WORDS]: ZeroCopySend,
{
    type Writer = Updates<WORDS>;
    type Reader = Copies<WORDS>;

    fn create(job: &Job, name: &str) -> anyhow::Result<Updates<WORDS>> {
        let node = iceoryx2_node::open(job)?;
        let service = node
            .service_builder(&service_name(job, name)?)
            .blackboard_creator::<u64>()
            .add::<[u64; WORDS]>(KEY, [0; WORDS])
            .create()
            .context("iceoryx2 cannot create a blackboard")?;
        let writer = service.writer_builder().create().context("iceoryx2 cannot create a writer")?;
        let entry = writer.entry(&KEY).context("iceoryx2 cannot reach an entry for writing")?;
        Ok(Updates { entry, node })
    }

    fn open(job: &Job, name: &str) -> anyhow::Result<Copies<WORDS>> {
        let node = iceoryx2_node::open(job)?;
        let service = node
            .service_builder(&service_name(job, name)?)
            .blackboard_opener::<u64>()
            .open()
            .context("iceoryx2 cannot open a blackboard")?;
        let reader = service.reader_builder().create().context("iceoryx2 cannot create a reader")?;
        let entry = reader.entry(&KEY).context("iceoryx2 cannot reach an entry")?;
        Ok(Copies { entry, _node: node })
    }
}

impl<const WORDS: usize> Writer for Updates<WORDS>
where
    [u64; WORDS]: ZeroCopySend,
{
    #[inline]
    fn write(&mut self, first: u64) -> anyhow::Result<()> {
        self.entry.update_with_copy(std::array::from_fn(|index| first + index as u64));
        Ok(())
    }
}

impl<const WORDS: usize> Reader for Copies<WORDS>
where
    [u64; WORDS]: ZeroCopySend,
{
    #[inline(always)]
    fn read(&mut self, words: usize) -> anyhow::Result<u64> {
        Ok(Received::read(&*self.entry.get()).first_if_whole(words))
    }
}

/// A blackboard and an event in each direction.
struct Watch {
    updates: Updates<8>,
    copies: Copies<8>,
    bell: Bell,
}

impl Watch {
    fn open(link: &mut Link, side: Side) -> anyhow::Result<Self> {
        let (outward, inward) = side.directions();
        let updates = Blackboard::<8>::create(&link.job, outward)?;
        link.meet()?;
        let copies = Blackboard::<8>::open(&link.job, inward)?;
        let bell = Bell::open(&updates.node, &link.job, side)?;
        link.meet()?;
        Ok(Self { updates, copies, bell })
    }
}

impl Endpoint for Watch {
    fn send(&mut self, first: u64) -> anyhow::Result<()> {
        self.updates.write(first)?;
        self.bell.ring()
    }

    fn receive(&mut self) -> anyhow::Result<Received> {
        self.bell.wait()?;
        Ok(Received::read(&*self.copies.entry.get()))
    }
}
