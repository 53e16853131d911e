//! An instance that belongs to one user, and processes of others that want something of it: real users, so
//! these tests run as root. A child hears what to do in lines, `publish camera/front` say, does it, keeps it,
//! and answers `done` or the error.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::Duration;

use onecopy::dataset::{DatasetView, PublishedDataset};
use onecopy::instance::Instance;
use onecopy::region::Region;
use onecopy::service::{Client, Server};
use onecopy::{Node, Publisher, Subscriber};
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, recv, socket_with,
};

use crate::common::{Child, LONG, Stage};

/// Whose instance it is. No system has users of such numbers.
pub(crate) const OWNER: u32 = 61_001;
/// Somebody who is admitted.
pub(crate) const GUEST: u32 = 61_002;
/// Somebody whom nobody knows.
pub(crate) const STRANGER: u32 = 61_003;
/// A group whose members are admitted.
pub(crate) const FRIENDS: u32 = 61_900;

/// The environment variable that says that other users are none of this machine's business.
const ONE_USER: &str = "ONECOPY_TEST_ONE_USER";

/// Whether processes can be started as other users here; if not and nobody said that they can't, the test fails.
pub(crate) fn has_other_users() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var_os(ONE_USER).is_some(),
        "this test starts processes of other users, which only root can: run `sudo -E cargo test`, or set {ONE_USER}=1 to go without"
    );
    println!("left out, as {ONE_USER} is set: this test starts processes of other users");
    false
}

/// A directory for an instance, and a configuration.
pub(crate) struct World {
    place: tempfile::TempDir,
}

impl World {
    pub(crate) fn new(config: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let set_mode = |path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        set_mode(place.path().to_owned(), 0o711);
        let world = Self { place };
        std::fs::create_dir(world.directory()).unwrap();
        set_mode(world.directory(), 0o700);
        chown(world.directory(), Some(OWNER), Some(OWNER)).unwrap();
        world.configure(config);
        world
    }

    pub(crate) fn configure(&self, config: &str) {
        std::fs::write(self.config(), config).unwrap();
        std::fs::set_permissions(self.config(), PermissionsExt::from_mode(0o644)).unwrap();
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.place.path().join("run")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.place.path().join("config.toml")
    }

    /// A process of that user and group, which has done nothing yet.
    pub(crate) fn process(&self, role: &str, uid: u32, gid: u32) -> Child {
        Child::spawn_with(role, &self.directory(), |command| {
            command.uid(uid).gid(gid).env(onecopy::config::CONFIG_VARIABLE, self.config())
        })
    }

    /// A process of the owner that is the broker and nothing else.
    pub(crate) fn broker(&self) -> Child {
        let mut broker = self.process("broker", OWNER, OWNER);
        broker.expect("serves");
        broker
    }

    /// A process with a node.
    pub(crate) fn actor(&self, uid: u32) -> Child {
        let mut actor = self.process("actor", uid, uid);
        actor.expect("joined");
        actor
    }
}

/// Has a child do something, which works.
#[track_caller]
pub(crate) fn does(child: &mut Child, what: &str) {
    child.tell(what);
    assert_eq!(child.line(), "done", "{what}");
}

/// Has a child try something that does not work; returns why.
#[track_caller]
pub(crate) fn fails(child: &mut Child, what: &str) -> String {
    child.tell(what);
    let answer = child.line();
    assert_ne!(answer, "done", "{what}");
    answer
}

pub(crate) fn play(stage: &Stage) {
    match stage.role.as_str() {
        "broker" => serve(stage),
        "impostor" => listen(stage),
        "actor" => act(stage),
        role => panic!("no role {role}"),
    }
}

fn serve(stage: &Stage) {
    let server = Instance::in_directory(&stage.directory, "default").and_then(|instance| instance.serve());
    match server {
        Ok(server) => {
            let server = server.spawn().unwrap();
            stage.say("serves");
            stage.stay();
            server.stop().unwrap();
        }
        Err(error) => stage.say(&error.to_string()),
    }
}

/// Listens where a broker would, and tells how many bytes the next one says who connects.
fn listen(stage: &Stage) {
    let socket = stage.directory.join("default.sock");
    let flags = SocketFlags::CLOEXEC;
    let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(socket).unwrap()).unwrap();
    rustix::net::listen(&listener, 8).unwrap();
    stage.say("listens");
    while stage.hear().is_some() {
        let caller = accept_with(&listener, flags).unwrap();
        let (bytes, _) = recv(&caller, &mut [0; 4096], RecvFlags::empty()).unwrap();
        stage.say(&bytes.to_string());
    }
}

/// What an actor keeps.
#[derive(Default)]
struct Props {
    nodes: Vec<Node>,
    publishers: Vec<Publisher<u64>>,
    subscribers: Vec<Subscriber<u64>>,
    regions: Vec<Region<u64>>,
    clients: Vec<Client<u64, u64>>,
    servers: Vec<Server<u64, u64>>,
    datasets: Vec<PublishedDataset>,
    views: Vec<DatasetView>,
}

fn act(stage: &Stage) {
    let node = match Node::builder().directory(&stage.directory).open() {
        Ok(node) => node,
        Err(error) => return stage.say(&error.to_string()),
    };
    stage.say("joined");
    let mut props = Props::default();
    while let Some(line) = stage.hear() {
        let (verb, name) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = perform(&node, &mut props, verb, name, stage);
        stage.say(&answer.map_or_else(|error| error.to_string(), |()| "done".to_owned()));
    }
}

type Anything = Box<dyn std::error::Error>;

fn perform(node: &Node, props: &mut Props, verb: &str, name: &str, stage: &Stage) -> Result<(), Anything> {
    match verb {
        "publish" => props.publishers.push(node.topic::<u64>(name)?.publisher().history(8).open()?),
        "reserve" => {
            let bytes = node.topic::<[u8]>(name)?;
            let mut publisher = bytes.publisher().open()?;
            publisher.publish(&vec![1; 8 << 20])?;
        }
        "subscribe" => props.subscribers.push(node.topic::<u64>(name)?.subscriber().open()?),
        "say" => {
            let value: u64 = name.parse()?;
            props.publishers.iter_mut().try_for_each(|publisher| publisher.publish(&value))?;
        }
        "hear" => {
            let value: u64 = name.parse()?;
            for subscriber in &mut props.subscribers {
                let heard = *subscriber.wait(LONG)?;
                if heard != value {
                    return Err(format!("heard {heard}").into());
                }
            }
        }
        "close" => {
            *props = Props { nodes: std::mem::take(&mut props.nodes), ..Props::default() };
            // The broker answers after it has taken in what was closed.
            node.inventory()?;
        }
        "read" => {
            let region = node.region::<u64>(name)?.open()?;
            region.read()?;
            props.regions.push(region);
        }
        "write" => {
            let region = node.region::<u64>(name)?.open_or_create(&1)?;
            region.write(&2)?;
            props.regions.push(region);
        }
        "share" => {
            let region = node.region::<u64>(name)?.shared().open_or_create(&1)?;
            region.write(&2)?;
            props.regions.push(region);
        }
        "keep" => node.keep_region(name, true)?,
        "call" => {
            let client = node.service::<u64, u64>(name)?.client().open()?;
            client.wait_for_server(LONG)?;
            props.clients.push(client);
        }
        "serve" => props.servers.push(node.service::<u64, u64>(name)?.server().open()?),
        "load" => props.datasets.push(node.dataset(name)?.publish_bytes(&[7; 4096])?),
        "view" => props.views.push(node.dataset(name)?.open_within(LONG)?),
        "join" => props.nodes.push(Node::builder().directory(&stage.directory).open()?),
        "leave" => drop(props.nodes.pop()),
        "list" => {
            let inventory = node.inventory()?;
            let topics = inventory.topics.iter().map(|topic| topic.name.clone());
            let regions = inventory.regions.iter().map(|region| region.name.clone());
            return Err(topics.chain(regions).collect::<Vec<_>>().join(" ").into());
        }
        "stop" => drop(Instance::in_directory(&stage.directory, "default")?.stop()?),
        "replace" => drop(Instance::in_directory(&stage.directory, "default")?.replace()?),
        "broker?" => return Err(node.is_broker().to_string().into()),
        // Whether a request is answered, whatever happened meanwhile.
        "wake" => {
            node.any_topic("nothing")?;
            props.nodes.iter().try_for_each(|node| node.inventory().map(drop))?;
            node.inventory()?;
        }
        "rest" => std::thread::park_timeout(Duration::ZERO),
        verb => return Err(format!("what is {verb}?").into()),
    }
    Ok(())
}
