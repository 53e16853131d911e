//! Processes that come and go around others that stay, a hundred times each way, started and ended, and killed; and ten
//! thousand topics. What those have that stay, each as a process of its own, comes back to where it was: a publisher, a
//! subscriber, a server, a client, a region's writer and its reader, one that has a dataset, and the broker.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::possessions::Possessions;
use common::{Child, LONG, Stage, directory};

const ROUNDS: usize = 100;
const TOPICS: usize = 10_000;
/// What is kept once it was used is there after so many rounds.
const FIRST_ROUNDS: usize = 5;
/// The order matters: who creates something comes first.
const SURVIVORS: [&str; 7] = ["publish", "subscribe", "serve", "call", "write", "read", "view"];

/// A sleeper that needs descriptors for it, as one without `futex_waitv` does, keeps them from its first
/// sleep on. Every survivor sleeps once in vain before it is looked at; whether it sleeps again is chance.
const IN_VAIN: Duration = Duration::from_millis(1);

/// Says that everything that came has been taken in.
const LOOKED: &str = "looked";

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "publish" => publish(stage),
        "subscribe" => subscribe(stage),
        "serve" => serve(stage),
        "call" => call(stage),
        "write" => write(stage),
        "read" => read(stage),
        "view" => view(stage),
        "come" => come(stage),
        "make topics" => make_topics(stage),
        role => panic!("no role {role}"),
    });
}

/// Does its part once for each "go", and whenever it is asked takes in what others did.
fn survive(stage: &Stage, node: &onecopy::Node, mut act: impl FnMut(), mut take_in: impl FnMut()) {
    stage.say("ready");
    while let Some(word) = stage.hear() {
        if word == "go" {
            act();
            stage.say("done");
            continue;
        }
        // Broker and control threads have done what came before the answer.
        node.inventory().unwrap();
        take_in();
        stage.say(LOOKED);
    }
}

/// Every visitor finds a message that was published before it came.
fn publish(stage: &Stage) {
    let node = stage.node();
    let topic = node.topic::<[u8]>("from survivor").unwrap();
    let mut publisher = topic.publisher().history(1).depth(4).open().unwrap();
    publisher.publish(&[2; 100_000]).unwrap();
    let mut another = || publisher.publish(&[2; 100_000]).unwrap();
    survive(stage, &node, &mut another, || ());
}

fn subscribe(stage: &Stage) {
    let node = stage.node();
    let topic = node.topic::<[u8]>("to survivor").unwrap();
    let subscriber = std::cell::RefCell::new(topic.subscriber().open().unwrap());
    assert!(subscriber.borrow_mut().wait(IN_VAIN).is_err());
    let receive = || assert_eq!(subscriber.borrow_mut().wait(LONG).unwrap().len(), 3 << 20);
    survive(stage, &node, receive, || assert!(subscriber.borrow_mut().receive().unwrap().is_none()));
}

/// Answers those who come, and says so.
fn serve(stage: &Stage) {
    let node = stage.node();
    let server = node.service::<u64, u64>("survivor serves").unwrap().server().open().unwrap();
    assert!(server.wait(IN_VAIN).unwrap().is_none());
    let answer = || {
        let request = server.wait(LONG).unwrap().unwrap();
        request.respond(&request).unwrap();
    };
    survive(stage, &node, answer, || assert!(server.receive().unwrap().is_none()));
}

fn call(stage: &Stage) {
    let node = stage.node();
    let client = node.service::<u64, u64>("survivor calls").unwrap().client().open().unwrap();
    assert!(client.wait_for_server(IN_VAIN).is_err());
    let call = || {
        client.wait_for_server(LONG).unwrap();
        assert_eq!(*client.call(&5).unwrap().wait(LONG).unwrap(), 5);
    };
    survive(stage, &node, call, || assert!(client.servers().unwrap() <= 1));
}

/// Has a region that it alone writes, and one that all write.
fn write(stage: &Stage) {
    let node = stage.node();
    let single = node.region::<[u64; 100]>("single").unwrap().create(&[0; 100]).unwrap();
    let shared = node.region::<u64>("shared").unwrap().shared().lock_timeout(LONG).create(&0).unwrap();
    let write = || {
        single.write(&[1; 100]).unwrap();
        shared.write(&1).unwrap();
    };
    survive(stage, &node, write, || drop((single.read().unwrap(), shared.read().unwrap())));
}

fn read(stage: &Stage) {
    let node = stage.node();
    let single = node.region::<[u64; 100]>("single").unwrap().open().unwrap();
    let shared = node.region::<u64>("shared").unwrap().shared().open().unwrap();
    let read = || drop((single.read().unwrap(), shared.read().unwrap()));
    survive(stage, &node, read, read);
}

/// Has a version of a dataset of which visitors publish others.
fn view(stage: &Stage) {
    let node = stage.node();
    let _published = node.dataset("data").unwrap().publish_bytes(&[1; 100_000]).unwrap();
    let view = node.dataset("data").unwrap().open().unwrap();
    let look = || assert_eq!(view.bytes().unwrap().len(), 100_000);
    survive(stage, &node, look, look);
}

/// Has to do with everybody, and something in hand when it is ended.
fn come(stage: &Stage) {
    let node = stage.node();
    let mut subscriber = node.topic::<[u8]>("from survivor").unwrap().subscriber().open().unwrap();
    let topic = node.topic::<[u8]>("to survivor").unwrap();
    let mut publisher = topic.publisher().history(1).open().unwrap();
    let server = node.service::<u64, u64>("survivor calls").unwrap().server().open().unwrap();
    let client = node.service::<u64, u64>("survivor serves").unwrap().client().open().unwrap();
    let single = node.region::<[u64; 100]>("single").unwrap().open().unwrap();
    let mut shared = node.region::<u64>("shared").unwrap().shared().lock_timeout(LONG).open().unwrap();
    let mut watch = single.watch().unwrap();
    let view = node.dataset("data").unwrap().open().unwrap();
    let _published = node.dataset("data").unwrap().publish_bytes(&[3; 50_000]).unwrap();
    let held = subscriber.wait(LONG).unwrap().keep();
    publisher.publish(&[1; 3 << 20]).unwrap();
    stage.say("there");
    let request = server.wait(LONG).unwrap().unwrap();
    request.respond(&request).unwrap();
    client.wait_for_server(LONG).unwrap();
    assert_eq!(*client.call(&6).unwrap().wait(LONG).unwrap(), 6);
    shared.write(&7).unwrap();
    let version = single.read().unwrap().version();
    // Everybody else has had the lock.
    stage.hear();
    let guard = shared.lock(LONG).unwrap();
    stage.say("has everything");
    stage.hear();
    assert!(watch.wait(LONG).unwrap().version() >= version);
    drop((guard, held, view));
}

fn make_topics(stage: &Stage) {
    let node = stage.node();
    let make = || {
        for number in 0..TOPICS {
            let topic = node.topic::<u64>(&format!("topic/{number}")).unwrap();
            let mut publisher = topic.publisher().open().unwrap();
            if number % 10 == 0 {
                let mut subscriber = topic.subscriber().open().unwrap();
                publisher.publish(&1).unwrap();
                assert_eq!(*subscriber.wait(LONG).unwrap(), 1);
            }
        }
    };
    survive(stage, &node, make, || ());
}

struct Survivors {
    broker: Child,
    others: Vec<(&'static str, Child)>,
}

impl Survivors {
    fn start(directory: &Path) -> Self {
        let broker = Child::broker(directory);
        let others = SURVIVORS.map(|role| {
            let mut survivor = Child::spawn(role, directory);
            survivor.expect("ready");
            (role, survivor)
        });
        Self { broker, others: others.into() }
    }

    fn tell_all(&mut self, word: &str, answer: &str) {
        self.others.iter_mut().for_each(|(_, survivor)| survivor.tell(word));
        self.others.iter_mut().for_each(|(_, survivor)| survivor.expect(answer));
    }

    /// A visitor that everybody has to do with, ended as `end` does it.
    fn be_visited(&mut self, directory: &Path, end: impl Fn(Child)) {
        let mut visitor = Child::spawn("come", directory);
        visitor.expect("there");
        self.tell_all("go", "done");
        visitor.tell("take the lock");
        visitor.expect("has everything");
        end(visitor);
        // What it held the lock of is free, and its last messages are gone through.
        self.tell_all("look", LOOKED);
    }

    fn possessions(&mut self) -> Vec<(&'static str, Possessions)> {
        self.tell_all("look", LOOKED);
        let broker = [("the broker", &self.broker)];
        let others = self.others.iter().map(|(role, survivor)| (*role, survivor));
        broker.into_iter().chain(others).map(|(role, child)| (role, Possessions::of(child.pid()))).collect()
    }

    fn until_back_at(&mut self, before: &[(&'static str, Possessions)]) {
        for (index, (role, before)) in before.iter().enumerate() {
            before.until_within(role, || self.possessions().swap_remove(index).1);
        }
    }
}

fn rounds(survivors: &mut Survivors, directory: &Path, end: impl Fn(Child)) {
    for _ in 0..FIRST_ROUNDS {
        survivors.be_visited(directory, &end);
    }
    let before = survivors.possessions();
    for _ in 0..ROUNDS {
        survivors.be_visited(directory, &end);
    }
    survivors.until_back_at(&before);
}

#[test]
fn who_stays_has_what_it_had() {
    let directory = directory();
    let mut survivors = Survivors::start(directory.path());
    rounds(&mut survivors, directory.path(), |mut visitor| {
        visitor.tell("end");
        assert!(visitor.end().success());
    });
    rounds(&mut survivors, directory.path(), |mut visitor| visitor.kill());

    let mut maker = Child::spawn("make topics", directory.path());
    maker.expect("ready");
    survivors.others.push(("make topics", maker));
    let before = survivors.possessions();
    let (_, maker) = survivors.others.last_mut().unwrap();
    maker.tell("go");
    maker.expect("done");
    survivors.until_back_at(&before);
    for (_, survivor) in survivors.others {
        assert!(survivor.end().success());
    }
    assert!(survivors.broker.end().success());
}
