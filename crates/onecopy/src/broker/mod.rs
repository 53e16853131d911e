//! The broker: it hands out names and memory, and knows who is alive; it never touches data.
//!
//! | file | one concept |
//! |---|---|
//! | `protocol.rs` | what nodes and the broker say to each other |
//! | `codec.rs` | the same as bytes |
//! | `transport.rs` | a socket that carries packets and descriptors |
//! | `state.rs` | the logic: packets and deaths in, packets to send out; no I/O |
//! | `peers.rs` | who is connected |
//! | `server.rs` | the thread that drives the logic: epoll and sockets |
//! | `topics.rs` | what is open, and how far each publisher and subscriber have come with each other |

mod codec;
mod peers;
pub mod protocol;
pub mod server;
pub mod state;
#[cfg(test)]
mod tests;
mod topics;
pub mod transport;

pub use codec::check_node_name;
pub use peers::PeerId;
pub use topics::Descriptor;
