//! Becoming a node of an instance: the broker is found, or this process becomes it, and the two are introduced.

use std::time::Instant;

use onecopy_memory::scheduling::Preference;

use super::Instance;
use super::error::InstanceError;
use super::introduction::{Host, Interruption, Welcome};
use super::presence::Presence;
use super::serving::Found;
use crate::broker::Process;
use crate::broker::protocol::{BrokerId, NodeId, Request};
use crate::broker::server::{Server, ServerThread};
use crate::broker::transport::PacketSocket;
use crate::limits::{
    GATHERING_NICE, HANDSHAKE_ATTEMPTS, HANDSHAKE_TIMEOUT, REJOIN_DELAY_MIN, SUCCESSION_TIMEOUT,
};

/// A node that the broker knows.
///
/// ```
/// use onecopy::broker::protocol::NodeId;
/// use onecopy::instance::Instance;
///
/// # let directory = tempfile::tempdir()?;
/// let instance = Instance::in_directory(directory.path().join("run"), "lab")?;
/// let joined = instance.join(NodeId::random()?, "probe")?;
/// // Nobody was there, so this process is the broker as well, for as long as `server` is not dropped.
/// assert_eq!(joined.welcome.broker_pid, std::process::id());
/// assert!(joined.server.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Joined {
    /// Connected, and introduced.
    pub socket: PacketSocket,
    /// What the broker said of itself.
    pub welcome: Welcome,
    /// The process that the broker runs in.
    pub(crate) broker: Process,
    /// The broker, if this process has become it.
    pub server: Option<ServerThread>,
    /// Counts the node among those who are there.
    pub presence: Presence,
}

impl Instance {
    /// Finds the broker or becomes it (on a thread of its own), and introduces a node to it.
    ///
    /// # Errors
    ///
    /// As for [`connect_or_serve`](Self::connect_or_serve), and what the broker has against the node.
    pub fn join(&self, node: NodeId, name: &str) -> Result<Joined, InstanceError> {
        self.join_from(node, name, None, None)
    }

    /// The same for a node that knew another broker before. What it has open must be announced next.
    pub(crate) fn join_from(
        &self,
        node: NodeId,
        name: &str,
        returns_from: Option<BrokerId>,
        interruption: Option<Interruption<'_>>,
    ) -> Result<Joined, InstanceError> {
        let mut attempts_left = HANDSHAKE_ATTEMPTS;
        // Before anybody can take over who would have to know of it. A guest can't open the file, and is given it.
        let mut presence = match self.is_guest()? {
            true => None,
            false => Some(Presence::take(self, node)?),
        };
        loop {
            attempts_left -= 1;
            let Found { socket, server } = match returns_from {
                // Others wait for the last one who comes back. The broker's thread, which may follow, has its
                // own preference.
                Some(_) => {
                    let _preference = Preference::by_nice(GATHERING_NICE);
                    self.connect_or_serve()?
                }
                None => self.connect_or_wait_or_serve()?,
            };
            let server =
                server.map(Server::spawn).transpose().map_err(|source| self.failed("serve", source))?;
            let hello = Request::Hello { node, name: name.to_owned(), returns_from };
            match self.introduce_within(&socket, &hello, HANDSHAKE_TIMEOUT, interruption) {
                // It was just ending when we came; look again, and take its place if need be.
                Err(InstanceError::BrokerEnded { .. }) if attempts_left > 0 => {}
                Err(error) => return Err(error),
                Ok(Host { welcome, roll, broker }) => {
                    let presence = match presence.take() {
                        // Whoever takes over looks at the file that is there then, which a broker keeps in place.
                        Some(presence) if presence.is_in_place(self)? => presence,
                        Some(_) => Presence::take(self, node)?,
                        None => Presence::given(self, node, roll)?,
                    };
                    return Ok(Joined { socket, welcome, broker, server, presence });
                }
            }
        }
    }

    /// [`Self::connect_or_serve`], except that a guest waits some time for the owner's next broker.
    fn connect_or_wait_or_serve(&self) -> Result<Found, InstanceError> {
        let deadline = Instant::now() + SUCCESSION_TIMEOUT;
        loop {
            match self.connect_or_serve() {
                Err(InstanceError::NoBroker { .. }) if Instant::now() < deadline => {
                    self.pause(REJOIN_DELAY_MIN)?;
                }
                found => return found,
            }
        }
    }
}
