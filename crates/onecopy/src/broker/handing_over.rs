//! A broker's end in favour of another one, or because somebody wants it: a broker inside a program makes
//! room for one that runs on its own, and that for its successor.
//!
//! ```text
//! successor                         broker
//! TakeOver ──────────────────────────▶ │
//!      │ ◀─────────── Place, Lock ──── │ goes on as before
//! Taken ─────────────────────────────▶ │
//!      │ ◀──── Heirloom…, Yours ────── │ acts no more
//! acts from here on
//! ```
//!
//! Socket and lock are never free in between, and at no time do both act. Whoever is connected finds the end of the
//! connection, and comes back to the same socket.

use std::sync::Arc;

use super::descriptor::Descriptor;
use super::peers::PeerId;
use super::protocol::{Event, Refusal, Request};
use super::quota::Kept;
use super::state::{Broker, Output};
use super::topics::Key;
use super::transport::Credentials;
use crate::payload_type::PayloadType;

/// What is kept, on its way to the next broker.
#[derive(Debug)]
pub(crate) enum Heirloom {
    /// A region that nobody has open.
    Region { region: String, payload: Option<PayloadType>, shared: bool, memory: Descriptor },
    /// A dataset's newest version. Those who have the dataset open may have older ones only.
    Dataset { dataset: String, version: u64, memory: Descriptor },
}

impl Broker {
    /// What somebody wants who is no node. `None` if it is a node's request.
    pub(super) fn handle_succession(
        &mut self,
        peer: PeerId,
        request: &Request,
    ) -> Option<Result<(), Refusal>> {
        let is_node = self.peers.node_of(peer).is_ok();
        let pid = self.own.credentials.pid;
        Some(match request {
            Request::TakeOver { .. } | Request::Taken | Request::Stop if is_node => Err(Refusal::OutOfPlace),
            // Whoever listens on the socket is trusted by all as the one whose it is.
            Request::TakeOver { .. } | Request::Taken if !self.is_own(peer) => {
                let uid = self.peers.who(peer).map_or(0, |who| who.uid);
                Err(Refusal::NotOwner { owner: self.own.credentials.uid, uid })
            }
            Request::Stop if self.check_request(peer, request).is_err() => {
                self.check_request(peer, request).map_err(Refusal::from)
            }
            Request::TakeOver { replaces: false } if self.keeps_regions => {
                Err(Refusal::AlreadyServed { pid })
            }
            Request::TakeOver { .. } => {
                // The last who comes: an earlier one may have got stuck.
                self.successor = Some(peer);
                self.outputs.push_back(Output::ShowPlace { peer });
                Ok(())
            }
            Request::Taken if self.successor == Some(peer) => {
                self.outputs.push_back(Output::Yield { peer });
                Ok(())
            }
            Request::Taken => Err(Refusal::OutOfPlace),
            Request::Stop if !self.keeps_regions => Err(Refusal::Embedded { pid }),
            Request::Stop => {
                self.outputs.push_back(Output::End { peer });
                Ok(())
            }
            _ => return None,
        })
    }

    /// What the successor is told last.
    pub(super) fn last_words(&self) -> Vec<(Event, Option<Descriptor>)> {
        let mut words = Vec::new();
        for (key, topic) in self.topics.iter() {
            if let (Key::Region(name), true, Some(memory)) = (key, topic.kept, &topic.remains)
                && topic.subscribers.is_empty()
            {
                let (region, payload) = (name.to_string(), topic.payload.clone());
                words.push((Event::Heirloom { region, payload, shared: false }, Some(Arc::clone(memory))));
            }
        }
        for (name, region) in self.shared.iter().filter(|(_, region)| region.kept && region.seats.is_empty())
        {
            if let Some(memory) = &region.memory {
                let (region, payload) = (name.to_owned(), region.payload.clone());
                words.push((Event::Heirloom { region, payload, shared: true }, Some(Arc::clone(memory))));
            }
        }
        for (name, dataset) in self.datasets.iter().filter(|(_, dataset)| dataset.kept) {
            if let Some((version, memory)) = &dataset.newest {
                let event = Event::DatasetHeirloom { dataset: name.to_owned(), version: *version };
                words.push((event, Some(Arc::clone(memory))));
            }
        }
        words.push((Event::Yours, None));
        words
    }

    /// The nodes that are connected, for whoever ends the broker.
    pub(super) fn farewell(&self) -> Vec<Event> {
        let mut words: Vec<Event> = self
            .peers
            .nodes()
            .map(|(node, Credentials { pid, uid })| Event::NodeInfo {
                request: 0,
                node: node.id,
                name: node.name.clone(),
                pid,
                uid,
                readers: false,
            })
            .collect();
        words.push(Event::Ended { broker_pid: self.own.credentials.pid });
        words
    }

    /// Keeps what the last broker kept.
    pub(crate) fn inherit(&mut self, heirlooms: Vec<Heirloom>) {
        for heirloom in heirlooms {
            let kept = match &heirloom {
                Heirloom::Region { region, .. } => Kept::Region(region.clone()),
                Heirloom::Dataset { dataset, .. } => Kept::Dataset(dataset.clone()),
            };
            if self.quota.inherit(kept).is_err() {
                tracing::warn!(?heirloom, "what was kept is too much for this broker's limits");
                continue;
            }
            match heirloom {
                Heirloom::Region { region, payload, shared: true, memory } => {
                    self.shared.inherit(&region, payload, memory);
                }
                Heirloom::Region { region, payload, shared: false, memory } => {
                    self.topics.inherit(Key::Region(region.as_str().into()), payload, memory);
                }
                Heirloom::Dataset { dataset, version, memory } => {
                    self.datasets.inherit(&dataset, version, memory);
                }
            }
        }
    }
}
