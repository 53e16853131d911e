//! Questions to the broker about who is there, and their answers, which come one item a packet.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::broker::protocol::{self, Delivery, KeepError, NodeId, PortId, Request, Role, ServiceType};
use crate::error::OpenError;
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
    Seat {
        region: String,
        seat: u32,
        pid: u32,
    },
    Kept(Option<KeepError>),
    Reserved(Option<protocol::OpenError>),
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
    /// The node has ended or was refused: nothing is answered any more.
    abandoned: bool,
}

#[derive(Debug)]
struct Question {
    request: Request,
    answers: Vec<Answer>,
    complete: bool,
}

impl Inspections {
    /// A new question, made with its number; returns it with that.
    pub(super) fn begin(&self, make: impl FnOnce(u32) -> Request) -> (u32, Request) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.last = open.last.wrapping_add(1);
        let (number, request) = (open.last, make(open.last));
        let question = Question { request: request.clone(), answers: Vec::new(), complete: false };
        open.questions.insert(number, question);
        (number, request)
    }

    /// Everything that has not been answered in full, to be asked again: the broker that was asked has ended.
    pub(super) fn open_questions(&self) -> Vec<Request> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let unanswered = open.questions.values_mut().filter(|question| !question.complete);
        unanswered
            .map(|question| {
                question.answers.clear();
                question.request.clone()
            })
            .collect()
    }

    pub(super) fn add(&self, request: u32, answer: Answer) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was asked twice is answered twice, and the first answer is as good.
        if let Some(question) = open.questions.get_mut(&request).filter(|question| !question.complete) {
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

    /// Waits for the whole answer, for at most `timeout`.
    pub(super) fn wait(&self, request: u32, timeout: Duration) -> Result<Vec<Answer>, OpenError> {
        let deadline = Instant::now() + timeout;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if open.questions.get(&request).is_some_and(|question| question.complete) {
                return Ok(open
                    .questions
                    .remove(&request)
                    .map(|question| question.answers)
                    .unwrap_or_default());
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
