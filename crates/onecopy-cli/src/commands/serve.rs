//! `onecopy serve`: the broker in the foreground, the same code as in the first node of an instance.

use clap::Args;
use onecopy::broker::server::Ended;
use onecopy::instance::Instance;

use crate::failure::Failure;
use crate::scope::{Scope, raise_open_files};
use crate::signals::Signals;
use crate::systemd;

const AFTER_LONG_HELP: &str = "\
The broker hands out names and memory and never touches a message. One that runs by itself outlives the programs that
use it, and keeps regions for them. If a program of the instance is the broker already, it makes room, and nobody notices.
When this one ends, one of the programs takes its place.

It ends on SIGINT or SIGTERM, by `onecopy stop`, or when another one is started with --replace, which takes over the regions
that are kept. Under systemd it takes the socket of a socket unit and says when it is ready.

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
    let stop = server.stop_handle();
    std::thread::Builder::new()
        .name("onecopy-signals".to_owned())
        .spawn(move || {
            if let Err(error) = signals.wait(&[], None) {
                tracing::error!(%error, "signals can't be waited for; ending");
            }
            systemd::notify("STOPPING=1");
            stop.stop();
        })
        .map_err(Failure::system("start the thread that takes signals"))?;
    announce(&instance);
    let ended = server.run().map_err(Failure::system("serve"))?;
    systemd::notify("STOPPING=1");
    let how = if ended == Ended::Replaced { "has been replaced" } else { "has ended" };
    eprintln!("onecopy: broker of instance {:?} {how}", instance.name());
    Ok(())
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
