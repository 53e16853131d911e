//! Services: requests to a server, and its responses.
//!
//! A client and a server have a ring to each other, and read each other's like a subscriber reads a
//! publisher's: nothing is copied, nothing is lost, and who dies is noticed. The broker introduces the two
//! and is not needed again. Nobody but the two has the memory of either ring.
//!
//! ```text
//! Client ── ring ──▶ Server      a client has a ring to each server, a server one to each client
//!        ◀── ring ──
//! ```
//!
//! | file | one concept |
//! |---|---|
//! | `client.rs`, `server.rs` | what users open |
//! | `pending.rs`, `request.rs` | a call as its client and as its server has it, with the answers |
//! | `header.rs` | what goes before requests and responses in the rings |
//! | `exchange.rs`, `calls.rs` | a client's calls and links, whatever their types |
//! | `interest.rs` | what a client shows its server of each call |
//! | `answers.rs`, `unread.rs` | how far a stream of answers is ahead, at its server and at its client |
//! | `tally.rs` | what a client counts of its calls |
//! | `reception.rs` | a server's clients, and the requests that come in |
//! | `link.rs` | the way to one counterpart |
//! | `mail.rs` | what comes from all counterparts |
//! | `outgoing.rs`, `request_draft.rs` | a message on its way out, and a request that is being written |
//! | `async_client.rs`, `exchange/tasks.rs`, `call_room.rs` | clients on tokio: answers that come, and room for requests |
//! | `async_server.rs`, `async_request.rs` | servers on tokio: requests that come, and room for answers |
//! | `tasks.rs` | tasks that wait |
//! | `error.rs` | what can go wrong |

mod answers;
#[cfg(feature = "tokio")]
mod async_client;
#[cfg(feature = "tokio")]
mod async_request;
#[cfg(feature = "tokio")]
mod async_server;
#[cfg(all(test, feature = "tokio"))]
mod async_tests;
#[cfg(feature = "tokio")]
mod call_room;
mod calls;
mod client;
mod error;
mod exchange;
mod header;
mod interest;
mod letter;
mod link;
mod mail;
mod outgoing;
mod pending;
mod reception;
mod request;
mod request_draft;
mod server;
#[cfg(test)]
mod stream_tests;
mod tally;
#[cfg(feature = "tokio")]
mod tasks;
#[cfg(test)]
mod tests;
mod unread;

use std::marker::PhantomData;
use std::sync::Arc;

use onecopy_memory::ring::Geometry;

#[cfg(feature = "tokio")]
pub use self::async_client::{AsyncClient, AsyncPending, AsyncRequestLoan};
#[cfg(feature = "tokio")]
pub use self::async_request::{AsyncRequest, AsyncResponseLoan};
#[cfg(feature = "tokio")]
pub use self::async_server::AsyncServer;
pub use self::client::{CallOptions, Client, ClientBuilder, RequestLoan};
pub use self::error::{CallError, RespondError};
use self::header::{RequestHeader, ResponseHeader};
pub use self::pending::{Pending, Response};
pub use self::request::{Request, ResponseLoan};
pub use self::server::{Server, ServerBuilder};
use crate::broker::protocol::ServiceType;
use crate::draft::chunk_header_bytes;
use crate::limits;
use crate::node::handle::NodeHandle;
use crate::payload::{Payload, PlainData, describe};

/// Requests of type `Req` and responses of type `Res` under one name; see [`crate::Node::service`].
///
/// Both are plain data, or slices of it with any length per message, as on a [`crate::Topic`].
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let service = node.service::<u64, u64>("square")?;
/// let (server, client) = (service.server().open()?, service.client().open()?);
/// let nine = client.call(&3)?;
/// let request = server.wait(Duration::from_secs(1))?.ok_or("it was sent")?;
/// request.respond(&(*request * *request))?;
/// assert_eq!(*nine.wait(Duration::from_secs(1))?, 9);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Service<Req: Payload + ?Sized, Res: Payload + ?Sized> {
    node: Arc<NodeHandle>,
    name: String,
    payload: Exchanges<Req, Res>,
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Service<Req, Res> {
    pub(crate) fn new(node: Arc<NodeHandle>, name: String) -> Self {
        Self { node, name, payload: PhantomData }
    }

    /// The service's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Sets up a server. A service may have several; each request goes to one of them.
    pub fn server(&self) -> ServerBuilder<Req, Res> {
        ServerBuilder::new(Arc::clone(&self.node), self.name.clone())
    }

    /// Sets up a client.
    pub fn client(&self) -> ClientBuilder<Req, Res> {
        ClientBuilder::new(Arc::clone(&self.node), self.name.clone())
    }
}

/// A service of whatever types, used as bytes; see [`crate::Node::any_service`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// # use std::time::Duration;
/// let server = node.service::<u64, u64>("square")?.server().open()?;
/// let client = node.any_service("square")?.client().open()?;
/// let mut request = client.loan_slice(8)?;
/// request.copy_from_slice(&3_u64.to_ne_bytes());
/// let nine = request.call()?;
/// let request = server.wait(Duration::from_secs(1))?.ok_or("it was sent")?;
/// request.respond(&(*request * *request))?;
/// assert_eq!(&*nine.wait(Duration::from_secs(1))?, &9_u64.to_ne_bytes());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct AnyService {
    service: Service<[u8], [u8]>,
}

impl AnyService {
    pub(crate) fn new(node: Arc<NodeHandle>, name: String) -> Self {
        Self { service: Service::new(node, name) }
    }

    /// Sets up a client that sends and takes bytes as they are. A server of a fixed size refuses a client that sends
    /// another: see [`Client::service_type`].
    pub fn client(&self) -> ClientBuilder<[u8], [u8]> {
        self.service.client().accept_any()
    }
}

/// Marks a type that carries requests and responses without owning either.
type Exchanges<Req, Res> = PhantomData<fn() -> (Box<Req>, Box<Res>)>;

fn service_type<Req: Payload + ?Sized, Res: Payload + ?Sized>() -> ServiceType {
    ServiceType { request: describe::<Req, RequestHeader>(), response: describe::<Res, ResponseHeader>() }
}

/// Of a ring of so many slots for messages `P` behind headers `H`.
fn geometry<P: Payload + ?Sized, H: PlainData>(slots: usize, budget_bytes: usize) -> Geometry {
    let inline_bytes = size_of::<H>().next_multiple_of(8).saturating_add(P::INLINE_BYTES);
    let largest = chunk_header_bytes::<H>().saturating_add(P::EXACT_BYTES.unwrap_or(0));
    let arena_bytes = limits::arena_bytes(largest, budget_bytes);
    Geometry::new(slots as u64, 0, inline_bytes, true).with_arena(arena_bytes)
}
