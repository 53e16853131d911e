//! What there is, and the steps that may happen.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, memfd_create};

use super::dice::Dice;
use super::node::{Kind, Line, Node};
use crate::broker::protocol::{BrokerId, Event, NodeId, PortId, Refusal, Request, Route};
use crate::broker::state::{Broker, Identity, Output};
use crate::broker::transport::Credentials;
use crate::broker::{Descriptor, PeerId};
use crate::node::ledger::Knowledge;

const NODES: usize = 5;
const USER: u32 = 1000;

/// The one broker that holds the lock.
pub(super) struct Role {
    pub(super) broker: Broker,
    term: u64,
    /// The node whose process it runs in, if it does not run on its own.
    host: Option<usize>,
    peers: BTreeMap<PeerId, usize>,
    next_peer: u64,
}

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) nodes: Vec<Node>,
    pub(super) role: Option<Role>,
    terms: u64,
    next_node: u64,
    /// Memory, with the version of its value.
    pub(super) memories: Vec<(Descriptor, u64)>,
    is_told: bool,
    /// A broker has stopped waiting for somebody: that one may find its things taken.
    pub(super) gave_up_waiting: bool,
}

impl World {
    pub(super) fn new(seed: u64, is_told: bool) -> Self {
        let (nodes, memories) = (Vec::new(), Vec::new());
        let dice = Dice::new(seed);
        let (role, terms, next_node, gave_up_waiting) = (None, 0, 0, false);
        let mut world = Self { dice, nodes, role, terms, next_node, memories, is_told, gave_up_waiting };
        for _ in 0..NODES {
            world.add_node();
        }
        world
    }

    fn add_node(&mut self) {
        self.next_node += 1;
        let table = self.new_memory();
        self.nodes.push(Node::new(self.next_node, table));
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            eprintln!("{}", what());
        }
    }

    /// Memory whose value is the latest there is.
    pub(super) fn new_memory(&mut self) -> Descriptor {
        let memory = memfd_create("simulated", MemfdFlags::CLOEXEC).expect("few files are open");
        let memory = Arc::new(memory);
        self.memories.push((Arc::clone(&memory), self.memories.len() as u64 + 1));
        memory
    }

    pub(super) fn version_of(memories: &[(Descriptor, u64)], memory: &Descriptor) -> u64 {
        memories.iter().find(|(known, _)| Arc::ptr_eq(known, memory)).map_or(0, |(_, version)| *version)
    }

    pub(super) fn step(&mut self) {
        let node = self.dice.below(self.nodes.len());
        match self.dice.below(100) {
            0 => self.kill_broker(),
            1 => self.kill_node(node),
            2 => self.nodes[node].is_stopped = true,
            3..6 => self.nodes[node].is_stopped = false,
            6 => {
                self.look(true);
            }
            7..12 => {
                self.look(false);
            }
            12..20 => self.join(node),
            20..32 => self.open_something(node),
            32..35 => self.close_something(node),
            35..37 => self.let_something_go(node),
            37..40 => self.grow_something(node),
            40 if self.nodes.len() < NODES + 3 => self.add_node(),
            41..70 => drop(self.deliver_to_broker(node)),
            _ => drop(self.deliver_to_node(node)),
        }
        self.check_step();
    }

    /// Everything goes on, nobody dies any more, and every packet arrives.
    pub(super) fn come_to_rest(&mut self) {
        self.tell(|| "come to rest".to_owned());
        self.nodes.iter_mut().for_each(|node| node.is_stopped = false);
        loop {
            let mut has_moved = false;
            for node in 0..self.nodes.len() {
                let is_off = self.nodes[node].line.as_ref().is_none_or(|line| line.is_cut);
                if is_off && self.nodes[node].runs() {
                    self.deliver_to_node(node);
                    self.join(node);
                    has_moved = true;
                }
                while self.deliver_to_broker(node) || self.deliver_to_node(node) {
                    has_moved = true;
                    self.check_step();
                }
            }
            has_moved |= self.look(false);
            if !has_moved {
                return;
            }
        }
    }

    /// A broker's end: what it had not read is lost, and of what it had to say, what was not in a socket yet.
    fn kill_broker(&mut self) {
        let Some(role) = self.role.take() else { return };
        self.tell(|| format!("broker {} ends", role.term));
        if let Some(host) = role.host
            && self.dice.one_in(2)
        {
            self.nodes[host].is_alive = false;
        }
        for node in role.peers.values() {
            if let Some(line) = &mut self.nodes[*node].line
                && line.term == role.term
            {
                line.is_cut = true;
                line.to_broker.clear();
                if self.dice.one_in(4) {
                    let kept = self.dice.below(line.from_broker.len() + 1);
                    line.from_broker.truncate(kept);
                }
            }
        }
    }

    fn kill_node(&mut self, node: usize) {
        if !std::mem::replace(&mut self.nodes[node].is_alive, false) {
            return;
        }
        self.tell(|| format!("node {} dies", self.nodes[node].id));
        if self.role.as_ref().is_some_and(|role| role.host == Some(node)) {
            self.kill_broker();
        }
        self.nodes[node].is_alive = false;
        self.lose_line(node);
    }

    /// The broker notices that a connection is closed.
    fn lose_line(&mut self, node: usize) {
        let Some(line) = self.nodes[node].line.take() else { return };
        let Some(role) = self.role.as_mut().filter(|role| role.term == line.term) else { return };
        let peer = role.peers.iter().find(|(_, of)| **of == node).map(|(peer, _)| *peer);
        if let Some(peer) = peer {
            // What it said before is heard.
            for (request, descriptor) in line.to_broker {
                role.broker.handle_request(peer, request, descriptor);
            }
            role.peers.remove(&peer);
            role.broker.handle_gone(peer);
        }
        self.take_outputs();
    }

    /// What the kernel says of those who are waited for. Whoever is stopped is not waited for without end.
    fn look(&mut self, gives_up: bool) -> bool {
        let Some(role) = &mut self.role else { return false };
        let alive = |id: NodeId| self.nodes.iter().any(|node| node.id == id && node.is_alive);
        let waited: Vec<NodeId> =
            role.broker.expected().chain(role.broker.absent().map(|(node, _)| node)).collect();
        let mut has_moved = false;
        for node in waited {
            if !alive(node) {
                role.broker.handle_absent_ended(node);
                has_moved = true;
            }
        }
        if gives_up && role.broker.is_gathering() {
            role.broker.end_gathering();
            self.gave_up_waiting = true;
        }
        self.take_outputs();
        has_moved
    }

    /// A node without a connection looks for a broker, or becomes it.
    fn join(&mut self, node: usize) {
        let is_off =
            self.nodes[node].line.as_ref().is_none_or(|line| line.is_cut && line.from_broker.is_empty());
        if !self.nodes[node].runs() || !is_off {
            return;
        }
        if self.role.is_none() {
            self.terms += 1;
            let term = self.terms;
            let credentials = Credentials { pid: 1, uid: USER };
            let identity = Identity { credentials, broker: BrokerId(term), pid_namespace: 1 };
            let mut broker = Broker::new(identity);
            broker.expect(self.nodes.iter().filter(|node| node.is_alive).map(|node| node.id));
            let host = self.dice.one_in(2).then_some(node);
            self.tell(|| format!("broker {term} begins, host {host:?}"));
            self.role = Some(Role { broker, term, host, peers: BTreeMap::new(), next_peer: 0 });
        }
        let Some(role) = &mut self.role else { return };
        let peer = PeerId(role.next_peer);
        role.next_peer += 1;
        role.peers.insert(peer, node);
        role.broker.connect(peer, Credentials { pid: 100 + node as u32, uid: USER });
        let alive: Vec<NodeId> = self.nodes.iter().filter(|node| node.is_alive).map(|node| node.id).collect();
        let memories = &self.memories;
        let knowledge = Knowledge {
            is_there: &|node| alive.contains(&node),
            version_of: &|memory| Self::version_of(memories, memory),
            pids_hold: true,
        };
        let this = &mut self.nodes[node];
        let returns_from = this.last_term.replace(role.term).map(BrokerId);
        let mut line = Line { term: role.term, ..Line::default() };
        let hello = Request::Hello { node: this.id, name: "node".to_owned(), returns_from };
        line.to_broker.push_back((hello, None));
        let announcement = this.ledger.announcement(&knowledge);
        let unseated = this.ports.values_mut().filter(|port| port.seat.is_none());
        unseated.for_each(|port| port.living.clear());
        // One who comes for the first time has nothing to announce, and asks for all that it was asked for meanwhile.
        let is_new = returns_from.is_none();
        line.to_broker.extend(
            announcement
                .into_iter()
                .filter(|(request, _)| !(is_new && matches!(request, Request::Announced))),
        );
        this.line = Some(line);
        self.tell(|| format!("node {} joins, from {returns_from:?}", self.nodes[node].id));
    }

    fn deliver_to_broker(&mut self, node: usize) -> bool {
        let Some(role) = &mut self.role else { return false };
        let Some((peer, _)) = role.peers.iter().find(|(_, of)| **of == node) else { return false };
        let (peer, is_paused) = (*peer, role.broker.is_paused(*peer));
        let Some(line) = self.nodes[node].line.as_mut().filter(|line| line.term == role.term) else {
            return false;
        };
        if is_paused {
            return false;
        }
        let Some((request, descriptor)) = line.to_broker.pop_front() else { return false };
        if self.is_told {
            eprintln!("  {} → broker: {request:?}", self.nodes[node].id);
        }
        role.broker.handle_request(peer, request, descriptor);
        self.take_outputs();
        true
    }

    fn take_outputs(&mut self) {
        let Some(role) = &mut self.role else { return };
        role.broker.check_invariants();
        while let Some(output) = role.broker.poll_output() {
            match output {
                Output::Send { peer, event, descriptor } => {
                    let Some(node) = role.peers.get(&peer) else { continue };
                    if let Some(line) = self.nodes[*node].line.as_mut().filter(|line| line.term == role.term)
                    {
                        line.from_broker.push_back((event, descriptor));
                    }
                }
                Output::Disconnect { peer, reason } => {
                    let is_late = matches!(reason, Refusal::Superseded { .. }) && self.gave_up_waiting;
                    assert!(is_late, "an honest node was let go of: {reason}");
                    if let Some(node) = role.peers.remove(&peer) {
                        self.nodes[node].is_refused = true;
                        self.nodes[node].line = None;
                        role.broker.handle_gone(peer);
                    }
                }
                Output::ShowRoll { .. }
                | Output::ShowPlace { .. }
                | Output::Yield { .. }
                | Output::End { .. } => {
                    unreachable!("no node of the own user asks for that")
                }
            }
        }
    }

    fn deliver_to_node(&mut self, node: usize) -> bool {
        if !self.nodes[node].runs() {
            return false;
        }
        let Some(line) = &mut self.nodes[node].line else { return false };
        let Some((event, descriptor)) = line.from_broker.pop_front() else { return false };
        if self.is_told {
            eprintln!("  broker → {}: {event:?}", self.nodes[node].id);
        }
        self.check_news(&event, descriptor.as_ref());
        let spare = self.new_memory();
        self.nodes[node].take(event, descriptor, &spare);
        true
    }

    /// Whoever is told of an end is told the truth.
    fn check_news(&self, event: &Event, descriptor: Option<&Descriptor>) {
        match event {
            Event::Remains { subscriber, .. } => {
                // What remains is read in place, and whoever writes it knows nothing of this reader.
                let is_read =
                    |memory: &Descriptor| descriptor.is_some_and(|remains| Arc::ptr_eq(remains, memory));
                let alive = self.nodes.iter().filter(|node| node.is_alive && !node.is_refused);
                for (writer, port) in alive.flat_map(|node| &node.ports) {
                    let writes =
                        matches!(port.kind, Kind::Writer(_)) && port.memory.as_ref().is_some_and(is_read);
                    assert!(!writes, "{subscriber} is left what {writer} still writes");
                }
            }
            Event::PublisherGone { route } => {
                // One that the last broker had not answered opens anew, and is shown anew.
                let reads = self.feed(*route).is_some_and(|feed| feed.start.is_some());
                assert!(!(reads && self.is_open(route.publisher)), "{route}: the publisher is there");
            }
            Event::SubscriberGone { route } => {
                assert!(self.feed(*route).is_none(), "{route}: the subscriber is there, and reads");
            }
            Event::Parted { peer, .. } => {
                // One that the last broker had not answered opens anew, and is met anew.
                let opened_by = self.port(*peer).and_then(|port| port.opened_by);
                let is_known =
                    opened_by.is_some_and(|by| self.role.as_ref().is_some_and(|role| by < role.term));
                assert!(!is_known, "{peer} is there");
            }
            Event::SeatGone { port, seat } => {
                let Some(record) = self.port(*port) else { return };
                let occupant = record.living.get(seat).copied();
                let sits = |other| self.port(other).is_some_and(|other| other.seat == Some(*seat));
                assert!(!occupant.is_some_and(sits), "{occupant:?} sits there");
            }
            _ => {}
        }
    }

    fn open_something(&mut self, node: usize) {
        if !self.nodes[node].runs() {
            return;
        }
        let name = format!("{}", self.dice.below(2));
        let kind = match self.dice.below(9) {
            0 | 1 => Kind::Publisher(name),
            2 | 3 => Kind::Subscriber(name),
            4 => Kind::Client(name),
            5 => Kind::Server(name),
            6 => Kind::Writer(format!("single/{name}")),
            7 => Kind::Reader(format!("single/{name}")),
            _ => Kind::Participant(format!("shared/{name}")),
        };
        let memory = self.new_memory();
        self.tell(|| format!("node {} opens {kind:?}", self.nodes[node].id));
        self.nodes[node].open(kind, &memory);
    }

    fn pick_port(&mut self, node: usize, wanted: impl Fn(&Kind) -> bool) -> Option<PortId> {
        if !self.nodes[node].runs() {
            return None;
        }
        let ports = self.nodes[node].ports.iter().filter(|(_, port)| wanted(&port.kind) && port.opened);
        let ports: Vec<PortId> = ports.map(|(port, _)| *port).collect();
        self.dice.pick(&ports)
    }

    fn close_something(&mut self, node: usize) {
        if let Some(port) = self.pick_port(node, |kind| !matches!(kind, Kind::Direct { .. })) {
            self.tell(|| format!("{port} closes"));
            self.nodes[node].close(port);
        }
    }

    fn let_something_go(&mut self, node: usize) {
        let Some(port) = self.pick_port(node, |kind| matches!(kind, Kind::Subscriber(_))) else { return };
        let feeds: Vec<PortId> = self.nodes[node].ports[&port].feeds.keys().copied().collect();
        if let Some(publisher) = self.dice.pick(&feeds) {
            let route = Route { publisher, subscriber: port };
            self.tell(|| format!("{route} is let go"));
            self.nodes[node].let_go(route);
        }
    }

    fn grow_something(&mut self, node: usize) {
        let grows = |kind: &Kind| matches!(kind, Kind::Publisher(_) | Kind::Participant(_));
        let Some(port) = self.pick_port(node, grows) else { return };
        let memory = self.new_memory();
        if matches!(self.nodes[node].ports[&port].kind, Kind::Participant(_)) {
            // Only who knows the current memory has its lock.
            if self.is_current(port) {
                self.tell(|| format!("{port} resizes"));
                self.nodes[node].resize(port, &memory);
            }
        } else if self.nodes[node].ports[&port].segments.len() < 60 {
            self.nodes[node].grow(port, &memory);
            if let Some(port) = self.nodes[node].ports.get_mut(&port) {
                port.head += 1;
            }
        }
    }
}
