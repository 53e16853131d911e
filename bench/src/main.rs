//! Side-by-side benchmarks: the library, its rivals and the bare hardware, measured in turns on the same two cores
//! within the same minute. [`interleave`] holds the method, [`child`] the two processes, [`report`] the results; a
//! folder such as [`topics`] holds the rows of one subject and a file for each peer.

#![deny(unsafe_code)]

mod byte_stream;
mod cell;
mod child;
mod datasets;
mod endpoint;
mod genome;
mod hostile;
mod iceoryx2_node;
mod idle;
mod interleave;
mod job;
mod latency;
mod leftovers;
mod lifetimes;
mod onecopy_node;
mod options;
mod payload;
mod pin;
mod probe;
mod raw_line;
mod regions;
mod report;
mod samples;
mod services;
mod shared_memory;
mod socket;
mod thread_clock;
mod topics;
mod watchdog;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "bench",
    about = "Side-by-side benchmarks of communication between processes",
    disable_version_flag = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Messages from a publisher to its subscribers
    Topics(interleave::Options),
    /// Requests from a client to a server, and its responses
    Services(interleave::Options),
    /// The latest value of a region, from its writer to its readers
    Regions(interleave::Options),
    /// A dataset, from its publisher to its readers
    Datasets(interleave::Options),
    /// Reads by name, and positions of one assembly in another
    Genome(genome::Options),
    /// Joining while another process does what it can against it
    Hostile(hostile::Options),
    /// Killing the broker under full load
    Lifetimes(lifetimes::Options),
    /// The broker that is killed
    #[command(hide = true)]
    LifetimesBroker {
        /// How it comes to be the broker
        kind: lifetimes::BrokerKind,
        /// Where its instance is
        directory: std::path::PathBuf,
    },
    /// A process under load
    #[command(hide = true)]
    LifetimesActor {
        /// What it does
        role: lifetimes::Role,
        /// With which others
        group: usize,
        /// Where the instance is
        directory: std::path::PathBuf,
    },
    /// The broker that is attacked
    #[command(hide = true)]
    HostileBroker {
        /// Where its instance is
        directory: std::path::PathBuf,
    },
    /// The process that attacks it
    #[command(hide = true)]
    HostileAttack {
        /// How
        attack: hostile::Attack,
        /// Where the instance is
        directory: std::path::PathBuf,
    },
    /// A process that builds an index
    #[command(hide = true)]
    GenomeIndexer {
        /// The BAM file
        bam: std::path::PathBuf,
        /// The index
        index: std::path::PathBuf,
        /// How many threads
        threads: std::num::NonZero<usize>,
    },
    /// The second process of a measurement, started by the first
    #[command(hide = true)]
    Child {
        /// The subject
        suite: String,
        /// What to do, as JSON
        job: String,
    },
}

fn main() -> anyhow::Result<()> {
    // Before the command line is understood: what that leaves behind in memory is not to be counted as the reader's.
    if let [_, role, instances, bam] = &*std::env::args_os().collect::<Vec<_>>()
        && role == genome::READER
    {
        return genome::serve_reader(instances.as_ref(), bam.as_ref());
    }
    match Arguments::parse().command {
        Command::Topics(options) => topics::run(&options),
        Command::Services(options) => services::run(&options),
        Command::Regions(options) => regions::run(&options),
        Command::Datasets(options) => datasets::run(&options),
        Command::Genome(options) => genome::run(&options),
        Command::Hostile(options) => hostile::run(&options),
        Command::Lifetimes(options) => lifetimes::run(&options),
        Command::LifetimesBroker { kind, directory } => lifetimes::serve_broker(kind, &directory),
        Command::LifetimesActor { role, group, directory } => lifetimes::act(role, group, &directory),
        Command::HostileBroker { directory } => hostile::serve(&directory),
        Command::HostileAttack { attack, directory } => hostile::attack(attack, &directory),
        Command::GenomeIndexer { bam, index, threads } => genome::serve_indexer(&bam, &index, threads),
        Command::Child { suite, job } => {
            let job: job::Job =
                serde_json::from_str(&job).context("the order for this process is not valid")?;
            match suite.as_str() {
                topics::NAME => child::serve(job, topics::answer),
                services::NAME => child::serve(job, services::answer),
                datasets::NAME => child::serve(job, datasets::answer),
                regions::NAME => child::serve(job, regions::answer),
                _ => bail!("there is no subject {suite}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
