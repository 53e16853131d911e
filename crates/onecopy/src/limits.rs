//! Every limit of the control plane, by name, each with the reason for its value.
//!
//! What is bounded here is what one packet, one name, one slow peer, or one peer that takes all it can get may cost the
//! broker. The quotas of a peer lie far above what a program uses; how many peers there are is bounded by the
//! kernel's limit on open files only.

use std::time::Duration;

/// Largest packet on a broker socket, in bytes.
///
/// The largest that the protocol can produce is a mismatch of services: a name and two pairs of payload types of two
/// type names each, nine names of at most 255 bytes, plus less than 300 bytes of numbers. One page holds that,
/// and one page is what the kernel allocates for a packet without looking for contiguous memory.
pub const MAX_PACKET_BYTES: usize = 4096;

/// Most descriptors in one packet: each packet speaks of one segment, one block of reader state or one doorbell.
pub const MAX_DESCRIPTORS_PER_PACKET: usize = 1;

/// Largest name of a topic, in bytes of UTF-8: what file systems allow for a name, so that a topic may be named after
/// a file, and a file (a recording, say) after a topic's level.
pub const MAX_TOPIC_NAME_BYTES: usize = 255;

/// Largest name of a node, in bytes of UTF-8; the same as for topics, so that there is one number to remember.
pub const MAX_NODE_NAME_BYTES: usize = 255;

/// Largest name of a type, in bytes of UTF-8; longer ones (deeply nested generics) are abbreviated with a hash.
pub const MAX_TYPE_NAME_BYTES: usize = 255;

/// Largest alignment of a payload, in bytes: a mapping starts on a page, so no stronger promise can be kept.
pub const MAX_ALIGN_BYTES: u64 = 4096;

/// Largest size of one element of a payload, in bytes (1 TiB).
///
/// No real type is near it, and it keeps every sum and product of sizes from outside far from overflowing 64 bits.
pub const MAX_ELEMENT_BYTES: u64 = 1 << 40;

/// Largest piece of free text that the broker puts into a refusal, in bytes: a line or two on a terminal.
pub const MAX_DETAIL_BYTES: usize = 255;

/// Largest name of an instance, in bytes: it is part of a socket path, which has room for 107 bytes in all.
pub const MAX_INSTANCE_NAME_BYTES: usize = 64;

/// Largest path of a Unix socket, in bytes: `sun_path` has 108, the last of which ends the string.
pub const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Connections that the kernel keeps for the broker until it accepts them.
///
/// The kernel lowers it to `net.core.somaxconn`, whose default this is. A node that finds the queue full sleeps
/// until there is room.
pub const LISTEN_BACKLOG: i32 = 4096;

/// How long a node waits for the broker to accept it and to answer its first packet.
///
/// A healthy broker answers within microseconds and never waits for anything itself, so seconds mean that it is
/// stopped (a debugger, `SIGSTOP`) or that the machine is swapping. Long enough for the second, short enough
/// for a person to see the error rather than a hanging program.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a node looks for a broker again when the one it found ended during the handshake.
///
/// Each further attempt needs another broker to end between our connecting to it and its answer, which happens where
/// many short-lived nodes are each other's broker; this many in a row mean that something else is wrong.
pub const HANDSHAKE_ATTEMPTS: u32 = 64;

/// How long a process waits for another one that starts or stops a broker in the same directory.
///
/// That takes some system calls, so as with [`HANDSHAKE_TIMEOUT`] only a process that is stopped in the middle makes
/// anybody wait for long.
pub const DIRECTORY_TIMEOUT: Duration = HANDSHAKE_TIMEOUT;

/// How long whoever starts a broker waits for one that has lost its socket and not its lock: a killed process
/// closes its files one after the other, within milliseconds once it gets the processor.
pub const DYING_TIMEOUT: Duration = Duration::from_secs(1);

/// How long it sleeps at first before it looks again, which is about what a process takes to close its files. It
/// doubles each time, up to [`REJOIN_DELAY_MIN`].
pub const DYING_NAP_MIN: Duration = Duration::from_micros(50);

/// Packets that the broker keeps for a peer that does not read them, before it lets go of that peer.
///
/// The largest burst that a healthy peer meets is the death of a node with which it shares many routes: one packet a
/// route. 65,536 routes between two nodes are beyond any use seen so far, and cost the broker about 10 MiB while
/// they wait. The answer to one of the peer's own requests is not counted, so a list may be of any length.
pub const MAX_QUEUED_PACKETS: usize = 65_536;

/// The part of the process's limit of open files that packets queued for one peer may pin: a quarter (`1 / 4`).
///
/// A queued descriptor is an open file of the broker's process, also after the publisher that it came from has closed.
/// With a quarter for the slowest peer, three of them at once still leave room for those who read.
pub const QUEUED_DESCRIPTORS_DIVISOR: u64 = 4;

/// Connections accepted before the peers that are there get their turn: some 30 µs each, and as much again
/// when they end, so that a crowd at the door delays the rest by a millisecond at most.
pub const NEWCOMERS_PER_TURN: usize = 16;

/// Connections that can be turned away at the door in the time that it takes to let one in and see it go.
pub const REFUSALS_PER_NEWCOMER: usize = 8;

/// How often a process may connect without becoming a node in [`OFFENCES_PERIOD`], before it is turned away at once.
///
/// A program does so when it looks whether there is a broker, or ends just then: a few times. To let so many
/// in and see them go takes the broker some milliseconds, which is what the others notice of such a process,
/// once.
pub const OFFENCES_MAX: u32 = 32;

/// After how many attempts in that time it is not even told so any more: an answer nobody waits for makes
/// turning away cost more than connecting, so the line at the door would grow.
pub const OFFENCES_TOLD_MAX: u32 = 2 * OFFENCES_MAX;

/// In which time a process may do so. One that goes on is turned away until it has let one such time pass.
pub const OFFENCES_PERIOD: Duration = Duration::from_secs(2);

/// Packets taken from one process, or sent because of them, before the others get their turn: a microsecond
/// or two each, so that a flood from one process, however many connections it has, delays the rest by a tenth
/// of a millisecond. The last packet of a turn is finished whatever it leads to.
pub const PACKETS_PER_TURN: usize = 64;

/// How long all who flood the broker rest together, as a multiple of the time that they took: four times
/// leaves them a fifth of a processor, and others wait for them rarely and for one turn, a tenth of a
/// millisecond or two.
pub const FLOOD_REST_FACTOR: u32 = 4;

/// How long nobody is let in after some were turned away at the door. It is the longest that it can delay
/// somebody else, and long enough that turning away those who came meanwhile, a microsecond or two each,
/// takes less time than that.
pub const DOOR_REST: Duration = Duration::from_micros(200);

/// How long a broker whose socket was removed goes on before it ends, and its nodes make another one.
///
/// Whoever puts a socket in its place removes the old one first, and listens within a tenth of a millisecond
/// (systemd does so when a socket unit is started). Nodes that came in between would take the new one for a
/// leftover.
pub const REPLACEMENT_TIME: Duration = Duration::from_millis(50);

/// Packets taken from each peer when the broker ends: nearly as many as the kernel has room for in a socket.
pub const LAST_PACKETS: usize = 256;

/// How long the broker or a node waits before it tries again to send a descriptor for which the kernel has no room.
///
/// The kernel bounds how many descriptors of one user are on their way, over all of that user's programs, and tells
/// nobody when there is room again: some program has to read what was sent to it. Long enough to take a thousandth of a
/// core, short enough not to be noticed by people.
pub const IN_FLIGHT_RETRY: Duration = Duration::from_millis(10);

/// Publishers, subscribers, clients, servers and participants of regions that one peer may have open.
///
/// Far more than programs have, and every one of them costs its own program more than the broker. It bounds how long
/// the others wait while the broker ends them, should the peer die: some ten milliseconds.
pub const PORTS_PER_PEER_MAX: u64 = 65_536;

/// Ports that one peer may have open on one topic, or as clients or servers of one service.
///
/// Whoever opens a port there has it introduced to each of them, while the others wait: some milliseconds. A
/// program has one or two.
pub const PORTS_PER_PEER_AND_NAME_MAX: u64 = 4096;

/// Memory that a port costs the broker without its name, in bytes: entries in three tables with their share of empty
/// space, rounded up.
pub const PORT_BYTES: u64 = 512;

/// Memory that a publisher and a subscriber who know each other cost the broker, in bytes: an entry at the one and an
/// entry at the other with their share of empty space. Counted for the one who came later.
pub const ROUTE_BYTES: u64 = 128;

/// Memory of the broker that one peer may take, in bytes: what all its ports take, and as much again for routes and
/// names.
pub const BROKER_BYTES_PER_PEER_MAX: u64 = 2 * PORTS_PER_PEER_MAX * PORT_BYTES;

/// One user's peers together get as much as so many peers that use all they may. Then the broker's process has grown by
/// a gigabyte.
pub const FULL_PEERS_PER_USER: u64 = 16;

/// The part of what there is of nodes, ports and open files that a user other than the broker's own may take,
/// unless the configuration says otherwise: a quarter (`1 / 4`), so that no guest keeps the host out.
pub const OTHER_USER_DIVISOR: u64 = 4;

/// The part of its user's nodes that one process may have: half (`1 / 2`), so that a program which connects
/// without end keeps no other one out. A process has one node, or a few.
pub const PROCESS_NODES_DIVISOR: u64 = 2;

/// Open files of the broker that a connection needs: the socket, what tells of the end of the process, and
/// what the node shows to those who look at it.
pub const DESCRIPTORS_PER_NODE: u64 = 3;

/// The part of the broker's limit of open files that one peer may take: half (`1 / 2`), so that no peer alone keeps
/// others out.
pub const PEER_DESCRIPTORS_DIVISOR: u64 = 2;

/// The part of the broker's limit of open files that makes a peer the one to be let go of when they run out,
/// if nobody has more: an eighth (`1 / 8`). With less, it is not the peers that there are too many files for.
pub const OUTSIZED_DESCRIPTORS_DIVISOR: u64 = 8;

/// The part of the limit of open files that the peer with most of them does not get: a sixteenth (`1 / 16`).
/// It is for the other peers, for what is passed on, and for the program around the broker.
pub const RESERVED_DESCRIPTORS_DIVISOR: i32 = 16;

/// Ready descriptors that the broker takes from the kernel in one call: more only fill the cache.
pub const EVENTS_PER_WAIT: usize = 64;

/// How long opening a publisher or subscriber waits for the other side to attach.
///
/// A running process attaches within a millisecond. One that is stopped would hold up everybody else for ever; it is
/// connected when it runs again.
pub const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a node whose user may have so much memory and not more waits to be told that it may have another piece.
///
/// A broker answers within microseconds; when one ends, the next is there within 200 ms. Who waits longer,
/// for one that is stopped, can still use the memory that it has.
pub const GROWTH_TIMEOUT: Duration = Duration::from_secs(1);

/// Slots of a ring, unless the publisher says otherwise: a second of lag at 1 kHz. With one-line slots the ring
/// is 64 KiB and stays in a core's own cache.
pub const DEPTH_DEFAULT: u64 = 1024;

/// Least address space behind a ring's slots for messages that don't fit a slot: room for some thousand lines of text
/// or a few images, so that most publishers never need another descriptor. Only what messages touch takes memory.
pub const ARENA_BYTES_MIN: usize = 1 << 20;

/// Messages of a known size for which a publisher's first memory is laid out: a few in flight, a few that are held.
const ARENA_MESSAGES: usize = 8;

/// Address space behind the slots of a ring whose messages have `message_bytes` (0 if that is not known).
pub(crate) fn arena_bytes(message_bytes: usize, budget_bytes: usize) -> usize {
    message_bytes.saturating_mul(ARENA_MESSAGES).max(ARENA_BYTES_MIN).min(budget_bytes)
}

/// Longest history: half of the longest ring (the other half is for messages under way).
pub const HISTORY_MAX: u64 = onecopy_memory::layout::CAPACITY_MAX / 2;

/// Bytes of large messages that a publisher may have out with subscribers, unless it says otherwise. Only what messages
/// touch takes memory; this bounds the harm that a subscriber does which never lets go.
pub const BUDGET_BYTES_DEFAULT: usize = 1 << 30;

/// Most calls that one client has under way: as many answers as its servers' rings of the default depth take,
/// so that an honest client's servers never find them full.
pub const CALLS_MAX: usize = 1024;

/// Answers of one stream that its server may have sent, and that its client has not taken. The client keeps
/// them for whoever asks, some three hundred bytes each if they fit a slot; so many keep a stream flowing
/// while its reader does something else.
pub const STREAM_ANSWERS_MAX: usize = 256;

/// Of those, answers that don't fit a slot. With streams in answer to all [`CALLS_MAX`] calls, half of the
/// messages that a reader can hold (65,535) are left for what the client's user holds, and for the last
/// answers.
pub const STREAM_CHUNKS_MAX: usize = 32;

/// The part of the memory for a client's responses that such answers of one stream may take: a sixteenth (`1
/// / 16`), so that up to seven streams which nobody reads leave the others theirs. One answer may be larger.
pub const STREAM_BYTES_DIVISOR: usize = 16;

/// The part of that memory that all streams may take: half (`1 / 2`), like the slots of the ring. The rest is
/// for the last answers to all calls.
pub const STREAMS_BYTES_DIVISOR: usize = 2;

/// Largest text of a server that says why it could not do something, in bytes: the end of what a program
/// prints about its own failure.
pub const FAILURE_TEXT_BYTES_MAX: usize = 4096;

/// Room for a region's value of variable length, unless its creator says otherwise: a page of notes or settings many
/// times over. Address space only, until values use it.
pub const REGION_BYTES_DEFAULT: usize = 64 << 10;

/// How long writes of a shared region wait for its lock, unless the user says otherwise. Holders keep it for
/// microseconds; a person who waits for a program gives up after some seconds.
pub const LOCK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// How many occupants of seats a broker passes over that takes up a shared region from another one.
///
/// The last broker may have seated some whom nobody alive was told of: those whose news were in its hands
/// when it ended. Seats are told apart by 20 bits, so a thousand such hand-overs go by before one number
/// comes again.
pub const INCARNATIONS_SKIPPED: u32 = 1024;

/// How long a broker that takes over waits for the nodes that its predecessor knew, before it lets anybody
/// open anything.
///
/// A running process comes back within some milliseconds, also on a machine that is busy; who has ended is not waited
/// for, as the kernel says so. What is left are processes that are stopped: they come back when they run again, and
/// others go on without them, as with [`SETTLE_TIMEOUT`].
pub const GATHERING_TIMEOUT: Duration = Duration::from_secs(1);

/// How often such a broker looks who has ended meanwhile. Only while it waits.
pub const GATHERING_LOOK: Duration = Duration::from_millis(5);

/// The nice value that a broker's thread has meanwhile where it may, and a node's control thread while it
/// looks for the next broker: nine times a common thread's share of a processor. The broker has 0.2 ms of
/// work for each node then.
pub const GATHERING_NICE: i32 = -10;

/// The time slice that a node's control thread asks for: as short as the kernel gives, enough for tens of packets.
pub const CONTROL_SLICE: Duration = Duration::from_micros(100);

/// The time slice that a thread has while it joins an instance or opens something: more than it runs for.
pub const OPENING_SLICE: Duration = Duration::from_micros(500);

/// The time slice that a broker's thread asks for. One that comes after another has 0.2 ms of work for each
/// node, and where all processors are busy it has its next slice when the kernel looks at its clock again,
/// every 1 to 10 ms: too short slices make that many waits.
pub const BROKER_SLICE: Duration = Duration::from_micros(500);

/// How long a node waits before it looks for a broker again where that failed, at first and at most. It
/// doubles each time.
///
/// Failing takes a directory that can't be written, or a process that is out of descriptors: nothing that is
/// over at once.
pub const REJOIN_DELAY_MIN: Duration = Duration::from_millis(5);
/// See [`REJOIN_DELAY_MIN`].
pub const REJOIN_DELAY_MAX: Duration = Duration::from_secs(1);

/// Nodes that a broker which takes over waits for, before it lets anybody open anything. Their processes have
/// 50,000 of its open files; a longer list is one that somebody has made up.
pub const NODES_ON_ROLL_MAX: usize = 16_384;

/// Notes of a process that are read for one node. There is one, or two where two nodes agree in twenty bits;
/// whoever adds more wants that node to be waited for.
pub const NOTES_OF_PROCESSES_MAX: usize = 8;

/// How long a process that will not be the broker itself waits for the next one: one that only looks, or one
/// of another user than the instance's, which can't be it. When one broker ends, the next is there within 200
/// ms.
pub const SUCCESSION_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a broker that hands its place over, or is told to end, waits for the one who wanted that to read
/// what it says last: some packets, which a program that runs reads within a millisecond. Then it goes on.
pub const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);

/// Largest configuration file, in bytes: thousands of rules. Whoever writes more has generated it, and means a group.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Bytes of a file that are read, hashed and copied into a dataset at once: they stay in a core's own cache
/// in between, and the system calls are few.
pub(crate) const LOAD_PIECE_BYTES: usize = 1 << 20;
