//! What the processes of the chaos test do, and what each of them must never see. A role ends by itself when the test closes
//! its input; whatever it must not see makes it panic, and the test notices.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use onecopy::dataset::DatasetError;
use onecopy::region::RegionError;
use onecopy::service::CallError;
use onecopy::{LoanError, Node, OpenError, ReceiveError, WaitError};

use crate::common::pattern;

pub(crate) const ROLES: [&str; 10] = [
    "publish overwriting",
    "publish reliably",
    "publish reliably, evict",
    "subscribe overwriting",
    "subscribe reliably",
    "serve",
    "call",
    "share a region",
    "publish a dataset",
    "view a dataset",
];

/// How long a role waits for others before it looks whether it is to end.
const MOMENT: Duration = Duration::from_millis(20);
const EVICT_AFTER: Duration = Duration::from_millis(100);

/// Who published a message, its number, and the checksum of both and of the payload.
type Header = [u64; 3];

struct Actor<'d> {
    directory: &'d Path,
    is_over: Arc<AtomicBool>,
}

pub(crate) fn play(role: &str, directory: &Path) {
    let is_over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_over);
    std::thread::spawn(move || {
        let _end_of_input = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        told.store(true, Ordering::Relaxed);
    });
    let actor = Actor { directory, is_over };
    match role {
        "publish overwriting" => actor.publish("chaos/overwriting", false, None),
        "publish reliably" => actor.publish("chaos/reliable", true, None),
        "publish reliably, evict" => actor.publish("chaos/reliable", true, Some(EVICT_AFTER)),
        "subscribe overwriting" => actor.subscribe("chaos/overwriting", false),
        "subscribe reliably" => actor.subscribe("chaos/reliable", true),
        "serve" => actor.serve(),
        "call" => actor.call(),
        "share a region" => actor.share_a_region(),
        "publish a dataset" => actor.publish_a_dataset(),
        "view a dataset" => actor.view_a_dataset(),
        role => panic!("no role {role}"),
    }
}

fn checksum(publisher: u64, number: u64, bytes: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&publisher.to_le_bytes()).update(&number.to_le_bytes()).update(bytes);
    u64::from_le_bytes(hasher.finalize().as_bytes()[..8].try_into().unwrap())
}

impl Actor<'_> {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    fn node(&self) -> Node {
        self.until_open(|| Node::builder().directory(self.directory).open())
    }

    /// A broker that is stopped answers nobody until it runs again, and that may last; nothing else may fail.
    fn until_open<T>(&self, mut open: impl FnMut() -> Result<T, OpenError>) -> T {
        loop {
            match open() {
                Ok(opened) => return opened,
                Err(OpenError::BrokerSilent) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn publish(&self, topic: &str, reliable: bool, evict_after: Option<Duration>) {
        let node = self.node();
        let topic = node.topic::<[u8]>(topic).unwrap().header::<Header>();
        let mut publisher = self.until_open(|| {
            let builder = topic.publisher().depth(64).budget_bytes(8 << 20);
            let builder = if reliable { builder.reliable() } else { builder };
            match evict_after {
                Some(time) => builder.evict_after(time).open(),
                None => builder.open(),
            }
        });
        let name = u64::from(std::process::id());
        let mut number = 0;
        while self.goes_on() {
            let length =
                if number % 5 == 0 { (number * 7919 % 200_000) as usize } else { (number % 90) as usize };
            let bytes: Vec<u8> = pattern(number, length).collect();
            match publisher.loan_slice_within(length, MOMENT) {
                Ok(mut loan) => {
                    *loan.header_mut() = [name, number, checksum(name, number, &bytes)];
                    loan.copy_from_slice(&bytes);
                    loan.publish().unwrap();
                    number += 1;
                }
                // Somebody who is stopped holds it up; or there is no room for a moment.
                Err(LoanError::Timeout | LoanError::Budget(_) | LoanError::BrokerGone { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn subscribe(&self, name: &str, reliable: bool) {
        let node = self.node();
        let topic = node.topic::<[u8]>(name).unwrap().header::<Header>();
        let mut subscriber = self.until_open(|| topic.subscriber().open());
        let mut next: HashMap<u64, u64> = HashMap::new();
        let (mut missing, mut kept) = (0, Vec::new());
        while self.goes_on() {
            let mut was_evicted = false;
            match subscriber.wait(MOMENT) {
                Ok(message) => {
                    let [publisher, number, sum] = *message.header();
                    assert_eq!(sum, checksum(publisher, number, &message), "a torn message of {publisher}");
                    let expected = next.insert(publisher, number + 1).unwrap_or(number);
                    assert!(number >= expected, "{publisher} repeats {number}, {expected} was next");
                    missing += number - expected;
                    if number % 64 == 0 {
                        kept.push((message.keep(), sum));
                    }
                }
                Err(WaitError::Timeout) => {}
                Err(WaitError::Receive(ReceiveError::EvictedByPublisher { .. })) if reliable => {
                    was_evicted = true
                }
                Err(error) => panic!("{error}"),
            }
            if was_evicted {
                // As the error's message says.
                subscriber = self.until_open(|| topic.subscriber().open());
                (next, missing) = (HashMap::new(), 0);
            }
            if reliable {
                assert_eq!((missing, subscriber.lost()), (0, 0), "a reliable topic lost messages");
            }
            assert!(missing <= subscriber.lost(), "{missing} are missing, {} told", subscriber.lost());
            if kept.len() > 4 {
                let (message, sum): (onecopy::KeptMessage<[u8], Header>, u64) = kept.remove(0);
                let [publisher, number, _] = *message.header();
                assert_eq!(sum, checksum(publisher, number, &message), "a held message changed");
            }
        }
    }

    fn serve(&self) {
        let node = self.node();
        let server = loop {
            match node.service::<u64, u64>("chaos/service").unwrap().server().open() {
                Ok(server) => break server,
                Err(OpenError::BrokerSilent) => {}
                Err(error) => panic!("{error}"),
            }
        };
        while self.goes_on() {
            match server.wait(MOMENT) {
                Ok(Some(request)) => {
                    let answer = request.rotate_left(7) ^ 0x5eed;
                    // Its client may be gone, or may have given up.
                    let _unheard = request.respond(&answer);
                }
                Ok(None) | Err(WaitError::Timeout) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn call(&self) {
        let node = self.node();
        let client = self.until_open(|| node.service::<u64, u64>("chaos/service").unwrap().client().open());
        for number in 0_u64.. {
            if !self.goes_on() {
                break;
            }
            let answer = client.call(&number).and_then(|call| call.wait(MOMENT).map(|answer| *answer));
            match answer {
                Ok(answer) => assert_eq!(answer, number.rotate_left(7) ^ 0x5eed, "another call's answer"),
                Err(CallError::NoServer) => drop(client.wait_for_server(MOMENT)),
                Err(
                    CallError::Timeout
                    | CallError::DeadlinePassed
                    | CallError::PeerDied { .. }
                    | CallError::Unanswered
                    | CallError::Loan(_),
                ) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// All words of the value are equal, and never go back.
    fn share_a_region(&self) {
        let node = self.node();
        let mut region = loop {
            match node.region::<[u64; 32]>("chaos/region").unwrap().shared().open_or_create(&[1; 32]) {
                Ok(region) => break region,
                Err(RegionError::Open(OpenError::BrokerSilent) | RegionError::Timeout) => {}
                Err(error) => panic!("{error}"),
            }
        };
        let mut last = 0;
        while self.goes_on() {
            let value = *region.read().unwrap();
            assert!(value.iter().all(|word| *word == value[0]), "a torn value: {value:?}");
            assert!(value[0] >= last, "the region went back from {last} to {}", value[0]);
            last = value[0];
            match region.lock(MOMENT) {
                Ok(mut guard) => {
                    let next = guard[0] + 1;
                    guard.iter_mut().for_each(|word| *word = next);
                    guard.commit().unwrap();
                }
                Err(RegionError::Locked { .. } | RegionError::Timeout) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn publish_a_dataset(&self) {
        let node = self.node();
        let mut published = None;
        for number in 0_u64.. {
            if !self.goes_on() {
                break;
            }
            let mut bytes = number.to_le_bytes().to_vec();
            bytes.extend(pattern(number, 100_000));
            match node.dataset("chaos/dataset").unwrap().publish_bytes(&bytes) {
                Ok(version) => published = Some(version),
                Err(DatasetError::Open(OpenError::BrokerSilent)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        drop(published);
    }

    fn view_a_dataset(&self) {
        let node = self.node();
        while self.goes_on() {
            match node.dataset("chaos/dataset").unwrap().open() {
                Ok(view) => {
                    view.verify().unwrap();
                    let bytes = view.bytes().unwrap();
                    let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                    assert!(bytes[8..].iter().copied().eq(pattern(number, 100_000)), "another content");
                }
                Err(DatasetError::NotFound { .. } | DatasetError::Open(OpenError::BrokerSilent)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}
