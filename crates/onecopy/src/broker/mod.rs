//! The broker: it hands out names and memory, and knows who is alive; it never touches data.
//!
//! | file | one concept |
//! |---|---|
//! | `protocol.rs`, `requests.rs`, `events.rs` | what nodes and the broker say to each other |
//! | `address.rs`, `delivery.rs`, `role.rs`, `service_type.rs` | what they say it of |
//! | `codec.rs`, `segment_bits.rs` | the same as bytes |
//! | `transport.rs` | a socket that carries packets and descriptors |
//! | `state.rs` | the logic: packets and deaths in, packets to send out; no I/O |
//! | `opening.rs` | what nodes open |
//! | `peers.rs`, `process.rs` | who is connected; the process behind a socket |
//! | `evicted.rs` | peers that were refused and have not gone yet |
//! | `access.rs`, `denied.rs` | what the rules say to what peers ask for, and how they say no |
//! | `quota.rs`, `account.rs`, `charges.rs` | what each peer and each user may take, has taken, and is charged |
//! | `amounts.rs`, `resource.rs`, `exceeded.rs` | so much of everything; what there is a quota of; quotas that are used up |
//! | `growth.rs` | memory of what is open already |
//! | `passed.rs` | which descriptors are taken, and how to get rid of others |
//! | `connection.rs` | a peer's socket, and what waits for it to be read |
//! | `server.rs`, `server_thread.rs` | what drives the logic, with epoll and sockets; in a program, on a thread of its own |
//! | `newcomers.rs`, `offenders.rs` | who is let in; who has tried too often |
//! | `watch.rs`, `throttle.rs` | what epoll reports, and whose turn it is; who has to rest |
//! | `roll.rs`, `absentees.rs` | who is there; who is waited for, and how its end is noticed |
//! | `descriptor.rs` | memory that others have shown |
//! | `topics.rs`, `links.rs` | what is open, and how far each publisher and subscriber have come with each other |
//! | `handing_over.rs`, `place.rs` | the end of a broker in favour of another |
//! | `socket_watch.rs` | whether newcomers still find the socket |
//! | `tie.rs`, `returning.rs`, `reopening.rs` | nodes that come back from another broker, and what they were tied to |
//! | `services.rs` | clients and servers, and who was introduced to whom |
//! | `shared_regions.rs` | regions that several may write: their memory and who takes part |
//! | `datasets.rs` | datasets by name: the newest version, and who has it open |
//! | `inspection.rs` | the answer to those who ask what there is |
//! | `ids.rs`, `refusal.rs` | how things are called; how the broker says no |

mod absentees;
mod access;
mod account;
mod address;
mod amounts;
mod charges;
mod codec;
mod connection;
mod datasets;
mod delivery;
mod denied;
mod descriptor;
mod events;
mod evicted;
mod exceeded;
mod growth;
mod handing_over;
mod ids;
mod inspection;
mod links;
mod newcomers;
mod offenders;
mod opening;
mod passed;
mod peers;
mod place;
mod process;
pub mod protocol;
pub mod quota;
mod refusal;
mod reopening;
mod requests;
mod resource;
mod returning;
mod role;
mod roll;
mod segment_bits;
pub mod server;
mod server_thread;
mod service_type;
mod services;
mod shared_regions;
mod socket_watch;
pub mod state;
#[cfg(test)]
mod tests;
mod throttle;
mod tie;
mod topics;
pub mod transport;
mod watch;

pub use codec::check_node_name;
pub use descriptor::Descriptor;
pub(crate) use descriptor::{identity, is_same_file, version_of};
pub(crate) use handing_over::Heirloom;
pub(crate) use passed::close_elsewhere;
pub use peers::PeerId;
pub(crate) use process::{Process, pid_namespace};
pub(crate) use roll::{Roll, is_counted, position_of_note};
pub(crate) use socket_watch::SocketWatch;
