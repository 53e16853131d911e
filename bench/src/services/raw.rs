//! The peer `raw`: bare shared memory, a line for the request and a line, or a buffer of its own, for the response,
//! and nothing but the loads, stores and futex calls that the row cannot do without. It knows one client and one
//! server, no names, no deadlines and no deaths. Of 64 bytes its round trip takes more than two bare lines one way
//! (the topics' `raw`): where the answer may not overwrite the question, a writer first has to take its line back
//! from the reader.

use super::REQUEST_WORDS;
use super::round_trip::{self, Client, Server};
use crate::cell::Cell;
use crate::child::Link;
use crate::endpoint::{Endpoint, Side};
use crate::payload::{self, Received};
use crate::raw_line::{BareLine, LINE_WORDS, SleepingLine};
use crate::samples::Samples;
use crate::shared_memory::{SharedMemory, Turns};

pub(super) fn cell(bench: &str) -> Option<Cell> {
    Some(match bench {
        "rtt-spin" => Cell::Pair { parent: spin_client, child: spin_server },
        "rtt-wait" => Cell::Pair {
            parent: |link| round_trip::ask(Lines(sleeping(link, Side::Parent)?), link),
            child: |link| round_trip::answer(Lines(sleeping(link, Side::Child)?), link),
        },
        _ => return None,
    })
}

fn spin_client(link: &mut Link) -> anyhow::Result<Samples> {
    match link.job.words() {
        LINE_WORDS => round_trip::ask(Lines(BareLine::each_way(link, Side::Parent)?), link),
        words => round_trip::ask(buffers(link, words, Side::Parent)?, link),
    }
}

fn spin_server(link: &mut Link) -> anyhow::Result<()> {
    match link.job.words() {
        LINE_WORDS => round_trip::answer(Lines(BareLine::each_way(link, Side::Child)?), link),
        words => round_trip::answer(buffers(link, words, Side::Child)?, link),
    }
}

fn sleeping(link: &Link, side: Side) -> anyhow::Result<SleepingLine> {
    Ok(SleepingLine::new(BareLine::each_way(link, side)?, side))
}

fn buffers(link: &Link, words: usize, side: Side) -> anyhow::Result<Turns> {
    Ok(Turns::new(SharedMemory::open(&link.job)?, [REQUEST_WORDS, words], side == Side::Parent))
}

/// A request and its response as two messages of a line.
struct Lines<E>(E);

impl<E: Endpoint> Client for Lines<E> {
    #[inline]
    fn call(&mut self, first: u64) -> anyhow::Result<Received> {
        self.0.send(first)?;
        self.0.receive()
    }
}

impl<E: Endpoint> Server for Lines<E> {
    #[inline]
    fn respond(&mut self) -> anyhow::Result<Received> {
        let request = self.0.receive()?;
        self.0.send(request.first + 1)?;
        Ok(request)
    }
}

impl Client for Turns {
    #[inline]
    fn call(&mut self, first: u64) -> anyhow::Result<Received> {
        self.write(|words| payload::fill(words, first));
        Ok(self.read(Received::read))
    }
}

impl Server for Turns {
    #[inline]
    fn respond(&mut self) -> anyhow::Result<Received> {
        let request = self.read(Received::read);
        self.write(|words| payload::fill(words, request.first + 1));
        Ok(request)
    }
}
