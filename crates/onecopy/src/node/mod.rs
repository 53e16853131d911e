//! A node: one process's membership in an instance, and the entry point of the API.
//!
//! | file | one concept |
//! |---|---|
//! | `handle.rs` | what all handles, publishers and subscribers share |
//! | `session.rs` | the connection to the broker and what hangs on it |
//! | `ports.rs` | the publishers and subscribers that are open |
//! | `control.rs` | the thread that takes the broker's events |
//! | `introductions.rs`, `regions.rs` | the events about services, and those about regions |
//! | `datasets.rs` | versions of datasets, and news of newer ones |
//! | `lease.rs` | what keeps a subscriber alive while its messages are held |
//! | `outbox.rs` | requests to the broker, sent without waiting |
//! | `ledger.rs`, `conversation.rs` | what another broker would have to be told; saying and noting at once |
//! | `rejoining.rs` | going on with another broker |
//! | `inspection.rs` | questions about who is there |

mod control;
mod conversation;
pub(crate) mod datasets;
pub(crate) mod handle;
mod inspection;
mod introductions;
mod lease;
pub(crate) mod ledger;
mod outbox;
mod ports;
mod regions;
mod rejoining;
mod session;

use std::path::PathBuf;
use std::sync::Arc;

use onecopy_memory::scheduling::Preference;

use self::handle::{Newcomer, NodeHandle};
pub(crate) use self::inspection::Answer;
use self::rejoining::Membership;
use crate::dataset::{Dataset, DatasetError};
use crate::error::{Error, OpenError};
use crate::instance::{DEFAULT_INSTANCE, Instance};
use crate::limits::OPENING_SLICE;
use crate::payload::{Payload, PlainData};
use crate::region::{RegionBuilder, RegionError};
use crate::service::{AnyService, Service};
use crate::topic::{AnyTopic, Topic};
use crate::topic_name;

/// One process's membership in an instance.
///
/// The first node of an instance runs the broker in a thread of its own; there is nothing to start. Cloning
/// is cheap and gives another handle to the same node, which ends when the last handle, publisher, subscriber
/// and held message of it is dropped.
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
///
/// ```no_run
/// # fn main() -> Result<(), onecopy::OpenError> {
/// let node = onecopy::Node::builder().instance("lab").name("camera").open()?;
/// # Ok(()) }
/// ```
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
        let _soon = Preference::by_slice(OPENING_SLICE);
        let instance = self.find_instance()?;
        let name = self.name.unwrap_or_else(program_name);
        let newcomer = Newcomer::new()?;
        let (membership, server) = Membership::begin(&instance, newcomer.node, name)?;
        Ok(Node { handle: Arc::new(NodeHandle::open(newcomer, membership, server)?) })
    }

    /// Joins the instance if anybody is there, and does not found it; `None` if nobody is. Between two
    /// brokers it waits for the next one. For programs that only look.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let builder = onecopy::Node::builder().directory(directory.path());
    /// assert!(builder.clone().visit()?.is_none());
    /// let node = builder.clone().open()?;
    /// let visitor = builder.visit()?.ok_or("there is a node")?;
    /// assert!(!visitor.is_broker());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::open`]; [`InstanceError::NotSucceeded`](crate::instance::InstanceError::NotSucceeded)
    /// if nodes are there whose broker has ended, and none of them takes its place.
    pub fn visit(self) -> Result<Option<Node>, OpenError> {
        let instance = self.find_instance()?;
        let name = self.name.unwrap_or_else(program_name);
        let newcomer = Newcomer::new()?;
        let Some(membership) = Membership::visit(&instance, newcomer.node, name)? else { return Ok(None) };
        Ok(Some(Node { handle: Arc::new(NodeHandle::open(newcomer, membership, None)?) }))
    }

    /// The instance that [`Self::open`] would join.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// let builder = onecopy::Node::builder().instance("lab");
    /// # let builder = builder.directory(directory.path());
    /// let instance = builder.find_instance()?;
    /// assert!(!instance.socket_path().exists(), "nobody has founded {:?} yet", instance.name());
    /// let node = builder.open()?;
    /// assert!(instance.socket_path().exists());
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let mut publisher = node.topic::<[f32]>("microphone")?.publisher().open()?;
    /// // To record it, nobody has to know what it carries.
    /// let mut recorder = node.any_topic("microphone")?.subscriber().open()?;
    /// publisher.publish(&[0.5, 1.5])?;
    /// let mut recording = Vec::new();
    /// while let Some(samples) = recorder.receive()? {
    ///     recording.extend_from_slice(samples.as_bytes());
    /// }
    /// assert_eq!(recording.len(), 2 * size_of::<f32>());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TopicName`] says what is wrong with the name.
    pub fn any_topic(&self, name: &str) -> Result<AnyTopic, Error> {
        topic_name::check(name)?;
        Ok(AnyTopic::new(Arc::clone(&self.handle), name.to_owned()))
    }

    /// The service `name` with requests `Req` and responses `Res`. Names are as for topics; a service and a
    /// topic of the same name have nothing to do with each other.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), onecopy::Error> {
    /// let node = onecopy::Node::open()?;
    /// let square = node.service::<f64, f64>("square")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TopicName`] says what is wrong with the name.
    pub fn service<Req: Payload + ?Sized, Res: Payload + ?Sized>(
        &self,
        name: &str,
    ) -> Result<Service<Req, Res>, Error> {
        topic_name::check(name)?;
        Ok(Service::new(Arc::clone(&self.handle), name.to_owned()))
    }

    /// The service `name`, whatever it takes and answers, to be used with bytes.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let server = node.service::<u64, u64>("square")?.server().open()?;
    /// let client = node.any_service("square")?.client().open()?;
    /// client.wait_for_server(Duration::from_secs(1))?;
    /// let nine = client.call(&3_u64.to_ne_bytes())?;
    /// let request = server.wait(Duration::from_secs(1))?.ok_or("it was sent")?;
    /// request.respond(&(*request * *request))?;
    /// assert_eq!(nine.wait(Duration::from_secs(1))?.as_bytes(), 9_u64.to_ne_bytes());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TopicName`] says what is wrong with the name.
    pub fn any_service(&self, name: &str) -> Result<AnyService, Error> {
        topic_name::check(name)?;
        Ok(AnyService::new(Arc::clone(&self.handle), name.to_owned()))
    }

    /// The region `name` with a value of type `T`. Names are as for topics.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let node = onecopy::Node::open()?;
    /// let limits = node.region::<[f64; 2]>("limits")?.open_or_create(&[0.0, 1.0])?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TopicName`] says what is wrong with the name.
    pub fn region<T: PlainData>(&self, name: &str) -> Result<RegionBuilder<T>, Error> {
        topic_name::check(name)?;
        Ok(RegionBuilder::of_value(Arc::clone(&self.handle), name.to_owned()))
    }

    /// The region `name` with bytes, or text, of any length up to its capacity.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let node = onecopy::Node::open()?;
    /// let notes = node.region_bytes("notes")?.capacity(1 << 20).open_or_create(b"")?;
    /// notes.write_text("remember the milk")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TopicName`] says what is wrong with the name.
    pub fn region_bytes(&self, name: &str) -> Result<RegionBuilder<[u8]>, Error> {
        self.region_slice(name)
    }

    /// The region `name` with any number of `T`, up to its capacity.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let map = node.region_slice::<f32>("map")?.capacity(1000).open_or_create(&[])?;
    /// map.write(&[1.0, 2.0, 3.0])?;
    /// assert_eq!(map.read()?.len(), 3);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TopicName`] says what is wrong with the name.
    pub fn region_slice<T: PlainData>(&self, name: &str) -> Result<RegionBuilder<[T]>, Error> {
        topic_name::check(name)?;
        Ok(RegionBuilder::of_slice(Arc::clone(&self.handle), name.to_owned()))
    }

    /// The region `name` that is there, in its mode, as bytes, whatever its type.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let gain = node.region::<f64>("gain")?.open_or_create(&1.0)?;
    /// let bytes = node.any_region("gain")?.open()?;
    /// assert_eq!(bytes.read()?.as_bytes(), 1.0_f64.to_ne_bytes());
    /// # drop(gain);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RegionError::NotFound`], and [`RegionError::Open`] if the broker does not answer.
    pub fn any_region(&self, name: &str) -> Result<RegionBuilder<[u8]>, RegionError> {
        topic_name::check(name)?;
        let entry =
            self.region_entry(name)?.ok_or_else(|| RegionError::NotFound { region: name.to_owned() })?;
        RegionBuilder::of_any(Arc::clone(&self.handle), entry)
    }

    /// Has the broker keep a region while nobody has it open, or not any more. Needs `onecopy serve`, which stays when
    /// programs end.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let builder = onecopy::Node::builder().directory(directory.path());
    /// // What `onecopy serve` does.
    /// let broker = builder.find_instance()?.serve()?.spawn()?;
    /// let node = builder.open()?;
    /// let gain = node.region::<f64>("gain")?.open_or_create(&1.0)?;
    /// gain.write(&2.0)?;
    /// node.keep_region("gain", true)?;
    /// drop(gain);
    /// // Nobody has it open any more, and it is as it was.
    /// assert_eq!(*node.region::<f64>("gain")?.open_or_create(&1.0)?.read()?, 2.0);
    /// # drop(node);
    /// broker.stop()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RegionError::Keep`]: the broker runs inside a program, or there is no such region.
    pub fn keep_region(&self, name: &str, keep: bool) -> Result<(), RegionError> {
        topic_name::check(name)?;
        match self.handle.keep(name, keep)? {
            None => Ok(()),
            Some(source) => Err(RegionError::Keep { region: name.to_owned(), source }),
        }
    }

    /// The dataset `name`: bytes that are loaded once and read by many. Names are as for topics.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let node = onecopy::Node::open()?;
    /// let published = node.dataset("reads.bri")?.publish_file("reads.bri")?;
    /// let view = node.dataset("reads.bri")?.open()?;      // usually in another process
    /// assert_eq!(view.version(), published.version());
    /// println!("{} bytes", view.bytes()?.len());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DatasetError::Name`] says what is wrong with the name.
    pub fn dataset(&self, name: &str) -> Result<Dataset, DatasetError> {
        topic_name::check(name)?;
        Ok(Dataset::new(Arc::clone(&self.handle), name.to_owned()))
    }

    /// Has the broker keep a dataset while nobody has it open, or not any more. Needs `onecopy serve`, which stays when
    /// programs end.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let builder = onecopy::Node::builder().directory(directory.path());
    /// // What `onecopy serve` does.
    /// let broker = builder.find_instance()?.serve()?.spawn()?;
    /// let node = builder.open()?;
    /// let published = node.dataset("reference")?.publish_bytes(b"ACGT")?;
    /// node.keep_dataset("reference", true)?;
    /// drop(published);
    /// // Its publisher has let go of it, and it is still there.
    /// assert_eq!(node.dataset("reference")?.open()?.bytes()?, b"ACGT");
    /// # drop(node);
    /// broker.stop()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DatasetError::Keep`]: the broker runs inside a program, or there is no such dataset.
    pub fn keep_dataset(&self, name: &str, keep: bool) -> Result<(), DatasetError> {
        topic_name::check(name)?;
        match self.handle.keep_dataset(name, keep)? {
            None => Ok(()),
            Some(source) => Err(DatasetError::Keep { dataset: name.to_owned(), source }),
        }
    }

    /// Whether this process runs the instance's broker.
    pub fn is_broker(&self) -> bool {
        self.handle.is_broker()
    }

    /// The process of the instance's broker, as it sees itself; between two brokers, that of the last one.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let builder = onecopy::Node::builder().directory(directory.path());
    /// let first = builder.clone().open()?;
    /// let second = builder.open()?;
    /// // The first node of an instance is its broker, here in one process with the second.
    /// assert!(first.is_broker() && !second.is_broker());
    /// assert_eq!(second.broker_pid(), std::process::id());
    /// # Ok(()) }
    /// ```
    pub fn broker_pid(&self) -> u32 {
        self.handle.broker_pid()
    }

    pub(crate) fn ask(&self, topic: Option<&str>, rings: bool) -> Result<Vec<Answer>, OpenError> {
        self.handle.ask(topic, rings)
    }
}
