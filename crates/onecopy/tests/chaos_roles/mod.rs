//! What the processes of the chaos test do, and what each of them must never see. A role ends by itself when
//! the test closes its input; whatever it must not see makes it panic, and the test notices.

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
use crate::common::possessions::Possessions;

/// Played by two processes each.
pub(crate) const ROLES: [&str; 14] = [
    "publish overwriting",
    "publish reliably",
    "publish reliably, evict",
    "subscribe overwriting",
    "subscribe reliably",
    "serve",
    "call",
    "share a region",
    "hold a lock",
    "write a region",
    "read a region",
    "publish a dataset",
    "view a dataset",
    "subscribe alone",
];
/// Played by one process: then what its subscribers are told can be compared with what they miss.
pub(crate) const ALONE: &str = "publish alone";

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
    let before = Possessions::own();
    Actor { directory, is_over }.play(role);
    // All that it opened is closed.
    before.until_within(role, Possessions::own);
}

fn checksum(publisher: u64, number: u64, bytes: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&publisher.to_le_bytes()).update(&number.to_le_bytes()).update(bytes);
    u64::from_le_bytes(hasher.finalize().as_bytes()[..8].try_into().unwrap())
}

/// All words of a region's value are equal, and never go back.
fn check_value(value: &[u64; 32], last: &mut u64) {
    assert!(value.iter().all(|word| *word == value[0]), "a torn value: {value:?}");
    assert!(value[0] >= *last, "the region went back from {last} to {}", value[0]);
    *last = value[0];
}

impl Actor<'_> {
    fn play(&self, role: &str) {
        match role {
            "publish overwriting" => self.publish("chaos/overwriting", false, None),
            "publish alone" => self.publish("chaos/alone", false, None),
            "publish reliably" => self.publish("chaos/reliable", true, None),
            "publish reliably, evict" => self.publish("chaos/reliable", true, Some(EVICT_AFTER)),
            "subscribe overwriting" => self.subscribe("chaos/overwriting", false),
            "subscribe alone" => self.subscribe("chaos/alone", false),
            "subscribe reliably" => self.subscribe("chaos/reliable", true),
            "serve" => self.serve(),
            "call" => self.call(),
            "share a region" => self.share_a_region(|| ()),
            "hold a lock" => self.share_a_region(|| std::thread::park_timeout(MOMENT)),
            "write a region" => self.write_a_region(),
            "read a region" => self.read_a_region(),
            "publish a dataset" => self.publish_a_dataset(),
            "view a dataset" => self.view_a_dataset(),
            role => panic!("no role {role}"),
        }
    }

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
        // The only publisher that is heard, with the messages that it may have lost before its first one was received.
        let mut alone: Option<(u64, u64)> = None;
        while self.goes_on() {
            let (mut was_evicted, mut from) = (false, None);
            match subscriber.wait(MOMENT) {
                Ok(message) => {
                    let [publisher, number, sum] = *message.header();
                    assert_eq!(sum, checksum(publisher, number, &message), "a torn message of {publisher}");
                    let expected = next.insert(publisher, number + 1).unwrap_or(number);
                    assert!(number >= expected, "{publisher} repeats {number}, {expected} was next");
                    missing += number - expected;
                    from = Some(publisher);
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
            // What was lost before the first message of a publisher, or behind its last, is told and not missing here.
            assert!(missing <= subscriber.lost(), "{missing} are missing, {} told", subscriber.lost());
            if let Some(publisher) = from {
                let unseen = subscriber.lost() - missing;
                alone = match alone {
                    _ if subscriber.publishers() != 1 => None,
                    Some((same, before)) if same == publisher => {
                        assert_eq!(unseen, before, "what {publisher} lost is not what is told");
                        alone
                    }
                    _ => Some((publisher, unseen)),
                };
            }
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

    fn until_region_open<T>(&self, mut open: impl FnMut() -> Result<T, RegionError>) -> Option<T> {
        while self.goes_on() {
            match open() {
                Ok(region) => return Some(region),
                Err(
                    RegionError::Open(OpenError::BrokerSilent)
                    | RegionError::WriterStuck { .. }
                    | RegionError::NotFound { .. },
                ) => {}
                Err(error) => panic!("{error}"),
            }
        }
        None
    }

    /// Changes it under its lock, for as long as `hold` takes.
    fn share_a_region(&self, hold: impl Fn()) {
        let node = self.node();
        let builder = || node.region::<[u64; 32]>("chaos/shared").unwrap().shared();
        let Some(mut region) = self.until_region_open(|| builder().open_or_create(&[1; 32])) else { return };
        let mut last = 0;
        while self.goes_on() {
            check_value(&region.read().unwrap(), &mut last);
            match region.lock(MOMENT) {
                Ok(mut guard) => {
                    check_value(&guard, &mut last);
                    hold();
                    let next = guard[0] + 1;
                    guard.iter_mut().for_each(|word| *word = next);
                    guard.commit().unwrap();
                }
                Err(RegionError::Locked { .. } | RegionError::Timeout) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Writes a region that one process writes at a time, and takes it over when that has ended. It always
    /// has it open, so that its value stays whoever else goes.
    fn write_a_region(&self) {
        let node = self.node();
        let open = || node.region::<[u64; 32]>("chaos/region").unwrap().open_or_create(&[1; 32]);
        let Some(mut region) = self.until_region_open(open) else { return };
        let mut last = 0;
        while self.goes_on() {
            check_value(&region.read().unwrap(), &mut last);
            match region.write(&[last + 1; 32]) {
                Ok(_) => {}
                // Another one was first.
                Err(RegionError::ReadOnly { .. }) => {
                    if let Some(opened) = self.until_region_open(open) {
                        region = opened;
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn read_a_region(&self) {
        let node = self.node();
        let builder = || node.region::<[u64; 32]>("chaos/region").unwrap();
        let Some(region) = self.until_region_open(|| builder().open()) else { return };
        let mut last = 0;
        while self.goes_on() {
            let value = region.read().unwrap();
            check_value(&value, &mut last);
            match region.wait_for_change(value.version(), MOMENT) {
                Ok(value) => check_value(&value, &mut last),
                Err(RegionError::Timeout) => {}
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
