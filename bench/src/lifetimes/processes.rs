//! The processes of a round: the broker, and everybody else.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use onecopy::Node;
use onecopy::instance::{DEFAULT_INSTANCE, Instance};

use super::GAUGES;
use super::actor::{BEGIN_WINDOW, BEGUN, END_WINDOW, Role, hear};

/// How a broker comes to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum BrokerKind {
    /// A program that was the first
    Embedded,
    /// As `onecopy serve` does
    Serve,
    /// As `onecopy serve --replace` does
    Replace,
}

/// The life of a broker's process: until its input ends.
pub(crate) fn serve_broker(kind: BrokerKind, directory: &Path) -> anyhow::Result<()> {
    onecopy::open_files::raise_limit().context("cannot have many files open")?;
    let begun = || std::io::stdout().write_all(&[BEGUN]).and_then(|()| std::io::stdout().flush());
    let instance = Instance::in_directory(directory, DEFAULT_INSTANCE)?;
    let server = match kind {
        BrokerKind::Embedded => {
            let _node = Node::builder().directory(directory).name("broker").open()?;
            begun()?;
            std::io::stdin().read_to_end(&mut Vec::new())?;
            return Ok(());
        }
        BrokerKind::Serve => instance.serve()?,
        BrokerKind::Replace => instance.replace()?,
    };
    let stop = server.stop_handle();
    std::thread::spawn(move || {
        let _end = std::io::stdin().read_to_end(&mut Vec::new());
        stop.stop();
    });
    begun()?;
    server.run()?;
    Ok(())
}

fn start(arguments: &[&str], directory: &Path) -> anyhow::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(arguments)
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a process of the measurement")
}

/// A broker's process; killed when dropped.
pub(super) struct Broker {
    pub(super) process: Child,
}

impl Broker {
    /// Returns when it is the broker.
    pub(super) fn start(kind: BrokerKind, directory: &Path) -> anyhow::Result<Self> {
        let kind = match kind {
            BrokerKind::Embedded => "embedded",
            BrokerKind::Serve => "serve",
            BrokerKind::Replace => "replace",
        };
        let mut broker = Self { process: start(&["lifetimes-broker", kind], directory)? };
        hear::<1>(broker.process.stdout.as_mut().context("it was piped")?)?;
        Ok(broker)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Whoever has ended already can't be killed, which is as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Member {
    role: Role,
    process: Child,
    input: ChildStdin,
    output: ChildStdout,
}

/// Everybody but the broker; killed when dropped.
pub(super) struct Crowd {
    members: Vec<Member>,
}

impl Crowd {
    /// Returns when all are at work.
    pub(super) fn start(size: usize, directory: &Path) -> anyhow::Result<Self> {
        let mut crowd = Self { members: Vec::new() };
        for index in 0..size {
            let role = Role::ALL[index % Role::ALL.len()];
            let group = (index / Role::ALL.len()).to_string();
            let mut process = start(&["lifetimes-actor", role.argument(), &group], directory)?;
            let input = process.stdin.take().context("it was piped")?;
            let output = process.stdout.take().context("it was piped")?;
            let mut member = Member { role, process, input, output };
            let begun = hear::<1>(&mut member.output);
            crowd.members.push(member);
            begun?;
        }
        Ok(crowd)
    }

    /// From now on pauses count.
    pub(super) fn begin_window(&mut self) -> anyhow::Result<()> {
        self.tell_all(BEGIN_WINDOW)?;
        self.gauged().try_for_each(|member| hear::<1>(&mut member.output).map(drop))
    }

    /// The longest pause of each kind since [`Self::begin_window`], after some time.
    pub(super) fn end_window(&mut self, time: Duration) -> anyhow::Result<[Duration; 3]> {
        std::thread::sleep(time);
        self.tell_all(END_WINDOW)?;
        let mut longest = [Duration::ZERO; 3];
        for member in self.gauged() {
            let pause = Duration::from_nanos(u64::from_ne_bytes(hear(&mut member.output)?));
            let kind = GAUGES.iter().position(|gauge| Some(*gauge) == member.role.gauge());
            if let Some(longest) = kind.and_then(|kind| longest.get_mut(kind)) {
                *longest = pause.max(*longest);
            }
        }
        Ok(longest)
    }

    fn tell_all(&mut self, word: u8) -> anyhow::Result<()> {
        self.gauged().try_for_each(|member| member.input.write_all(&[word]).context("a process has ended"))
    }

    fn gauged(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.iter_mut().filter(|member| member.role.gauge().is_some())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.process.kill();
        }
        for member in &mut self.members {
            let _ = member.process.wait();
        }
    }
}
