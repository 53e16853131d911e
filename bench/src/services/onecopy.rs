//! This project's services: the small response as a copy of a value, the large one as a slice that the server writes
//! and the client reads in place. Waiting is part of the same client and server, so `rtt-wait` needs nothing beside
//! them.

use std::time::Duration;

use anyhow::Context;
use onecopy::Payload;
use onecopy::service;

use super::REQUEST_WORDS;
use super::round_trip::{self, Client, Server};
use crate::cell::Cell;
use crate::child::Link;
use crate::onecopy_node;
use crate::payload::{self, Received};

type Request = [u64; REQUEST_WORDS];
type Small = [u64; 8];

/// How long a side that sleeps may wait before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn cell(bench: &str) -> Option<Cell> {
    Some(match bench {
        "rtt-spin" => Cell::Pair {
            parent: |link| match link.job.payload {
                64 => round_trip::ask(Polling(Caller::<Small>::open(link)?), link),
                _ => round_trip::ask(Polling(Caller::<[u64]>::open(link)?), link),
            },
            child: |link| match link.job.payload {
                64 => round_trip::answer(Polling(Responder::<Small>::open(link)?), link),
                _ => round_trip::answer(Polling(Responder::<[u64]>::open(link)?), link),
            },
        },
        "rtt-wait" => Cell::Pair {
            parent: |link| round_trip::ask(Sleeping(Caller::<Small>::open(link)?), link),
            child: |link| round_trip::answer(Sleeping(Responder::<Small>::open(link)?), link),
        },
        _ => return None,
    })
}

/// How a response is written and read.
trait Response: Payload {
    fn respond(request: &service::Request<Request, Self>, words: usize) -> anyhow::Result<()>;
    fn read(&self) -> Received;
}

impl Response for Small {
    #[inline]
    fn respond(request: &service::Request<Request, Self>, _words: usize) -> anyhow::Result<()> {
        let mut response = [0; 8];
        payload::fill(&mut response, request[0] + 1);
        Ok(request.respond(&response)?)
    }

    #[inline]
    fn read(&self) -> Received {
        Received::read(self)
    }
}

impl Response for [u64] {
    #[inline]
    fn respond(request: &service::Request<Request, Self>, words: usize) -> anyhow::Result<()> {
        let mut response = request.loan_slice(words)?;
        payload::fill(&mut response, request[0] + 1);
        Ok(response.respond()?)
    }

    #[inline]
    fn read(&self) -> Received {
        Received::read(self)
    }
}

struct Caller<R: Response + ?Sized> {
    client: service::Client<Request, R>,
}

impl<R: Response + ?Sized> Caller<R> {
    fn open(link: &mut Link) -> anyhow::Result<Self> {
        let node = onecopy_node::open(&link.job)?;
        // A call that finds no server fails.
        link.meet()?;
        let client = node.service::<Request, R>("plan")?.client().open()?;
        client.wait_for_server(PATIENCE)?;
        Ok(Self { client })
    }

    #[inline]
    fn ask(&self, first: u64) -> anyhow::Result<service::Pending<'_, R>> {
        let mut request = [0; REQUEST_WORDS];
        payload::fill(&mut request, first);
        Ok(self.client.call(&request)?)
    }
}

struct Responder<R: Response + ?Sized> {
    server: service::Server<Request, R>,
    words: usize,
}

impl<R: Response + ?Sized> Responder<R> {
    fn open(link: &mut Link) -> anyhow::Result<Self> {
        let server = onecopy_node::open(&link.job)?.service::<Request, R>("plan")?.server().open()?;
        link.meet()?;
        Ok(Self { server, words: link.job.words() })
    }

    #[inline]
    fn answer(&self, request: &service::Request<Request, R>) -> anyhow::Result<Received> {
        let received = Received::read(&request[..]);
        R::respond(request, self.words)?;
        Ok(received)
    }
}

struct Polling<S>(S);

impl<R: Response + ?Sized> Client for Polling<Caller<R>> {
    #[inline]
    fn call(&mut self, first: u64) -> anyhow::Result<Received> {
        let pending = self.0.ask(first)?;
        loop {
            if let Some(response) = pending.receive()? {
                return Ok(response.read());
            }
        }
    }
}

impl<R: Response + ?Sized> Server for Polling<Responder<R>> {
    #[inline]
    fn respond(&mut self) -> anyhow::Result<Received> {
        loop {
            if let Some(request) = self.0.server.receive()? {
                return self.0.answer(&request);
            }
        }
    }
}

struct Sleeping<S>(S);

impl<R: Response + ?Sized> Client for Sleeping<Caller<R>> {
    fn call(&mut self, first: u64) -> anyhow::Result<Received> {
        Ok(self.0.ask(first)?.wait(PATIENCE)?.read())
    }
}

impl<R: Response + ?Sized> Server for Sleeping<Responder<R>> {
    fn respond(&mut self) -> anyhow::Result<Received> {
        let request = self.0.server.wait(PATIENCE)?.context("no request came")?;
        self.0.answer(&request)
    }
}
