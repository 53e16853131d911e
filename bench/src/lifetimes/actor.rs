//! A process under load: it does one thing as fast as it can, and tells, when it is asked, how long it once
//! had to wait for the next time.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use onecopy::service::CallError;
use onecopy::{LoanError, Node, WaitError};

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    Publish,
    Subscribe,
    Serve,
    Call,
    Write,
    Read,
}

impl Role {
    /// Each needs the one before it.
    pub(super) const ALL: [Self; 6] =
        [Self::Publish, Self::Subscribe, Self::Serve, Self::Call, Self::Write, Self::Read];

    pub(super) fn argument(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Serve => "serve",
            Self::Call => "call",
            Self::Write => "write",
            Self::Read => "read",
        }
    }

    /// Whose pauses are counted, and as what.
    pub(super) fn gauge(self) -> Option<Gauge> {
        match self {
            Self::Subscribe => Some(Gauge::Messages),
            Self::Call => Some(Gauge::Calls),
            Self::Read => Some(Gauge::Reads),
            Self::Publish | Self::Serve | Self::Write => None,
        }
    }
}

/// What a pause is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gauge {
    Messages,
    Calls,
    Reads,
}

/// Says that the process has begun.
pub(super) const BEGUN: u8 = b'!';
/// Forget what was so far.
pub(super) const BEGIN_WINDOW: u8 = b'b';
/// Tell the longest pause, in nanoseconds.
pub(super) const END_WINDOW: u8 = b'e';

/// How long it waits for its counterpart before it tries again.
const MOMENT: Duration = Duration::from_secs(1);

/// Longest time between two steps.
struct Pauses {
    epoch: Instant,
    last_ns: AtomicU64,
    longest_ns: AtomicU64,
}

impl Pauses {
    fn new() -> Self {
        Self { epoch: Instant::now(), last_ns: AtomicU64::new(0), longest_ns: AtomicU64::new(0) }
    }

    fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Something has come.
    fn step(&self) {
        let now = self.now_ns();
        let last = self.last_ns.swap(now, Ordering::Relaxed);
        self.longest_ns.fetch_max(now.saturating_sub(last), Ordering::Relaxed);
    }

    fn begin(&self) {
        self.last_ns.store(self.now_ns(), Ordering::Relaxed);
        self.longest_ns.store(0, Ordering::Relaxed);
    }

    /// The longest so far, also if it goes on.
    fn longest_ns(&self) -> u64 {
        let current = self.now_ns().saturating_sub(self.last_ns.load(Ordering::Relaxed));
        self.longest_ns.load(Ordering::Relaxed).max(current)
    }
}

/// The life of the process. Those that do the same in different groups have nothing to do with each other.
pub(crate) fn run(role: Role, group: usize, directory: &Path) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let node = Node::builder().directory(directory).name(role.argument()).open()?;
    let pauses = Arc::new(Pauses::new());
    let (topic, service, region) =
        (format!("numbers/{group}"), format!("next/{group}"), format!("value/{group}"));
    let listens = Arc::clone(&pauses);
    let ready = move || {
        std::thread::spawn(move || answer(&listens));
        std::io::stdout().write_all(&[BEGUN]).and_then(|()| std::io::stdout().flush())
    };
    match role {
        Role::Publish => {
            let mut publisher = node.topic::<u64>(&topic)?.publisher().reliable().depth(64).open()?;
            ready()?;
            for number in 0.. {
                match publisher.loan_within(MOMENT) {
                    Ok(mut loan) => {
                        *loan = number;
                        loan.publish()?;
                    }
                    Err(LoanError::Timeout) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        }
        Role::Subscribe => {
            let mut subscriber = node.topic::<u64>(&topic)?.subscriber().open()?;
            ready()?;
            loop {
                match subscriber.wait(MOMENT) {
                    Ok(_) => pauses.step(),
                    Err(WaitError::Timeout) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Role::Serve => {
            let server = node.service::<u64, u64>(&service)?.server().open()?;
            ready()?;
            loop {
                match server.wait(MOMENT) {
                    Ok(Some(request)) => request.respond(&(*request + 1))?,
                    Ok(None) | Err(WaitError::Timeout) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Role::Call => {
            let client = node.service::<u64, u64>(&service)?.client().open()?;
            client.wait_for_server(MOMENT)?;
            ready()?;
            for number in 0.. {
                match client.call(&number).and_then(|call| call.wait(MOMENT).map(drop)) {
                    Ok(()) => pauses.step(),
                    Err(CallError::Timeout | CallError::DeadlinePassed) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        }
        Role::Write => {
            let region = node.region::<[u64; 8]>(&region)?.create(&[0; 8])?;
            ready()?;
            for number in 0.. {
                region.write(&[number; 8])?;
            }
            Ok(())
        }
        Role::Read => {
            let region = node.region::<[u64; 8]>(&region)?.open()?;
            ready()?;
            loop {
                std::hint::black_box(region.read()?[0]);
                pauses.step();
            }
        }
    }
}

/// Answers whoever measures, until it has ended.
fn answer(pauses: &Pauses) {
    let mut asked = [0];
    while std::io::stdin().read_exact(&mut asked).is_ok() {
        let said = match asked {
            [BEGIN_WINDOW] => {
                pauses.begin();
                std::io::stdout().write_all(&[BEGUN])
            }
            _ => std::io::stdout().write_all(&pauses.longest_ns().to_ne_bytes()),
        };
        if said.and_then(|()| std::io::stdout().flush()).is_err() {
            break;
        }
    }
    std::process::exit(0);
}

/// Reads what a process says; see [`answer`].
pub(super) fn hear<const BYTES: usize>(output: &mut impl Read) -> anyhow::Result<[u8; BYTES]> {
    let mut said = [0; BYTES];
    output.read_exact(&mut said).context("a process under load has ended; what it said stands above")?;
    Ok(said)
}
