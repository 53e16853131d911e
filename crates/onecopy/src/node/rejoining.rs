//! The end of a broker as a node lives it: it looks for the next one, or becomes it, and goes on with it as
//! if nothing had been. What its publishers and subscribers do meanwhile does not depend on it.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onecopy_memory::wait::Doorbell;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::ports::{Connection, reader_key};
use super::session::Session;
use crate::broker::Process;
use crate::broker::protocol::NodeId;
use crate::broker::server::ServerThread;
use crate::broker::transport::PacketSocket;
use crate::instance::{Instance, InstanceError, Interruption, Joined, Presence, SuccessorWatch, Welcome};
use crate::limits::{REJOIN_DELAY_MAX, REJOIN_DELAY_MIN};

/// A node's place in its instance, kept by its control thread.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) instance: Instance,
    pub(super) name: String,
    pub(super) socket: Arc<PacketSocket>,
    pub(super) welcome: Welcome,
    /// The broker's process.
    pub(super) broker: Process,
    presence: Presence,
}

impl Membership {
    /// Joins the instance for the first time. Also returns the broker, if this process has become it.
    pub(super) fn begin(
        instance: &Instance,
        node: NodeId,
        name: String,
    ) -> Result<(Self, Option<ServerThread>), InstanceError> {
        let mut joined = instance.join(node, &name)?;
        let server = joined.server.take();
        Ok((Self::new(instance, name, joined), server))
    }

    /// The same where somebody is, without becoming the broker; `None` if nobody is there.
    pub(super) fn visit(
        instance: &Instance,
        node: NodeId,
        name: String,
    ) -> Result<Option<Self>, InstanceError> {
        Ok(instance.visit(node, &name)?.map(|joined| Self::new(instance, name, joined)))
    }

    fn new(instance: &Instance, name: String, joined: Joined) -> Self {
        let Joined { socket, welcome, broker, presence, .. } = joined;
        Self { instance: instance.clone(), name, socket: Arc::new(socket), welcome, broker, presence }
    }

    /// Looks for another broker until there is one. `false` if the node ends, or may not come back.
    pub(super) fn resume(&mut self, session: &Session, bell: &Doorbell) -> bool {
        // The broker, if it lives, sees at once that we are gone.
        self.socket.end();
        session.conversation.outbox.go_down();
        wake_everybody_from_now_on(session);
        let watch = self.instance.watch_for_successor();
        let mut delay = REJOIN_DELAY_MIN;
        loop {
            watch.iter().for_each(SuccessorWatch::renew);
            let is_due = || {
                bell.was_rung();
                session.ports().closing
            };
            let interruption = Interruption { bell: bell.as_fd(), is_due: &is_due };
            let returns_from = Some(self.welcome.broker);
            match self.instance.join_from(session.node, &self.name, returns_from, Some(interruption)) {
                Ok(joined) => return self.go_on(session, joined),
                Err(InstanceError::Refused(reason)) => {
                    session.conversation.outbox.close();
                    session.connection_ended(Connection::Refused(reason));
                    return false;
                }
                // One that is just ending has let go of its socket, and not yet of its lock.
                Err(error) if delay < REJOIN_DELAY_MAX => {
                    tracing::debug!(node = %session.node, %error, "no broker to come back to yet");
                }
                Err(error) => tracing::warn!(node = %session.node, %error, "no broker to come back to"),
            }
            delay = match wait(session, bell, watch.as_ref(), delay) {
                Waited::Ends => return false,
                Waited::News => REJOIN_DELAY_MIN,
                Waited::Long => (delay * 2).min(REJOIN_DELAY_MAX),
            };
        }
    }

    fn go_on(&mut self, session: &Session, joined: Joined) -> bool {
        let Joined { socket, welcome, broker, server, presence } = joined;
        tracing::info!(node = %session.node, broker_pid = welcome.broker_pid, is_broker = server.is_some(), "goes on with another broker");
        session.keep_server(server);
        let socket = Arc::new(socket);
        let mut ports = session.ports();
        let unseated = ports.shared.values_mut().filter(|shared| shared.seated.is_none());
        unseated.for_each(|shared| shared.living.clear());
        drop(ports);
        let questions = session.inspections.open_questions();
        // What others of the last broker's nodes can be seen from the place where they were counted.
        let goes_on = session.conversation.go_on(&socket, questions, (self.welcome, welcome), &self.presence);
        (self.socket, self.welcome, self.broker, self.presence) = (socket, welcome, broker, presence);
        if goes_on {
            session.show_readers();
        }
        goes_on
    }
}

/// Nobody can announce any more that they will sleep, so every reader counts as a sleeper.
fn wake_everybody_from_now_on(session: &Session) {
    let ports = session.ports();
    for route in ports.attached_routes() {
        if let Some(publisher) = ports.publishers.get(&route.publisher) {
            publisher.readers.may_sleep(reader_key(route), None);
        }
    }
}

/// What ended a wait.
enum Waited {
    /// The node ends.
    Ends,
    /// There may be another broker.
    News,
    /// The time is over.
    Long,
}

fn wait(session: &Session, bell: &Doorbell, watch: Option<&SuccessorWatch>, timeout: Duration) -> Waited {
    let deadline = Instant::now() + timeout;
    loop {
        if session.ports().closing {
            return Waited::Ends;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let mut polled = vec![PollFd::from_borrowed_fd(bell.as_fd(), PollFlags::IN)];
        let news = watch.and_then(SuccessorWatch::news);
        polled.extend(news.map(|news| PollFd::from_borrowed_fd(news, PollFlags::IN)));
        match rustix::event::poll(&mut polled, Timespec::try_from(left).ok().as_ref()) {
            Ok(1..) if polled[1..].iter().any(|news| !news.revents().is_empty()) => return Waited::News,
            Ok(1..) => drop(bell.was_rung()),
            Ok(0) => return Waited::Long,
            Err(_) if left.is_zero() => return Waited::Long,
            Err(_) => {}
        }
    }
}
