//! The peer `iceoryx2`: its request-response pattern, set up as its examples do, request and response written in place
//! in loaned memory, the large response as a slice. It leaves waiting to an event service beside it, as its examples
//! do, so in `rtt-wait` each message is followed by a notification.

use anyhow::Context;
use iceoryx2::active_request::ActiveRequest;
use iceoryx2::pending_response::PendingResponse;
use iceoryx2::port::client::Client as RequestPort;
use iceoryx2::port::server::Server as ResponsePort;
use iceoryx2::prelude::{IceoryxSend, Node, ipc};

use super::REQUEST_WORDS;
use super::round_trip::{self, Client, Server};
use crate::cell::Cell;
use crate::child::Link;
use crate::endpoint::Side;
use crate::iceoryx2_node::{self, Bell, service_name};
use crate::job::Job;
use crate::payload::Received;

type Request = [u64; REQUEST_WORDS];
type Small = [u64; 8];

pub(super) fn cell(bench: &str) -> Option<Cell> {
    Some(match bench {
        "rtt-spin" => Cell::Pair {
            parent: |link| match link.job.payload {
                64 => round_trip::ask(Caller::<Small>::open(link)?, link),
                _ => round_trip::ask(Caller::<[u64]>::open(link)?, link),
            },
            child: |link| match link.job.payload {
                64 => round_trip::answer(Responder::<Small>::open(link)?, link),
                _ => round_trip::answer(Responder::<[u64]>::open(link)?, link),
            },
        },
        "rtt-wait" => Cell::Pair {
            parent: |link| {
                let caller = Caller::open(link)?;
                let bell = bell(&caller.node, link, Side::Parent)?;
                round_trip::ask(Sleeping { port: caller, bell }, link)
            },
            child: |link| {
                let responder = Responder::open(link)?;
                let bell = bell(&responder.node, link, Side::Child)?;
                round_trip::answer(Sleeping { port: responder, bell }, link)
            },
        },
        _ => return None,
    })
}

fn bell(node: &Node<ipc::Service>, link: &mut Link, side: Side) -> anyhow::Result<Bell> {
    let bell = Bell::open(node, &link.job, side)?;
    link.meet()?;
    Ok(bell)
}

type ClientPort<R> = RequestPort<ipc::Service, Request, (), R, ()>;
type ServerPort<R> = ResponsePort<ipc::Service, Request, (), R, ()>;
type Pending<R> = PendingResponse<ipc::Service, Request, (), R, ()>;
type Active<R> = ActiveRequest<ipc::Service, Request, (), R, ()>;

/// A type of response, and how to write and read it in place.
trait Response: IceoryxSend + std::fmt::Debug + 'static {
    fn client(node: &Node<ipc::Service>, job: &Job) -> anyhow::Result<ClientPort<Self>>;
    fn server(node: &Node<ipc::Service>, job: &Job) -> anyhow::Result<ServerPort<Self>>;
    fn send(client: &ClientPort<Self>, first: u64) -> anyhow::Result<Pending<Self>>;
    fn receive(pending: &Pending<Self>) -> anyhow::Result<Option<Received>>;
    fn request(server: &ServerPort<Self>) -> anyhow::Result<Option<Active<Self>>>;
    fn respond(active: &Active<Self>, words: usize) -> anyhow::Result<Received>;
}

/// The methods that differ between a response of fixed size and a slice in their types alone, which no bound can name;
/// `$limits` tells the server what it has to know beforehand of a `$job`.
macro_rules! ports {
    ($response:ty, $job:ident $($limits:tt)*) => {
        fn client(node: &Node<ipc::Service>, $job: &Job) -> anyhow::Result<ClientPort<$response>> {
            let builder = node.service_builder(&service_name($job, "plan")?);
            let service = builder.request_response::<Request, $response>().open_or_create();
            let service = service.context("iceoryx2 cannot open a service")?;
            service.client_builder().create().context("iceoryx2 cannot create a client")
        }

        fn server(node: &Node<ipc::Service>, $job: &Job) -> anyhow::Result<ServerPort<$response>> {
            let builder = node.service_builder(&service_name($job, "plan")?);
            let service = builder.request_response::<Request, $response>().open_or_create();
            let service = service.context("iceoryx2 cannot open a service")?;
            let server = service.server_builder()$($limits)*.create();
            server.context("iceoryx2 cannot create a server")
        }

        #[inline]
        fn send(client: &ClientPort<$response>, first: u64) -> anyhow::Result<Pending<$response>> {
            let request = client.loan_uninit()?;
            let request = request.write_payload(std::array::from_fn(|index| first + index as u64));
            Ok(request.send()?)
        }

        #[inline]
        fn receive(pending: &Pending<$response>) -> anyhow::Result<Option<Received>> {
            Ok(pending.receive()?.map(|response| Received::read(response.payload())))
        }

        #[inline]
        fn request(server: &ServerPort<$response>) -> anyhow::Result<Option<Active<$response>>> {
            Ok(server.receive()?)
        }
    };
}

impl Response for Small {
    ports!(Small, job);

    #[inline]
    fn respond(active: &Active<Self>, _words: usize) -> anyhow::Result<Received> {
        let request = Received::read(active.payload());
        let response = active.loan_uninit()?;
        let response = response.write_payload(std::array::from_fn(|index| request.first + 1 + index as u64));
        response.send()?;
        Ok(request)
    }
}

impl Response for [u64] {
    ports!([u64], job.initial_max_slice_len(job.words()));

    #[inline]
    fn respond(active: &Active<Self>, words: usize) -> anyhow::Result<Received> {
        let request = Received::read(active.payload());
        let response = active.loan_slice_uninit(words)?;
        let response = response.write_from_fn(|index| request.first + 1 + index as u64);
        response.send()?;
        Ok(request)
    }
}

/// The client, polling.
struct Caller<R: Response + ?Sized> {
    client: ClientPort<R>,
    node: Node<ipc::Service>,
}

impl<R: Response + ?Sized> Caller<R> {
    fn open(link: &mut Link) -> anyhow::Result<Self> {
        let node = iceoryx2_node::open(&link.job)?;
        // The server is there first: a request that meets none is lost.
        link.meet()?;
        let client = R::client(&node, &link.job)?;
        Ok(Self { client, node })
    }
}

impl<R: Response + ?Sized> Client for Caller<R> {
    #[inline]
    fn call(&mut self, first: u64) -> anyhow::Result<Received> {
        let pending = R::send(&self.client, first)?;
        loop {
            if let Some(response) = R::receive(&pending)? {
                return Ok(response);
            }
        }
    }
}

/// The server, polling.
struct Responder<R: Response + ?Sized> {
    server: ServerPort<R>,
    words: usize,
    node: Node<ipc::Service>,
}

impl<R: Response + ?Sized> Responder<R> {
    fn open(link: &mut Link) -> anyhow::Result<Self> {
        let node = iceoryx2_node::open(&link.job)?;
        let server = R::server(&node, &link.job)?;
        link.meet()?;
        Ok(Self { server, words: link.job.words(), node })
    }
}

impl<R: Response + ?Sized> Server for Responder<R> {
    #[inline]
    fn respond(&mut self) -> anyhow::Result<Received> {
        loop {
            if let Some(active) = R::request(&self.server)? {
                return R::respond(&active, self.words);
            }
        }
    }
}

/// Either side, asleep in its listener until the other one has sent something.
struct Sleeping<P> {
    port: P,
    bell: Bell,
}

impl Client for Sleeping<Caller<Small>> {
    fn call(&mut self, first: u64) -> anyhow::Result<Received> {
        let pending = Small::send(&self.port.client, first)?;
        self.bell.ring()?;
        loop {
            self.bell.wait()?;
            if let Some(response) = Small::receive(&pending)? {
                return Ok(response);
            }
        }
    }
}

impl Server for Sleeping<Responder<Small>> {
    fn respond(&mut self) -> anyhow::Result<Received> {
        loop {
            self.bell.wait()?;
            if let Some(active) = Small::request(&self.port.server)? {
                let request = Small::respond(&active, self.port.words)?;
                self.bell.ring()?;
                return Ok(request);
            }
        }
    }
}
