//! One copy of your data, shared by every process that needs it.
//!
//! Processes on one machine exchange messages through shared memory: a publisher writes a message once, where all
//! subscribers read it. Nothing is copied through the kernel, nothing is encoded, and the cost of publishing depends
//! neither on the number of subscribers nor on the size of the message.
//!
//! ```
//! use onecopy::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
//!
//! #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
//! #[repr(C)]
//! struct Pose { x: f64, y: f64 }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! let node = onecopy::Node::builder()
//! #   .directory(directory.path())
//!     .open()?;
//! let topic = node.topic::<Pose>("robot/pose")?;
//! let mut publisher = topic.publisher().history(8).open()?;
//! let mut subscriber = topic.subscriber().open()?;
//!
//! let mut pose = publisher.loan()?;
//! pose.x = 1.0;
//! pose.y = 0.5;
//! pose.publish()?;
//!
//! let pose = subscriber.wait(std::time::Duration::from_secs(1))?;
//! assert_eq!(pose.x, 1.0);
//! # Ok(()) }
//! ```
//!
//! The shared memory belongs to the kernel (sealed memfds): when the last process that uses it is gone, however it
//! went, so is the memory. A subscriber has a publisher's memory read-only, so it cannot harm anybody else.
//!
//! # Where things are
//!
//! The life of a message, in the order of reading: `topic.rs` opens a `publisher.rs`, which lends memory for a message
//! (`loan.rs`), publishes it in the ring (`onecopy_memory::ring`), from where a `subscriber.rs` receives it as a
//! `message.rs`.
#![forbid(unsafe_code)]
// What there is to tell goes to `tracing`, and whoever uses the library decides what becomes of it.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod any_publisher;
#[cfg(feature = "tokio")]
mod async_subscriber;
mod batch_rest;
pub mod broker;
pub mod config;
mod content;
pub mod dataset;
mod draft;
mod error;
mod feed;
mod feeds;
mod inbox;
pub mod instance;
mod inventory;
pub mod kernel;
pub mod limits;
mod loan;
mod message;
mod node;
pub mod observation;
pub mod open_files;
mod payload;
pub mod payload_type;
mod publisher;
mod readiness;
pub mod region;
mod sender;
pub mod service;
#[cfg(test)]
mod simulation;
mod sleep;
pub mod stuck;
mod subscriber;
mod topic;
pub mod topic_name;
mod wait_set;

pub use any_publisher::{AnyPublisher, AnyPublisherBuilder};
#[cfg(feature = "tokio")]
pub use async_subscriber::AsyncSubscriber;
pub use broker::protocol::{Delivery, ServiceType};
// For the programs of this project, which talk as the errors do.
pub use error::{Error, LoanError, OpenError, ReceiveError, WaitError};
pub use inventory::{
    DatasetEntry, Inventory, NodeEntry, PublisherEntry, RegionEntry, ServiceEntry, ServicePortEntry,
    SubscriberEntry, TopicEntry,
};
pub use loan::{Batch, Loan};
pub use message::{KeptMessage, Message};
pub use node::{Node, NodeBuilder};
#[doc(hidden)]
pub use onecopy_memory::counted::counted;
pub use payload::{Payload, PlainData};
pub use publisher::{Publisher, PublisherBuilder};
pub use readiness::Readiness;
pub use subscriber::{Subscriber, SubscriberBuilder};
pub use topic::{AnyTopic, Topic};
pub use wait_set::{Waitable, wait_any};
pub use zerocopy;
