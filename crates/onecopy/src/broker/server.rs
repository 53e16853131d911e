//! The broker at work: one thread, one epoll, sockets that never block.
//!
//! All decisions are made in `state.rs`; this file moves packets between it and the sockets. Whatever one peer does,
//! the others are served: a peer that does not read is let go of once too much waits for it, one that floods gets its
//! turn like everybody else, and when open files run out, it is the one who has most of them that goes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::slice;
use std::sync::Arc;
use std::time::Instant;

use onecopy_memory::scheduling::{self, Preference};
use rustix::event::epoll::{Event as Ready, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::{Errno, fcntl_dupfd_cloexec, retry_on_intr};

use super::absentees::Absentees;
use super::connection::{Blocked, Connection, Queued};
use super::handing_over::Heirloom;
use super::offenders::Offenders;
use super::passed::{self, Kind};
use super::peers::PeerId;
use super::place::Ending;
pub use super::place::{Ended, Place};
use super::process::pid_namespace;
use super::protocol::{BrokerId, Event, Refusal, Request};
use super::quota::Limits;
use super::roll::Roll;
pub use super::server_thread::ServerThread;
use super::state::{Broker, Identity, Output};
use super::throttle::{Resting, Throttle};
use super::transport::{Credentials, Packet, TransportError};
use super::watch::{Source, Watch};
use crate::config::Config;
use crate::limits::{
    BROKER_SLICE, EVENTS_PER_WAIT, GATHERING_NICE, IN_FLIGHT_RETRY, LAST_PACKETS, MAX_QUEUED_PACKETS,
    PACKETS_PER_TURN, QUEUED_DESCRIPTORS_DIVISOR, REPLACEMENT_TIME,
};
use crate::open_files;

/// Those before it have no numbers among what is watched.
const FIRST_PEER: u64 = 2;

/// A broker that has the socket and the lock of its instance, ready to [`run`](Self::run).
///
/// Dropped, before or after, it removes its socket while it still holds the lock.
///
/// See [`Ended`] for one that runs on a thread of the program's. On a thread of its own:
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// let instance = onecopy::instance::Instance::in_directory(directory.path().join("run"), "lab")?;
/// let mut server = instance.connect_or_serve()?.server.ok_or("somebody was there")?;
/// // It is to outlive those who use it.
/// server.keep_regions();
/// let (stop, running) = (server.stop_handle(), server.spawn()?);
/// stop.stop();
/// running.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Server {
    pub(super) broker: Broker,
    pub(super) connections: BTreeMap<PeerId, Connection>,
    pub(super) next_peer: u64,
    pub(super) watch: Watch,
    pub(super) offenders: Offenders,
    pub(super) stop: StopHandle,
    /// Given up for a moment when the process is out of descriptors, to tell a newcomer so.
    pub(super) spare: Option<OwnedFd>,
    pub(super) accepting: bool,
    max_queued_descriptors: usize,
    /// Peers that could not be sent a descriptor, because too many are on their way.
    in_flight: BTreeSet<PeerId>,
    /// Who has to rest, having used a whole turn.
    pub(super) throttle: Throttle,
    /// Some may not be listened to.
    is_anybody_paused: bool,
    absentees: Absentees,
    /// It is to end when what is under way has been sent.
    ending: Option<Ending>,
    /// The broker's place in its instance, given up when the server is dropped.
    pub(super) place: Place,
}

/// Ends a [`Server`] from another thread.
///
/// See [`Ended`] for an example.
#[derive(Debug, Clone)]
pub struct StopHandle {
    pub(super) signal: Arc<OwnedFd>,
}

impl StopHandle {
    /// Makes [`Server::run`] return. It may be called any number of times, and before `run`.
    pub fn stop(&self) {
        // The counter can only overflow after 2⁶⁴ calls, and then the signal is up anyway.
        let result = retry_on_intr(|| rustix::io::write(&self.signal, &1_u64.to_ne_bytes()));
        debug_assert!(matches!(result, Ok(8) | Err(Errno::AGAIN)), "{result:?}");
    }
}

impl Server {
    /// Keeps regions that nobody has open, if it is asked to: for a server that does not end with some program.
    pub fn keep_regions(&mut self) {
        self.broker.keep_regions();
    }

    /// A server for those who connect to its place, for the user that this process runs as.
    ///
    /// # Errors
    ///
    /// When the process is out of descriptors; four are needed.
    pub(crate) fn new(place: Place) -> io::Result<Self> {
        Self::for_user(place, Credentials::own())
    }

    /// Has it obey the rules and quotas of the configuration.
    pub(crate) fn govern(&mut self, config: Arc<Config>) {
        self.broker.govern(config);
    }

    pub(crate) fn for_user(place: Place, own: Credentials) -> io::Result<Self> {
        let watch = Watch::new()?;
        let throttle = Throttle::new(&watch)?;
        let signal = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        watch.add(&signal, Source::Stop)?;
        watch.add(&place.listener, Source::Listener)?;
        if let Some(place) = &place.watch {
            place.be_watched(|news| watch.add(news, Source::Place))?;
        }
        let spare = Some(fcntl_dupfd_cloexec(&signal, 0)?);
        let open_files = open_files::limit();
        let max_queued_descriptors = open_files / QUEUED_DESCRIPTORS_DIVISOR;
        let identity =
            Identity { credentials: own, broker: BrokerId::random()?, pid_namespace: pid_namespace() };
        Ok(Self {
            broker: Broker::with_limits(identity, Limits::with_open_files(open_files)),
            connections: BTreeMap::new(),
            next_peer: FIRST_PEER,
            watch,
            offenders: Offenders::default(),
            stop: StopHandle { signal: Arc::new(signal) },
            spare,
            accepting: true,
            max_queued_descriptors: usize::try_from(max_queued_descriptors).unwrap_or(usize::MAX),
            in_flight: BTreeSet::new(),
            throttle,
            is_anybody_paused: false,
            absentees: Absentees::default(),
            ending: None,
            place,
        })
    }

    /// Waits for the nodes on the roll, which another broker knew, before anybody else may open something.
    pub(crate) fn gather(&mut self, roll: Roll) {
        self.absentees.gather(roll, &mut self.broker);
    }

    /// Keeps what the last broker kept.
    pub(crate) fn inherit(&mut self, heirlooms: Vec<Heirloom>) {
        self.broker.inherit(heirlooms);
    }

    /// Readable once it was stopped.
    pub(super) fn stop_signal(&self) -> BorrowedFd<'_> {
        self.stop.signal.as_fd()
    }

    /// What ends [`run`](Self::run).
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Runs on a new thread.
    ///
    /// # Errors
    ///
    /// When the process can't have another thread.
    pub fn spawn(self) -> io::Result<ServerThread> {
        ServerThread::spawn(self)
    }

    /// Serves until it is stopped, or another broker takes its place.
    ///
    /// # Errors
    ///
    /// When epoll fails, for which the kernel has no reason to give on descriptors that it accepted before.
    pub fn run(mut self) -> io::Result<Ended> {
        if let Err(error) = scheduling::shorten(BROKER_SLICE) {
            tracing::debug!(%error, "on a busy machine, whoever joins waits for longer");
        }
        // Everybody waits for it, and it for everybody, who may be many and busy.
        let mut preference =
            self.broker.is_gathering().then(|| Preference::by_nice(GATHERING_NICE)).flatten();
        let mut ready = Vec::with_capacity(EVENTS_PER_WAIT);
        // It may have gone before it was watched.
        if self.has_lost_its_socket() {
            return Ok(Ended::Stopped);
        }
        loop {
            let retry = (!self.in_flight.is_empty()).then_some(IN_FLIGHT_RETRY);
            let timeout = self.absentees.look_within(&self.broker).into_iter().chain(retry).min();
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            self.watch.wait(&mut ready, timeout.as_ref())?;
            for event in &ready {
                match Source::of(event) {
                    Source::Place if !self.has_lost_its_socket() => continue,
                    Source::Stop | Source::Place => {
                        self.finish_what_was_sent();
                        return Ok(Ended::Stopped);
                    }
                    Source::Listener => {
                        self.accept()?;
                        continue;
                    }
                    Source::Timer => self.end_rests()?,
                    // A process's further connections have one turn together.
                    Source::Group(pid) => {
                        let events = self.watch.look_into(pid)?;
                        self.take_turn(&events, Some(Resting::Group(pid)))?;
                    }
                    Source::Socket(peer) => {
                        self.take_turn(slice::from_ref(event), Some(Resting::Peer(peer)))?;
                    }
                    Source::Process(_) | Source::Absent => self.take_turn(slice::from_ref(event), None)?,
                }
                // Whatever happened may have freed a descriptor; if it did not, the next newcomer pauses us again.
                self.set_accepting(true)?;
            }
            self.retry_in_flight();
            self.look_for_absent(ready.is_empty());
            preference = preference.filter(|_| self.broker.is_gathering());
            if let Some(ending) = self.ending.take()
                && self.end(ending)
            {
                return Ok(match ending {
                    Ending::HandedOver(_) => Ended::Replaced,
                    Ending::Stopped(_) => Ended::Stopped,
                });
            }
        }
    }

    /// Whether newcomers don't find it any more.
    fn has_lost_its_socket(&self) -> bool {
        let is_lost = self.place.watch.as_ref().is_some_and(|socket| !socket.look());
        if is_lost {
            tracing::warn!(
                "the broker's socket was removed or replaced: it ends, and another one takes its place"
            );
            // Newcomers come no more, and whoever is there can wait that long.
            let moment = Timespec::try_from(REPLACEMENT_TIME).ok();
            let _ = rustix::event::poll(&mut [], moment.as_ref());
        }
        is_lost
    }

    /// Hears what peers have sent, or that they have ended, for as long as a turn lasts. Whoever has used all of it rests.
    fn take_turn(&mut self, events: &[Ready], whose: Option<Resting>) -> io::Result<()> {
        let (begin, mut left) = (Instant::now(), PACKETS_PER_TURN);
        for event in events {
            if left == 0 {
                break;
            }
            match Source::of(event) {
                Source::Socket(peer) => drop(self.serve(peer, event.flags, &mut left)),
                Source::Process(peer) => self.bury(peer, &mut left),
                Source::Listener | Source::Stop | Source::Timer | Source::Place => {}
                Source::Group(_) | Source::Absent => {}
            }
        }
        match whose {
            Some(whose) if left == 0 => self.rest(whose, begin),
            _ => Ok(()),
        }
    }

    fn look_for_absent(&mut self, is_quiet: bool) {
        let was_gathering = self.broker.is_gathering();
        self.absentees.look(&mut self.broker, &self.watch.epoll, is_quiet);
        self.perform_outputs(None);
        if was_gathering || self.is_anybody_paused {
            let peers: Vec<PeerId> = self.connections.keys().copied().collect();
            peers.into_iter().for_each(|peer| self.update_interest(peer));
            self.is_anybody_paused = self.broker.is_gathering();
        }
    }

    /// Passes on what nodes sent before the stop. The last words of the very process that stops are among it: a segment
    /// that its publisher added, and that subscribers need for its last messages.
    fn finish_what_was_sent(&mut self) {
        let peers: Vec<PeerId> = self.connections.keys().copied().collect();
        for peer in peers {
            self.serve(peer, EventFlags::IN | EventFlags::HUP, &mut { LAST_PACKETS });
        }
    }

    /// Takes what a peer sent, as much as is its turn. Returns whether nothing is left.
    fn serve(&mut self, peer: PeerId, flags: EventFlags, left: &mut usize) -> bool {
        if flags.contains(EventFlags::OUT) {
            self.flush(peer);
            self.perform_outputs(None);
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return false;
        }
        // Who has ended is heard out, since nothing follows.
        let has_ended = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        while *left > 0 && self.ending.is_none() {
            if !has_ended && self.broker.is_paused(peer) {
                self.is_anybody_paused = true;
                self.update_interest(peer);
                return false;
            }
            // Looked up each time: what the last packet led to may have ended this peer.
            let Some(connection) = self.connections.get(&peer) else { return true };
            match connection.socket.try_receive() {
                Ok(packet) => self.handle(peer, packet),
                Err(TransportError::NotReady) => return true,
                Err(TransportError::Decode(error)) => self.broker.handle_malformed(peer, error),
                Err(TransportError::DescriptorLost) => {
                    // Whoever took the last ones goes, and so does this peer: what it said is lost.
                    self.broker.refuse_largest_holder();
                    self.broker.refuse(peer, Refusal::OutOfDescriptors);
                }
                Err(_) => self.forget(peer),
            }
            *left = left.saturating_sub(1 + self.perform_outputs(Some(peer)));
            self.forget_if_let_go(peer);
        }
        false
    }

    /// A peer's process has ended. What it said before is heard, and then it is gone, whoever has its socket now.
    fn bury(&mut self, peer: PeerId, left: &mut usize) {
        if self.serve(peer, EventFlags::IN | EventFlags::HUP, left) {
            self.forget(peer);
            *left = left.saturating_sub(1 + self.perform_outputs(None));
        }
    }

    fn handle(&mut self, peer: PeerId, packet: Packet) {
        let queued = self.connections.get(&peer).map_or(0, Connection::queued);
        let request = match Request::decode(&packet.bytes) {
            _ if queued > MAX_QUEUED_PACKETS => Err(Refusal::TooSlow { queued: queued as u64 }),
            decoded => decoded.map_err(Refusal::from),
        };
        let request = match request {
            Ok(request) => request,
            Err(reason) => {
                packet.descriptor.into_iter().for_each(passed::dispose);
                return self.broker.refuse(peer, reason);
            }
        };
        // Others get what is left, at the expense of this one if need be.
        let is_greedy = || open_files::is_short(&self.stop.signal) && self.broker.is_largest_holder(peer);
        // What a node comes back with it has open already.
        if costs_files(&request) && !self.broker.is_returning(peer) && is_greedy() {
            packet.descriptor.into_iter().for_each(passed::dispose);
            return self.broker.decline(peer, &request, open_files::limit());
        }
        let kind = match request {
            Request::MaySleep { .. } => Kind::Doorbell,
            _ => Kind::Memory,
        };
        let Some(descriptor) = packet.descriptor else {
            return self.broker.handle_request(peer, request, None);
        };
        match passed::take(descriptor, kind) {
            Some(descriptor) => self.broker.handle_request(peer, request, Some(Arc::new(descriptor))),
            None => self.broker.refuse(peer, Refusal::DescriptorKind),
        }
        self.keep_room();
    }

    /// Makes sure that the next descriptor can be received: one for which there is no room is lost, and its sender, who
    /// need not be the one who took the others, with it.
    fn keep_room(&mut self) {
        if fcntl_dupfd_cloexec(&self.stop.signal, 0).is_err() && self.broker.refuse_largest_holder() {
            tracing::warn!("open files have run out; raise the limit with `ulimit -n`");
        }
    }

    /// Does what the broker wants done, and returns how many packets that were.
    pub(super) fn perform_outputs(&mut self, cause: Option<PeerId>) -> usize {
        let mut performed = 0;
        while let Some(output) = self.broker.poll_output() {
            performed += 1;
            match output {
                Output::Send { peer, event, descriptor } => {
                    if let (Event::Welcome { .. }, Some(connection)) =
                        (&event, self.connections.get_mut(&peer))
                    {
                        connection.has_joined = true;
                    }
                    let solicited = cause == Some(peer);
                    self.enqueue(peer, Queued { bytes: event.encode(), descriptor, solicited });
                }
                Output::Disconnect { peer, reason } => self.disconnect(peer, reason),
                Output::ShowPlace { peer } => self.show_place(peer),
                Output::ShowRoll { peer } => self.show_roll(peer),
                Output::Yield { peer } => self.ending = Some(Ending::HandedOver(peer)),
                Output::End { peer } => self.ending = Some(Ending::Stopped(peer)),
            }
        }
        performed
    }

    pub(super) fn enqueue(&mut self, peer: PeerId, packet: Queued) {
        let Some(connection) = self.connections.get_mut(&peer) else { return };
        if !packet.solicited && connection.is_too_slow(MAX_QUEUED_PACKETS, self.max_queued_descriptors) {
            let queued = connection.queued() as u64;
            return self.broker.refuse(peer, Refusal::TooSlow { queued });
        }
        connection.push(packet);
        if connection.blocked == Blocked::No {
            self.flush(peer);
        }
    }

    /// Sends what is queued for a peer as far as there is room, and has epoll report room exactly as long as that is what
    /// it waits for: reported for an empty queue, or for one that waits for something else, it would keep this thread
    /// spinning.
    pub(super) fn flush(&mut self, peer: PeerId) {
        let Some(connection) = self.connections.get_mut(&peer) else { return };
        let Ok(blocked) = connection.send_queued() else { return self.forget(peer) };
        connection.blocked = blocked;
        match blocked {
            Blocked::InFlight => self.in_flight.insert(peer),
            Blocked::No | Blocked::Full => self.in_flight.remove(&peer),
        };
        self.update_interest(peer);
    }

    /// Tries again what had to wait for others to receive descriptors.
    fn retry_in_flight(&mut self) {
        let waiting: Vec<PeerId> = self.in_flight.iter().copied().collect();
        for peer in waiting {
            self.flush(peer);
        }
        self.perform_outputs(None);
    }

    /// Has epoll report what matters of a peer now.
    pub(super) fn update_interest(&mut self, peer: PeerId) {
        let Some(connection) = self.connections.get_mut(&peer) else { return };
        let is_heard = !self.broker.is_paused(peer) && !self.throttle.is_resting(Resting::Peer(peer));
        let listens = if is_heard { EventFlags::IN } else { EventFlags::empty() };
        let needs_room = connection.blocked == Blocked::Full;
        let flags = listens | if needs_room { EventFlags::OUT } else { EventFlags::empty() };
        if std::mem::replace(&mut connection.interest, flags) == flags {
            return;
        }
        if let Err(error) = self.watch.modify(peer, connection, flags) {
            tracing::error!(%error, "a peer can't be watched any more");
            self.forget(peer);
        }
    }

    pub(super) fn forget(&mut self, peer: PeerId) {
        self.remove(peer);
        self.broker.handle_gone(peer);
    }

    fn remove(&mut self, peer: PeerId) {
        self.in_flight.remove(&peer);
        let Some(connection) = self.connections.remove(&peer) else { return };
        self.watch.remove(&connection);
        if !connection.has_joined {
            self.offenders.note(connection.credentials.into(), Instant::now());
        }
    }

    fn disconnect(&mut self, peer: PeerId, reason: Refusal) {
        tracing::warn!(peer = peer.0, %reason, "the broker lets go of a peer");
        let Some(connection) = self.connections.get_mut(&peer) else { return };
        connection.refuse(reason);
        self.in_flight.remove(&peer);
        self.update_interest(peer);
        self.forget_if_let_go(peer);
    }

    /// Closes the connection of a refused peer that holds nothing any more.
    fn forget_if_let_go(&mut self, peer: PeerId) {
        let is_refused = self.connections.get(&peer).is_some_and(|connection| connection.is_refused);
        if is_refused && self.broker.has_forgotten(peer) {
            self.remove(peer);
        }
    }
}

/// Whether it opens something that takes files of this process.
fn costs_files(request: &Request) -> bool {
    matches!(
        request,
        Request::OpenPublisher { .. } | Request::OpenService { .. } | Request::OpenShared { .. }
    )
}
