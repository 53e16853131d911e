//! `onecopy demo`: a file from one process to three, one of which is killed half-way; then measurements, a service, a
//! region, and a look for anything left behind.
//!
//! | file | one concept |
//! |---|---|
//! | `plan.rs` | what is done, how often, how large |
//! | `coordinator.rs` | the order of events, in the process that the user started |
//! | `processes.rs` | the other processes: started, heard, killed |
//! | `report.rs` | what those have to tell |
//! | `publisher.rs`, `subscriber.rs` | what those do, over onecopy |
//! | `socket.rs` | the same over Unix sockets |
//! | `requests.rs`, `values.rs` | a service and a region between two processes |
//! | `transport.rs` | the measurement that is the same for both |
//! | `source.rs` | the file |
//! | `memory.rs` | how much shared memory there is, counted by the kernel |
//! | `leftovers.rs` | what must not be there afterwards |
//! | `table.rs` | the results for people |

mod coordinator;
mod leftovers;
mod memory;
mod plan;
mod processes;
mod publisher;
mod report;
mod requests;
mod socket;
mod source;
mod subscriber;
mod table;
mod transport;
mod values;

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;
use crate::own_program::die_with_parent;
use processes::Role;

const AFTER_LONG_HELP: &str = "\
One process publishes FILE, repeated until it is large enough, in messages of 1 MiB on a reliable topic. Three processes
subscribe and compute BLAKE3 where the messages lie. One of them is killed with SIGKILL half-way, while it holds a
message; the others must end with the hash of the source.

Then the survivors measure, and the same measurement is made over Unix sockets: every byte is written by the publisher
and read by both subscribers (as 64-bit sums, which cost little, so that the transport is measured rather than the hash).
Latency is the time from before the first byte of a message is written until its last byte was read, by a subscriber
that sleeps until the message comes; the next message is sent when both have acknowledged.

Then a second process serves a service: it answers requests of 64 bytes one by one, and every answer is checked; the time
is that of the round trip, and a Unix socket is asked the same. And a second process watches a region, while this one
writes value after value: it sees those that there is time for, none torn, none out of order, and the last one.

At the end nothing may be left: no process, no shared memory, no file. The demo looks, and fails if there is something.
Everything runs in a private instance, in a temporary directory of its own.

Examples:
  onecopy demo
  onecopy demo ~/films/holiday.mp4
  onecopy demo --mebibytes 1024";

/// Stream a file to three processes, kill one, measure, call, watch, and look for what is left behind
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The file to stream [default: this program itself]
    file: Option<PathBuf>,
    /// Repeat the file to at least this size
    #[arg(long, value_name = "MEBIBYTES", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    mebibytes: u64,
}

/// What a process of the demo is told by the one that started it.
#[derive(Debug, Args)]
pub(crate) struct ChildArguments {
    role: Role,
    /// Which of several with the same role.
    number: usize,
    /// The plan, in JSON.
    plan: String,
    /// The process that started this one.
    parent: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    coordinator::run(arguments.file.as_deref(), arguments.mebibytes)
}

pub(crate) fn run_child(arguments: &ChildArguments) -> Result<(), Failure> {
    die_with_parent(arguments.parent)?;
    let plan = serde_json::from_str(&arguments.plan)
        .map_err(|error| Failure::Demo(format!("the plan is not to be understood: {error}")))?;
    match arguments.role {
        Role::Publisher => publisher::run(&plan),
        Role::Subscriber => subscriber::run(&plan, arguments.number),
        Role::SocketPublisher => socket::publish(&plan),
        Role::SocketSubscriber => socket::subscribe(&plan),
        Role::Server => requests::serve(&plan),
        Role::SocketServer => requests::serve_socket(&plan),
        Role::Watcher => values::watch(&plan),
    }
}
