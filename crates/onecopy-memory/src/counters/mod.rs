//! What a node counts of its readers and clients, in its own reader segment, and how others look at it there.
//! The process observed is never asked, and pays for a count only where something rare happens: what can be
//! derived from positions is derived by whoever looks.
//!
//! What writers count lies in their rings ([`crate::ring::Observer`]).

mod client;
mod latency;
mod node;
mod observer;

pub use client::{CallEvent, ClientTally};
pub use latency::{LATENCY_MAX_NS, Latencies, bucket_bounds_ns};
pub(crate) use node::NodeCounters;
pub use observer::{ClientReport, NodeObserver, ReaderProbe, ReaderReport};
