//! Memory that grows while it is in use, where a quota bounds what its user may have: what does not fit is
//! refused by itself, and everything else goes on.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;
mod users_common;

use common::{Child, LONG, Stage};
use onecopy::region::Region;
use onecopy::{KeptMessage, Node, Publisher, Subscriber};
use users_common::{GUEST, OWNER, World, does, fails, has_other_users, play};

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "grower" => grow(stage),
        _ => play(stage),
    });
}

/// What a process has open that sends and receives large messages.
struct Grower {
    node: Node,
    publisher: Publisher<[u8]>,
    subscriber: Subscriber<[u8]>,
    held: Vec<KeptMessage<[u8]>>,
    region: Option<Region<[u8]>>,
}

fn grow(stage: &Stage) {
    let node = stage.node();
    // One way for each: what it sends the other receives.
    let is_guest = rustix::process::geteuid().as_raw() == GUEST;
    let (out, back) = if is_guest { ("guest", "owner") } else { ("owner", "guest") };
    let publisher = node.topic::<[u8]>(out).unwrap().publisher().depth(16).open().unwrap();
    let subscriber = node.topic::<[u8]>(back).unwrap().subscriber().open().unwrap();
    let mut grower = Grower { node, publisher, subscriber, held: Vec::new(), region: None };
    stage.say("joined");
    while let Some(line) = stage.hear() {
        let (verb, amount) = line.split_once(' ').unwrap_or((&line, "0"));
        let done = grower.perform(verb, amount.parse().unwrap());
        stage.say(&done.map_or_else(|error| error.to_string(), |()| "done".to_owned()));
    }
}

impl Grower {
    fn region(&self) -> Result<&Region<[u8]>, &'static str> {
        self.region.as_ref().ok_or("no region is open")
    }

    fn perform(&mut self, verb: &str, amount: usize) -> Result<(), Box<dyn std::error::Error>> {
        match verb {
            "send" => self.publisher.publish(&vec![1; amount])?,
            "send-within" => {
                let mut loan = self.publisher.loan_slice_within(amount, LONG)?;
                loan.fill(1);
                loan.publish()?;
            }
            "hear" => {
                let message = self.subscriber.wait(LONG)?;
                if message.len() != amount {
                    return Err(format!("heard {}", message.len()).into());
                }
            }
            "hold" => self.held.push(self.subscriber.wait(LONG)?.keep()),
            "let-go" => self.held.clear(),
            "share" => {
                let region = self.node.region_bytes("region")?.shared().capacity(amount);
                self.region = Some(region.open_or_create(b"begun")?);
            }
            "resize" => self.region()?.resize(amount)?,
            "write" => drop(self.region()?.write(&vec![1; amount])?),
            "read" => {
                if self.region()?.read()?.len() != amount {
                    return Err("another value".into());
                }
            }
            "open" => drop(self.node.topic::<u64>("another")?.subscriber().open()?),
            "broker?" => return Err(self.node.is_broker().to_string().into()),
            verb => return Err(format!("what is {verb}?").into()),
        }
        Ok(())
    }
}

const MIB: usize = 1 << 20;

fn rules(memory_mib: usize) -> String {
    format!(
        "owner = {OWNER}\n[admit]\nusers = [{GUEST}]\n[[allow]]\nrights = [\"publish\", \"subscribe\", \"write\"]\n\
         names = [\"**\"]\n[[quota]]\nusers = [{GUEST}]\nmemory = \"{memory_mib} MiB\"\n"
    )
}

/// An instance with a broker that runs on its own, a process of its owner, and one of a guest who may have so
/// much memory.
fn staffed(memory_mib: usize) -> (World, Child, Child, Child) {
    let world = World::new(&rules(memory_mib));
    let broker = world.broker();
    let [owner, guest] = [OWNER, GUEST].map(|uid| {
        let mut grower = world.process("grower", uid, uid);
        grower.expect("joined");
        grower
    });
    (world, broker, owner, guest)
}

fn passes(from: &mut Child, to: &mut Child, bytes: usize) {
    does(from, &format!("send {bytes}"));
    does(to, &format!("hear {bytes}"));
}

#[test]
fn a_message_that_does_not_fit_the_quota_is_refused_and_everything_else_goes_on() {
    if !has_other_users() {
        return;
    }
    let (world, _broker, mut owner, mut guest) = staffed(6);
    passes(&mut guest, &mut owner, 2 * MIB);
    let told = fails(&mut guest, &format!("send {}", 5 * MIB));
    let expected = format!(
        "user {GUEST} may have {} bytes of shared memory and not more, by the quota in line 7 of {}",
        6 * MIB,
        world.config().display()
    );
    assert!(told.starts_with(&expected), "{told}");
    // Its memory is as it was, and so is all else.
    passes(&mut guest, &mut owner, 2 * MIB);
    passes(&mut guest, &mut owner, 100);
    passes(&mut owner, &mut guest, 10 * MIB);
    does(&mut guest, "open");
    // A publisher doubles its memory if it may, and otherwise takes what the message needs.
    does(&mut guest, &format!("send {}", 2 * MIB));
    does(&mut owner, "hold");
    passes(&mut guest, &mut owner, MIB + MIB / 4);
    // While others hold it, it can be waited for.
    does(&mut guest, &format!("send {}", MIB + MIB / 4));
    does(&mut owner, "hold");
    let told = fails(&mut guest, &format!("send {}", 2 * MIB));
    assert!(told.starts_with(&expected), "{told}");
    guest.tell(&format!("send-within {}", 2 * MIB));
    does(&mut owner, "let-go");
    assert_eq!(guest.line(), "done");
    does(&mut owner, &format!("hear {}", 2 * MIB));
}

#[test]
fn a_shared_region_that_does_not_fit_the_quota_stays_as_it_is() {
    if !has_other_users() {
        return;
    }
    let (_world, _broker, mut owner, mut guest) = staffed(6);
    let told = fails(&mut guest, &format!("share {}", 8 * MIB));
    assert!(told.contains("bytes of shared memory and not more, by the quota in line 7"), "{told}");
    does(&mut guest, "share 1000");
    does(&mut owner, "share 1000");
    let told = fails(&mut guest, &format!("resize {}", 8 * MIB));
    assert!(told.contains("bytes of shared memory and not more, by the quota in line 7"), "{told}");
    does(&mut guest, "write 700");
    does(&mut owner, "read 700");
    does(&mut owner, "write 900");
    does(&mut guest, "resize 5000");
    does(&mut owner, "write 4000");
    does(&mut guest, "read 4000");
    // What somebody else brings costs the guest nothing.
    does(&mut owner, &format!("resize {}", 8 * MIB));
    does(&mut guest, &format!("write {}", 7 * MIB));
    passes(&mut guest, &mut owner, 2 * MIB);
}

#[test]
fn while_the_broker_is_stopped_only_those_wait_who_are_limited() {
    if !has_other_users() {
        return;
    }
    let (_world, broker, mut owner, mut guest) = staffed(16);
    broker.stop();
    passes(&mut guest, &mut owner, 1000);
    let told = fails(&mut guest, &format!("send {}", 2 * MIB));
    assert!(told.contains("whether this publisher may have more memory"), "{told}");
    passes(&mut guest, &mut owner, 1000);
    // Nobody counts the owner's memory, so it is there before the broker knows of it.
    does(&mut owner, &format!("send {}", 2 * MIB));
    broker.go_on();
    does(&mut guest, &format!("hear {}", 2 * MIB));
    passes(&mut guest, &mut owner, 2 * MIB);
}

#[test]
fn between_two_brokers_a_limited_user_waits_for_the_next() {
    if !has_other_users() {
        return;
    }
    let (world, mut broker, mut owner, mut guest) = staffed(30);
    for round in 1..=4 {
        broker.kill();
        passes(&mut guest, &mut owner, round * 2 * MIB);
        assert_eq!(fails(&mut owner, "broker?"), "true");
        broker = world.broker();
    }
    let told = fails(&mut guest, &format!("send {}", 25 * MIB));
    assert!(told.contains("bytes of shared memory and not more"), "{told}");
    passes(&mut guest, &mut owner, 8 * MIB);
}

#[test]
fn who_has_more_than_the_next_broker_allows_may_not_come_back() {
    if !has_other_users() {
        return;
    }
    let (world, mut broker, mut owner, mut guest) = staffed(16);
    passes(&mut guest, &mut owner, 4 * MIB);
    world.configure(&rules(3));
    broker.kill();
    let _broker = world.broker();
    let told = fails(&mut guest, "open");
    assert!(told.contains(&format!("user {GUEST} may have {} bytes", 3 * MIB)), "{told}");
    // There is room for what fits.
    let mut again = world.process("grower", GUEST, GUEST);
    again.expect("joined");
    passes(&mut again, &mut owner, 1000);
    passes(&mut owner, &mut again, 1000);
}
