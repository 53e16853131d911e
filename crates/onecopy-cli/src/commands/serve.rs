//! `onecopy serve`: the broker in the foreground, the same code as in the first node of an instance.

use clap::Args;

use crate::failure::Failure;
use crate::scope::{Scope, raise_open_files};
use crate::signals::Signals;

const AFTER_LONG_HELP: &str = "\
The broker hands out names and memory and never touches a message. One that runs by itself outlives the programs that
use it, so that none of them can take the instance along when it ends. It ends on SIGINT or SIGTERM and removes
its socket. Killed, it leaves a socket that the next start replaces.

Examples:
  onecopy serve
  onecopy --instance lab --log info serve";

/// Run the broker of the instance in the foreground
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {}

pub(crate) fn run(_arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let signals = Signals::install()?;
    raise_open_files();
    let instance = scope.instance()?;
    let server = instance.serve()?;
    let stop = server.stop_handle();
    std::thread::Builder::new()
        .name("onecopy-signals".to_owned())
        .spawn(move || {
            if let Err(error) = signals.wait(&[], None) {
                tracing::error!(%error, "signals can't be waited for; ending");
            }
            stop.stop();
        })
        .map_err(Failure::system("start the thread that takes signals"))?;
    eprintln!(
        "onecopy: broker of instance {:?} serves at {} (process {})",
        instance.name(),
        instance.socket_path().display(),
        std::process::id()
    );
    server.run().map_err(Failure::system("serve"))?;
    eprintln!("onecopy: broker of instance {:?} has ended", instance.name());
    Ok(())
}
