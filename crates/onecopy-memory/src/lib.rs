//! The shared-memory structures under `onecopy`, and the only crate of the project with `unsafe` code.
//!
//! It knows bytes, sequence numbers and the kernel; it knows no names, nodes or brokers. Every byte that it shares
//! is written by exactly one process: a writer owns its ring and its chunks, a reader owns its block of reader
//! state, and each maps the other's memory read-only. Shared regions are the one exception, and say so.
//!
//! | module | one concept |
//! |---|---|
//! | [`segment`] | a sealed memfd, mapped: the unit that is shared |
//! | [`layout`] | every byte that two processes agree on |
//! | [`ring`] | slots with sequence numbers: one writer, any number of readers |
//! | [`region`] | copies of one value: its latest version, for everyone |
//! | [`dataset`] | bytes that nobody can change, with named parts |
//! | [`pool`] | private allocator of the writer's chunks, within a byte budget |
//! | [`hold`] | what a reader tells a writer: its cursor, the messages it holds, that it sleeps |
//! | [`counters`] | what a node counts, and how others look at it |
//! | [`readers`] | the writer's list of attached readers |
//! | [`board`] | words beside the messages, for what changes after a message was sent |
//! | [`mailbox`] | news from another thread of the same process |
//! | [`fork`] | telling a forked child from its parent |
//! | [`wait`] | sleeping on futexes, and doorbells for event loops |
//! | [`range_lock`] | a register of the living that the kernel keeps |
//! | [`peer_groups`] | the groups of a process at the other end of a socket |
//! | [`counted`] | numbers of things in sentences |
//! | [`kernel`] | what this kernel offers, and the fall-backs where it does not |
//! | [`sync`] | atomics and barriers, swapped for loom's when a model is checked |
//!
//! The life of a message: [`pool::Pool::allocate`] → [`ring::RingWriter::publish_chunk`] →
//! [`ring::RingReader::receive`] → [`ring::HeldChunk`] dropped → [`ring::RingWriter::collect`] → the pool again.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod board;
mod collapse;
pub mod counted;
pub mod counters;
pub mod dataset;
pub mod fork;
mod free_list;
pub mod hold;
pub mod kernel;
pub mod layout;
pub mod mailbox;
mod mapping;
pub mod peer_credentials;
pub mod peer_groups;
pub mod pool;
mod prefetch;
pub mod range_lock;
pub mod readers;
pub mod region;
pub mod ring;
pub mod scheduling;
pub mod segment;
pub mod sync;
pub mod wait;
mod window;
mod words;
