//! What a process does that may connect to the broker and means harm. Each goes on until it is killed.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::Context;
use onecopy::Delivery;
use onecopy::broker::protocol::{Address, NodeId, PortId, Request};
use onecopy::broker::transport::PacketSocket;
use onecopy::instance::Instance;
use onecopy::payload_type::PayloadType;
use rustix::fs::{MemfdFlags, memfd_create};

/// Connections that are asked for at once.
const CROWD: usize = 10_000;
/// Rounds before the others are measured.
const WARM_UP: usize = 200;

/// A way to mean harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Attack {
    /// Packets of noise
    Garbage,
    /// The first bytes of proper packets
    HalfPackets,
    /// Files, pipes and unsealed memory where sealed memory is due
    Descriptors,
    /// Connecting and leaving again
    Churn,
    /// 10,000 connections that are kept
    Crowd,
    /// The same, and each sends requests without pause
    CrowdFlood,
    /// One connection that sends requests without pause
    Flood,
    /// Asking for long answers and reading none
    Deaf,
    /// Nothing against the broker: two threads that keep the processors busy, as attacker and broker do in a flood
    Busy,
}

impl Attack {
    pub(crate) const ALL: [Self; 9] = [
        Self::Busy,
        Self::Garbage,
        Self::HalfPackets,
        Self::Descriptors,
        Self::Churn,
        Self::Crowd,
        Self::CrowdFlood,
        Self::Flood,
        Self::Deaf,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Garbage => "join-garbage",
            Self::HalfPackets => "join-half-packets",
            Self::Descriptors => "join-descriptors",
            Self::Churn => "join-churn",
            Self::Crowd => "join-crowd",
            Self::CrowdFlood => "join-crowd-flood",
            Self::Flood => "join-flood",
            Self::Deaf => "join-deaf",
            Self::Busy => "join-busy",
        }
    }

    /// As it is given on the command line.
    pub(super) fn argument(self) -> &'static str {
        self.name().trim_start_matches("join-")
    }
}

/// The life of the process that means harm.
pub(crate) fn run(attack: Attack, directory: &Path) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    onecopy::open_files::raise_limit().context("cannot have many files open")?;
    let target = Target { instance: Instance::in_directory(directory, "default")?, noise: 1 };
    match attack {
        Attack::Garbage => target.rounds(Target::garbage),
        Attack::HalfPackets => target.rounds(Target::half_packet),
        Attack::Descriptors => target.rounds(Target::descriptor),
        Attack::Churn => target.rounds(|target| drop(target.node())),
        // Whoever floods the broker has to rest, so a round takes seconds: there is none to warm up with.
        Attack::Deaf => {
            let mut target = target;
            ready()?;
            loop {
                target.deaf();
            }
        }
        Attack::Crowd => {
            let crowd = target.crowd();
            ready()?;
            loop {
                std::thread::park();
                std::hint::black_box(&crowd);
            }
        }
        Attack::CrowdFlood => flood(&target.crowd()),
        Attack::Busy => {
            std::thread::spawn(spin);
            ready()?;
            spin()
        }
        Attack::Flood => flood(&target.node().into_iter().collect::<Vec<_>>()),
    }
}

/// Tells whoever measures that it has begun.
fn ready() -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(b"!")?;
    Ok(stdout.flush()?)
}

fn spin() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

fn flood(nodes: &[PacketSocket]) -> anyhow::Result<()> {
    let question = Request::Inspect { request: 1, topic: Some("none".to_owned()), rings: false }.encode();
    ready()?;
    loop {
        for node in nodes {
            // Whether it is taken, and what is answered, is all the same; the answers must not fill the socket.
            while node.try_send(&question, None).is_ok() {}
            while node.try_receive().is_ok() {}
        }
    }
}

struct Target {
    instance: Instance,
    noise: u64,
}

impl Target {
    fn rounds(mut self, mut round: impl FnMut(&mut Self)) -> anyhow::Result<()> {
        for _ in 0..WARM_UP {
            round(&mut self);
        }
        ready()?;
        loop {
            round(&mut self);
        }
    }

    fn next(&mut self) -> u64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        self.noise
    }

    /// A connection, unless the broker has had enough.
    fn connect(&self) -> Option<PacketSocket> {
        self.instance.connect().ok().flatten()
    }

    fn node(&self) -> Option<PacketSocket> {
        let socket = self.connect()?;
        let id = NodeId::random().ok()?;
        self.instance.introduce(&socket, id, "hostile").ok()?;
        Some(socket)
    }

    fn crowd(&self) -> Vec<PacketSocket> {
        (0..CROWD).filter_map(|_| self.node()).collect()
    }

    fn garbage(&mut self) {
        let Some(socket) = self.connect() else { return };
        for _ in 0..16 {
            let noise: Vec<u8> = (0..64).flat_map(|_| self.next().to_ne_bytes()).collect();
            if socket.try_send(&noise, None).is_err() {
                return;
            }
        }
    }

    fn half_packet(&mut self) {
        let Some(socket) = self.connect() else { return };
        let hello = Request::Hello { node: NodeId(self.next()), name: "x".repeat(200), returns_from: None };
        let packet = hello.encode();
        let cut = self.next() as usize % packet.len();
        let _ = socket.try_send(&packet[..cut], None);
    }

    fn descriptor(&mut self) {
        let Some(socket) = self.node() else { return };
        let Ok(file) = File::open("/dev/null") else { return };
        let descriptor = match self.next() % 3 {
            0 => OwnedFd::from(file),
            1 => rustix::pipe::pipe().map_or_else(|_| file.into(), |(reader, _)| reader),
            _ => memfd_create("unsealed", MemfdFlags::CLOEXEC).unwrap_or_else(|_| file.into()),
        };
        let request = Request::OpenPublisher {
            publisher: PortId { node: NodeId(0), serial: 1 },
            address: Address::Topic("t".to_owned()),
            payload: PayloadType::value::<u64>(),
            delivery: Delivery::Overwrite,
            history: u64::MAX,
        };
        let _ = socket.try_send(&request.encode(), Some(descriptor.as_fd()));
    }

    fn deaf(&mut self) {
        let Some(socket) = self.node() else { return };
        let question = Request::Inspect { request: 1, topic: None, rings: true }.encode();
        while socket.send(&question, None).is_ok() {}
    }
}
