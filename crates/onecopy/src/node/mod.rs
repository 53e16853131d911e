//! A node: one process's membership in an instance, and the entry point of the API.
//!
//! | file | one concept |
//! |---|---|
//! | `session.rs` | the connection to the broker and what hangs on it |
//! | `ports.rs` | the publishers and subscribers that are open |
//! | `control.rs` | the thread that takes the broker's events |
//! | `outbox.rs` | requests to the broker, sent without waiting |
//! | `inspection.rs` | questions about who is there |

mod control;
mod inspection;
mod outbox;
mod ports;
mod session;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use onecopy_memory::fork::ForkGuard;
use onecopy_memory::hold::ReaderTable;
use onecopy_memory::ring::RingWriter;
use onecopy_memory::segment::Segment;
use onecopy_memory::wait::Ringer;

pub(crate) use self::inspection::Answer;
use self::outbox::Outbox;
use self::ports::{PublisherPort, SubscriberPort};
use self::session::{Session, SubscriberLease};
use crate::broker::protocol::{NodeId, PortId, Request, Route};
use crate::broker::server::ServerThread;
use crate::broker::transport::TransportError;
use crate::error::{Error, OpenError};
use crate::feed::Inbox;
use crate::instance::{DEFAULT_INSTANCE, Instance, Joined};
use crate::payload::Payload;
use crate::payload_type::PayloadType;
use crate::topic::{AnyTopic, Topic};
use crate::topic_name;

/// One process's membership in an instance.
///
/// The first node of an instance runs the broker in a thread of its own; there is nothing to start. Cloning is cheap and
/// gives another handle to the same node, which ends when the last handle, publisher, subscriber and held message of it
/// is dropped.
///
/// ```no_run
/// # fn main() -> Result<(), onecopy::Error> {
/// let node = onecopy::Node::builder().instance("lab").name("camera").open()?;
/// let topic = node.topic::<[u8]>("camera/front")?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Node {
    handle: Arc<NodeHandle>,
}

/// How a node is to be opened; from [`Node::builder`].
#[derive(Debug, Clone, Default)]
#[must_use = "nothing happens until open()"]
pub struct NodeBuilder {
    instance: Option<String>,
    name: Option<String>,
    directory: Option<PathBuf>,
}

impl NodeBuilder {
    /// The instance to join. Default `default`.
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = Some(name.into());
        self
    }

    /// What people see this node called, in `onecopy status`. Need not be unique. Default: the program's name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Where the instance's socket and lock are. Default: `$ONECOPY_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/onecopy`, else
    /// `/tmp/onecopy-$UID`.
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.directory = Some(path.into());
        self
    }

    /// Joins the instance, or founds it.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: a runtime directory or socket that is not ours, a broker that does not answer or speaks another
    /// version, no memory or descriptors.
    pub fn open(self) -> Result<Node, OpenError> {
        let instance = self.find_instance()?;
        let name = self.name.unwrap_or_else(program_name);
        Ok(Node { handle: Arc::new(NodeHandle::open(&instance, name)?) })
    }

    /// The instance that [`Self::open`] would join.
    ///
    /// # Errors
    ///
    /// If its name is none.
    pub fn find_instance(&self) -> Result<Instance, OpenError> {
        let name = self.instance.as_deref().unwrap_or(DEFAULT_INSTANCE);
        Ok(match &self.directory {
            Some(directory) => Instance::in_directory(directory, name)?,
            None => Instance::from_env(name)?,
        })
    }
}

fn program_name() -> String {
    let path = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if crate::broker::check_node_name(&name).is_ok() { name } else { "unnamed".to_owned() }
}

impl Node {
    /// Joins the default instance under the program's name.
    ///
    /// # Errors
    ///
    /// As for [`NodeBuilder::open`].
    pub fn open() -> Result<Self, OpenError> {
        Self::builder().open()
    }

    /// Sets up a node.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// The topic `name` with payload `P`. Names have levels, as in `robot/pose`: up to 255 bytes of UTF-8.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), onecopy::Error> {
    /// let node = onecopy::Node::open()?;
    /// let temperature = node.topic::<f32>("kitchen/temperature")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TopicName`] says what is wrong with the name.
    pub fn topic<P: Payload + ?Sized>(&self, name: &str) -> Result<Topic<P>, Error> {
        topic_name::check(name)?;
        Ok(Topic::new(Arc::clone(&self.handle), name.to_owned()))
    }

    /// The topic `name`, whatever it carries, to be read as bytes.
    ///
    /// # Errors
    ///
    /// [`Error::TopicName`] says what is wrong with the name.
    pub fn any_topic(&self, name: &str) -> Result<AnyTopic, Error> {
        topic_name::check(name)?;
        Ok(AnyTopic::new(Arc::clone(&self.handle), name.to_owned()))
    }

    /// Whether this process runs the instance's broker.
    pub fn is_broker(&self) -> bool {
        self.handle.server.is_some()
    }

    pub(crate) fn ask(&self, topic: Option<&str>, rings: bool) -> Result<Vec<Answer>, OpenError> {
        if self.handle.is_forked() {
            return Err(OpenError::Forked);
        }
        let session = &self.handle.session;
        let request = session.inspections.begin();
        session.send_or_log(&Request::Inspect { request, topic: topic.map(str::to_owned), rings }, None);
        session.inspections.wait(request)
    }
}

/// What all handles, publishers and subscribers of a node share.
#[derive(Debug)]
pub(crate) struct NodeHandle {
    session: Arc<Session>,
    control: Option<JoinHandle<()>>,
    /// The broker, if this node runs it. Stopped after the control thread.
    server: Option<ServerThread>,
    fork: ForkGuard,
}

impl NodeHandle {
    fn open(instance: &Instance, name: String) -> Result<Self, OpenError> {
        let fork = ForkGuard::new().map_err(OpenError::system("set up memory that notices fork"))?;
        let table = ReaderTable::create()?;
        let node = NodeId::random().map_err(OpenError::system("draw a random number"))?;
        let Joined { socket, server, .. } = instance.join(node, &name)?;
        let (outbox, outbox_bell) = Outbox::new(socket).map_err(OpenError::system("make a socket pair"))?;
        let session = Arc::new(Session::new(node, outbox, table));
        let control = {
            let session = Arc::clone(&session);
            std::thread::Builder::new()
                .name("onecopy-control".to_owned())
                .spawn(move || control::run(&session, &outbox_bell))
                .map_err(OpenError::system("start the control thread"))?
        };
        Ok(Self { session, control: Some(control), server, fork })
    }

    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.fork.is_child()
    }

    pub(crate) fn new_port(&self) -> PortId {
        self.session.new_port()
    }

    pub(crate) fn open_publisher(
        &self,
        port: PortId,
        writer: &RingWriter,
        request: Request,
    ) -> Result<(), OpenError> {
        if self.is_forked() {
            return Err(OpenError::Forked);
        }
        let publisher = PublisherPort {
            readers: Arc::clone(writer.readers()),
            opening: ports::Opening::default(),
            announcement: request,
            ring: writer.share_descriptor(),
            segments: Vec::new(),
        };
        self.session.open_publisher(port, publisher)
    }

    pub(crate) fn announce_segment(
        &self,
        port: PortId,
        index: u32,
        segment: &Segment,
    ) -> Result<(), TransportError> {
        use std::os::fd::AsFd;
        let descriptor = segment.share_descriptor();
        let request = Request::AddSegment { publisher: port, index };
        self.session.outbox.send(&request, Some(descriptor.as_fd()))?;
        if let Some(publisher) = self.session.ports().publishers.get_mut(&port) {
            publisher.segments.push(descriptor);
        }
        Ok(())
    }

    pub(crate) fn open_subscriber(
        self: &Arc<Self>,
        port: PortId,
        topic: String,
        expected: Option<PayloadType>,
        skip_history: bool,
    ) -> Result<Arc<Inbox>, OpenError> {
        if self.is_forked() {
            return Err(OpenError::Forked);
        }
        let inbox = Arc::new(Inbox::default());
        let subscriber = SubscriberPort {
            inbox: Arc::clone(&inbox),
            lease: Arc::new(SubscriberLease { node: Arc::clone(self), port }),
            announcement: Request::OpenSubscriber { subscriber: port, topic, payload: expected.clone() },
            expected,
            skip_history,
            opening: ports::Opening::default(),
            attaching: HashMap::new(),
        };
        self.session.open_subscriber(port, subscriber)?;
        Ok(inbox)
    }

    pub(crate) fn may_sleep(&self, route: Route, ringer: Option<Ringer>) -> Result<(), TransportError> {
        use std::os::fd::AsFd;
        let request = Request::MaySleep { route, doorbell: ringer.is_some() };
        match self.session.outbox.send(&request, ringer.as_ref().map(AsFd::as_fd)) {
            // Without a broker the publisher can't be told; whoever it knows already is still woken.
            Err(TransportError::Closed) => Ok(()),
            sent => sent,
        }
    }

    pub(crate) fn close(&self, port: PortId) {
        // A child made by fork shares the parent's socket and must not speak for it.
        if !self.is_forked() {
            self.session.close(port);
        }
    }

    /// Number of readers of a publisher that know where they start. The ring's own list has them a moment earlier.
    pub(crate) fn attached_to(&self, publisher: PortId) -> usize {
        self.session.ports().attached_routes().filter(|route| route.publisher == publisher).count()
    }

    fn send_close(&self, port: PortId) {
        if !self.is_forked() {
            self.session.send_or_log(&Request::Close { port }, None);
        }
    }

    fn detach(&self, route: Route) {
        if !self.is_forked() {
            self.session.send_or_log(&Request::Detach { route }, None);
        }
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        if self.is_forked() {
            // The threads exist in the parent only.
            std::mem::forget(self.server.take());
            return;
        }
        // An error means that the connection has ended already.
        let _ = self.session.outbox.socket().shutdown();
        // The control thread itself may let go last, of a reader whose subscriber was closed meanwhile. It ends by itself.
        if let Some(control) = self.control.take()
            && control.thread().id() != std::thread::current().id()
            && control.join().is_err()
        {
            tracing::error!("the control thread panicked");
        }
    }
}
