//! `onecopy serve`: the broker in the foreground, the same code as in the first node of an instance.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use clap::Args;
use onecopy::broker::server::{Ended, Server, StopHandle};
use onecopy::instance::Instance;
use rustix::event::PollFlags;

use crate::failure::Failure;
use crate::scope::{Scope, raise_open_files};
use crate::signals::{Signals, Woken};
use crate::systemd;

const AFTER_LONG_HELP: &str = "\
The broker hands out names and memory and never touches a message. One that runs by itself outlives the programs that
use it, and keeps regions for them. If a program of the instance is the broker already, it makes room, and nobody notices.
When this one ends, one of the programs takes its place.

It ends on SIGINT or SIGTERM, by `onecopy stop`, or when another one is started with --replace, which takes over the regions
that are kept. On SIGHUP it reads the configuration again, and takes its own place with it; if the file has a mistake, it says where
and goes on as before. (Started on a terminal, it ends with that.) Under systemd it takes the socket of a socket unit and says when it is ready.

Examples:
  onecopy serve
  onecopy --instance lab --log info serve
  onecopy serve --replace                      after an upgrade";

/// Run the broker of the instance in the foreground
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// Take the place of another `onecopy serve`, with the regions that it keeps
    #[arg(long)]
    replace: bool,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let signals = Signals::install()?;
    raise_open_files();
    let instance = scope.instance()?;
    let server = match systemd::listener().map_err(Failure::system("take the socket of systemd"))? {
        Some(listener) => instance.serve_on(listener)?,
        None if arguments.replace => instance.replace()?,
        None => instance.serve()?,
    };
    let mut broker = Broker::start(server)?;
    announce(&instance);
    let ends_with_terminal = std::io::stdin().is_terminal();
    while signals.wait(&[(broker.ended.as_fd(), PollFlags::IN)], None)? == Woken::Signal {
        signals.acknowledge();
        if !signals.take_hangup() || ends_with_terminal {
            systemd::notify("STOPPING=1");
            broker.stop.stop();
            break;
        }
        match read_again(scope) {
            Ok(server) => {
                // It hands over, and ends.
                std::mem::replace(&mut broker, Broker::start(server)?).end()?;
                eprintln!("onecopy: the configuration was read again");
            }
            Err(failure) => {
                let reason = failure.explanation();
                eprintln!("onecopy: the configuration as it was goes on to hold: {reason}");
            }
        }
    }
    let ended = broker.end()?;
    systemd::notify("STOPPING=1");
    let how = if ended == Ended::Replaced { "has been replaced" } else { "has ended" };
    eprintln!("onecopy: broker of instance {:?} {how}", instance.name());
    Ok(())
}

/// A broker that obeys the configuration as it is now, and has taken this process's place as it would another
/// one's: so what everybody has open is asked about again.
fn read_again(scope: &Scope) -> Result<Server, Failure> {
    Ok(scope.instance()?.replace()?)
}

/// A broker on a thread of its own, so that signals can be waited for beside it.
struct Broker {
    thread: JoinHandle<std::io::Result<Ended>>,
    stop: StopHandle,
    /// Readable when the thread has ended.
    ended: UnixStream,
}

impl Broker {
    fn start(server: Server) -> Result<Self, Failure> {
        let stop = server.stop_handle();
        let (ended, end) = UnixStream::pair().map_err(Failure::system("make a socket pair"))?;
        let serve = move || {
            let _closed_at_the_end = end;
            server.run()
        };
        let thread = std::thread::Builder::new()
            .name("onecopy-broker".to_owned())
            .spawn(serve)
            .map_err(Failure::system("start the broker's thread"))?;
        Ok(Self { thread, stop, ended })
    }

    fn end(self) -> Result<Ended, Failure> {
        let ended = self.thread.join();
        let ended = ended.unwrap_or_else(|_| Err(std::io::Error::other("the broker's thread panicked")));
        ended.map_err(Failure::system("serve"))
    }
}

fn announce(instance: &Instance) {
    eprintln!(
        "onecopy: broker of instance {:?} serves at {} (process {})",
        instance.name(),
        instance.socket_path().display(),
        std::process::id()
    );
    systemd::notify("READY=1");
}
