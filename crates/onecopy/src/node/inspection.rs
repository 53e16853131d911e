//! Questions to the broker about who is there, and their answers, which come one item a packet.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::broker::protocol::{Delivery, KeepError, NodeId, PortId, Role, ServiceType};
use crate::error::OpenError;
use crate::limits;
use crate::payload_type::PayloadType;

/// One item of an answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Node {
        node: NodeId,
        name: String,
        pid: u32,
        uid: u32,
        readers: Option<OwnedFd>,
    },
    Topic {
        name: String,
        payload: Option<PayloadType>,
        delivery: Option<Delivery>,
    },
    Publisher {
        topic: String,
        publisher: PortId,
        node_name: String,
        history: u64,
        ring: Option<OwnedFd>,
    },
    Subscriber {
        topic: String,
        subscriber: PortId,
        node_name: String,
    },
    Service {
        name: String,
        payload: Option<ServiceType>,
    },
    ServicePort {
        service: String,
        port: PortId,
        role: Role,
        node_name: String,
        pid: u32,
    },
    Memory {
        owner: PortId,
        memory: OwnedFd,
    },
    Kept(Option<KeepError>),
    Dataset {
        name: String,
        version: u64,
        publisher: Option<(PortId, u32)>,
        viewers: u32,
        kept: bool,
        memory: Option<OwnedFd>,
    },
    Region {
        name: String,
        payload: Option<PayloadType>,
        shared: bool,
        writer: Option<(PortId, u32)>,
        readers: u32,
        kept: bool,
        memory: Option<OwnedFd>,
    },
}

/// Questions under way.
#[derive(Debug, Default)]
pub(super) struct Inspections {
    open: Mutex<Open>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Open {
    questions: HashMap<u32, Question>,
    last: u32,
    /// The broker is gone: nothing is answered any more.
    abandoned: bool,
}

#[derive(Debug, Default)]
struct Question {
    answers: Vec<Answer>,
    complete: bool,
}

impl Inspections {
    /// A number for a new question.
    pub(super) fn begin(&self) -> u32 {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.last = open.last.wrapping_add(1);
        let request = open.last;
        open.questions.insert(request, Question::default());
        request
    }

    pub(super) fn add(&self, request: u32, answer: Answer) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(question) = open.questions.get_mut(&request) {
            question.answers.push(answer);
        }
    }

    pub(super) fn end(&self, request: u32) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(question) = open.questions.get_mut(&request) {
            question.complete = true;
        }
        self.moved.notify_all();
    }

    pub(super) fn abandon(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).abandoned = true;
        self.moved.notify_all();
    }

    /// Waits for the whole answer.
    pub(super) fn wait(&self, request: u32) -> Result<Vec<Answer>, OpenError> {
        let deadline = Instant::now() + limits::HANDSHAKE_TIMEOUT;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if open.questions.get(&request).is_some_and(|question| question.complete) {
                return Ok(open.questions.remove(&request).unwrap_or_default().answers);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if open.abandoned || left.is_zero() {
                let abandoned = open.abandoned;
                open.questions.remove(&request);
                return Err(if abandoned { OpenError::BrokerGone } else { OpenError::BrokerSilent });
            }
            open = self.moved.wait_timeout(open, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
