//! The processes of the demo: this program once more, in another role. They die with the one that started them, and all
//! they have to tell comes through one channel.

use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use clap::ValueEnum;
use rustix::process::Signal;

use super::plan::Plan;
use super::report::Report;
use crate::failure::Failure;
use crate::own_program::OWN_PROGRAM;
use crate::signals::Signals;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    Publisher,
    Subscriber,
    SocketPublisher,
    SocketSubscriber,
    Server,
    Watcher,
    SocketServer,
}

/// Which process it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) role: Role,
    pub(super) number: usize,
}

enum Event {
    Report(Report),
    /// It closed its output: it has ended, or is about to.
    Ended,
    Interrupted,
}

/// All processes that were started and not yet waited for.
pub(super) struct Processes {
    plan: Plan,
    members: Vec<Member>,
    sender: Sender<(Identity, Event)>,
    receiver: Receiver<(Identity, Event)>,
}

struct Member {
    identity: Identity,
    child: Child,
    /// Closed to dismiss it.
    input: Option<ChildStdin>,
    was_killed: bool,
}

impl Processes {
    pub(super) fn new(plan: &Plan, signals: &Arc<Signals>) -> Result<Self, Failure> {
        let (sender, receiver) = channel();
        let (signals, interrupted) = (Arc::clone(signals), sender.clone());
        std::thread::Builder::new()
            .name("onecopy-signals".to_owned())
            .spawn(move || {
                if signals.wait(&[], None).is_ok() {
                    // Nobody listens any more if the demo is over.
                    let nobody = Identity { role: Role::Publisher, number: usize::MAX };
                    let _ = interrupted.send((nobody, Event::Interrupted));
                }
            })
            .map_err(Failure::system("start the thread that takes signals"))?;
        Ok(Self { plan: plan.clone(), members: Vec::new(), sender, receiver })
    }

    /// Starts a process and waits until it is set up.
    pub(super) fn start(&mut self, role: Role, number: usize) -> Result<(), Failure> {
        let failed = || Failure::system("start a process of the demo");
        let identity = Identity { role, number };
        let plan = serde_json::to_string(&self.plan).map_err(|error| failed()(error.into()))?;
        let role = role.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let mut child = Command::new(OWN_PROGRAM)
            .arg0("onecopy")
            .args(["demo-child", &role, &number.to_string(), &plan, &std::process::id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the coordinator, which then ends them all.
            .process_group(0)
            .spawn()
            .map_err(failed())?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        self.members.push(Member { identity, child, input, was_killed: false });
        let sender = self.sender.clone();
        if let Some(output) = output {
            std::thread::Builder::new()
                .name("onecopy-reports".to_owned())
                .spawn(move || forward_reports(identity, output, &sender))
                .map_err(failed())?;
        }
        Ok(())
    }

    /// The next report of any of them.
    pub(super) fn next_report(&mut self) -> Result<(Identity, Report), Failure> {
        loop {
            let event = self.receiver.recv();
            let (identity, event) =
                event.map_err(|_| Failure::Demo("all processes are silent".to_owned()))?;
            match event {
                Event::Report(report) => return Ok((identity, report)),
                Event::Interrupted => return Err(Failure::Interrupted),
                Event::Ended if self.members.iter().any(|it| it.identity == identity && !it.was_killed) => {
                    return Err(Failure::Demo(format!("{identity} ended before its work was done")));
                }
                Event::Ended => {}
            }
        }
    }

    /// Waits until the last process that was started is set up; it has nothing else to say before.
    pub(super) fn await_ready(&mut self) -> Result<(), Failure> {
        match self.next_report()? {
            (_, Report::Ready) => Ok(()),
            (identity, report) => {
                Err(Failure::Demo(format!("{identity} said {report:?} before it was ready")))
            }
        }
    }

    /// Takes reports until one process has done its work, and gives those before.
    pub(super) fn await_finished(&mut self) -> Result<Vec<Report>, Failure> {
        let mut reports = Vec::new();
        loop {
            match self.next_report()? {
                (_, Report::Finished) => return Ok(reports),
                (_, report) => reports.push(report),
            }
        }
    }

    /// Ends a process with SIGKILL, and makes sure that this is how it ended.
    pub(super) fn kill(&mut self, identity: Identity) -> Result<(), Failure> {
        let failed = || Failure::system(format!("kill {identity}"));
        for member in self.members.iter_mut().filter(|member| member.identity == identity) {
            member.was_killed = true;
            member.child.kill().map_err(failed())?;
            let status = member.child.wait().map_err(failed())?;
            if status.signal() != Some(Signal::KILL.as_raw()) {
                return Err(Failure::Demo(format!(
                    "{identity} should have been killed, and ended with {status}"
                )));
            }
        }
        Ok(())
    }

    /// Numbers of the processes that live.
    pub(super) fn ids(&self) -> Vec<u32> {
        self.members.iter().filter(|member| !member.was_killed).map(|member| member.child.id()).collect()
    }

    /// Lets all of them end, and makes sure that they end well.
    pub(super) fn dismiss(&mut self) -> Result<(), Failure> {
        let mut members = std::mem::take(&mut self.members);
        members.iter_mut().for_each(|member| drop(member.input.take()));
        for member in members.iter_mut().filter(|member| !member.was_killed) {
            let identity = member.identity;
            let status = member.child.wait().map_err(Failure::system(format!("wait for {identity}")))?;
            if !status.success() {
                return Err(Failure::Demo(format!("{identity} ended with {status}")));
            }
        }
        Ok(())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for member in self.members.iter_mut().filter(|member| !member.was_killed) {
            // An error means that it has ended already.
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

fn forward_reports(identity: Identity, output: ChildStdout, sender: &Sender<(Identity, Event)>) {
    let reports = BufReader::new(output)
        .lines()
        .map_while(Result::ok)
        .map_while(|line| serde_json::from_str(&line).ok());
    let events = reports.map(Event::Report).chain(std::iter::once(Event::Ended));
    for event in events {
        if sender.send((identity, event)).is_err() {
            return;
        }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.role {
            Role::Publisher | Role::SocketPublisher => formatter.write_str("the publisher"),
            Role::Server | Role::SocketServer => formatter.write_str("the server"),
            Role::Watcher => formatter.write_str("the watcher"),
            Role::Subscriber | Role::SocketSubscriber => write!(formatter, "subscriber {}", self.number + 1),
        }
    }
}
