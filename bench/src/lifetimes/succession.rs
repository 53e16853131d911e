//! Kills a broker, and looks from outside what comes after it. Nobody polls: the kernel tells of the next
//! broker's socket, and who joins waits as any program does.

use std::mem::MaybeUninit;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use onecopy::instance::{DEFAULT_INSTANCE, Instance};
use onecopy::{Inventory, Node};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};

use super::processes::Broker;

/// How long each took, from the kill on.
pub(super) struct Times {
    /// Another process has the broker's socket
    pub(super) role: Duration,
    /// A newcomer is told of everybody who was there before
    pub(super) announced: Duration,
    /// Two newcomers have met
    pub(super) join: Duration,
}

/// Far longer than anything takes.
const LONG: Duration = Duration::from_secs(20);

/// Measures one death; returns not before `window` has passed since.
pub(super) fn measure(mut broker: Broker, directory: &Path, window: Duration) -> anyhow::Result<Times> {
    let before = {
        let node = Node::builder().directory(directory).name("looks before").open()?;
        shape(&node.inventory()?)
    };
    let events = init(CreateFlags::CLOEXEC).context("cannot watch the runtime directory")?;
    add_watch(&events, directory, WatchFlags::CREATE).context("cannot watch the runtime directory")?;
    let pid = broker.process.id();
    let killed = Instant::now();
    broker.process.kill()?;
    let times = std::thread::scope(|scope| {
        let role = scope.spawn(|| until_served(directory, &events, pid).map(|()| killed.elapsed()));
        let announced = scope.spawn(|| -> anyhow::Result<_> {
            let node = Node::builder().directory(directory).name("looks").open()?;
            // The broker's own node, if it was in one, is not among those who come back.
            while !holds(&shape(&node.inventory()?), &before) {
                ensure!(killed.elapsed() < LONG, "somebody has not come back after {LONG:?}");
            }
            Ok((killed.elapsed(), node))
        });
        let nodes = meet(directory)?;
        let join = killed.elapsed();
        std::thread::sleep(window.saturating_sub(killed.elapsed()));
        let panicked = |_| anyhow::anyhow!("a thread of the measurement panicked");
        let (announced, looks) = announced.join().map_err(panicked)??;
        let role = role.join().map_err(panicked)??;
        // One of them may be the broker by now.
        drop((nodes, looks));
        Ok(Times { role, announced, join })
    });
    broker.process.wait()?;
    times
}

/// Two new nodes, one of which has received a message of the other.
fn meet(directory: &Path) -> anyhow::Result<[Node; 2]> {
    let open = |name| Node::builder().directory(directory).name(name).open();
    let (one, other) = (open("new")?, open("newer")?);
    let mut publisher = one.topic::<u64>("meeting")?.publisher().history(1).open()?;
    let mut subscriber = other.topic::<u64>("meeting")?.subscriber().open()?;
    publisher.publish(&7)?;
    ensure!(*subscriber.wait(LONG)? == 7, "another message");
    Ok([one, other])
}

/// Returns when a process other than `pid` listens.
fn until_served(directory: &Path, events: &rustix::fd::OwnedFd, pid: u32) -> anyhow::Result<()> {
    let instance = Instance::in_directory(directory, DEFAULT_INSTANCE)?;
    let socket_path = instance.socket_path();
    let name = socket_path.file_name().context("a socket has a name")?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = Reader::new(events, &mut buffer);
    loop {
        let event = events.next().context("cannot watch the runtime directory")?;
        if event.file_name().is_none_or(|created| created.to_bytes() != name.as_encoded_bytes()) {
            continue;
        }
        // Between its name and its ear there is an instant.
        let begin = Instant::now();
        while begin.elapsed() < LONG {
            let listens = instance.connect()?.and_then(|socket| socket.peer_credentials().ok());
            if listens.is_some_and(|peer| peer.pid != pid) {
                return Ok(());
            }
            std::thread::yield_now();
        }
    }
}

/// How much there is of everything: publishers and subscribers, clients and servers, writers and readers.
fn shape(inventory: &Inventory) -> [usize; 3] {
    // What newcomers open has another kind of name.
    let is_old = |name: &str| name.contains('/');
    let topics = inventory.topics.iter().filter(|topic| is_old(&topic.name));
    let services = inventory.services.iter().filter(|service| is_old(&service.name));
    let regions = inventory.regions.iter().filter(|region| is_old(&region.name));
    [
        topics.map(|topic| topic.publishers.len() + topic.subscribers.len()).sum(),
        services.map(|service| service.servers.len() + service.clients.len()).sum(),
        regions.map(|region| usize::from(region.writer_pid.is_some()) + region.readers as usize).sum(),
    ]
}

fn holds(now: &[usize; 3], before: &[usize; 3]) -> bool {
    now.iter().zip(before).all(|(now, before)| now >= before)
}
