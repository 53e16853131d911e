//! The peer `unix-socket`: request and response as messages over one stream socket. Whoever writes it by hand for one
//! request at a time needs no header, so there is none.

use super::REQUEST_WORDS;
use super::round_trip::{self, Client, Server};
use crate::byte_stream::{ByteStream, Sizes};
use crate::cell::Cell;
use crate::child::Link;
use crate::endpoint::Endpoint;
use crate::payload::Received;
use crate::socket;

pub(super) fn cell(bench: &str) -> Option<Cell> {
    Some(match bench {
        "rtt-spin" => Cell::Pair {
            parent: |link| round_trip::ask(polling(client(link)?)?, link),
            child: |link| round_trip::answer(polling(server(link)?)?, link),
        },
        "rtt-wait" => Cell::Pair {
            parent: |link| round_trip::ask(client(link)?, link),
            child: |link| round_trip::answer(server(link)?, link),
        },
        _ => return None,
    })
}

fn polling(stream: Stream) -> anyhow::Result<Stream> {
    stream.0.set_nonblocking()?;
    Ok(stream)
}

fn client(link: &mut Link) -> anyhow::Result<Stream> {
    let sizes = Sizes { outgoing: REQUEST_WORDS, batch: 1, incoming: link.job.words() };
    Ok(Stream(socket::parent(link, sizes)?))
}

fn server(link: &mut Link) -> anyhow::Result<Stream> {
    let sizes = Sizes { outgoing: link.job.words(), batch: 1, incoming: REQUEST_WORDS };
    Ok(Stream(socket::child(link, sizes)?))
}

struct Stream(ByteStream);

impl Client for Stream {
    fn call(&mut self, first: u64) -> anyhow::Result<Received> {
        self.0.send(first)?;
        self.0.receive()
    }
}

impl Server for Stream {
    fn respond(&mut self) -> anyhow::Result<Received> {
        let request = self.0.receive()?;
        self.0.send(request.first + 1)?;
        Ok(request)
    }
}
