//! The command line as a whole: the commands, what holds for all of them, and the general help.

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

use crate::commands::{
    call, completions, config, dataset, demo, doctor, genome, metrics, region, serve, service, status, stop,
    top, topic,
};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold());

const AFTER_LONG_HELP: &str = "\
Examples:
  onecopy demo                                 see what it does, in half a minute
  tail -f app.log | onecopy topic pub logs     publish a log, a line a message
  onecopy topic sub logs | grep ERROR          read it, in as many terminals as you like
  onecopy topic hz camera/front                how often does it publish?
  onecopy service run upper -- tr a-z A-Z      serve with any command
  echo hello | onecopy call upper              ask it
  onecopy region edit settings                 change a value that everyone sees
  onecopy region watch settings                see it change
  onecopy dataset publish index index.bin &    load a file once, for all who read it
  onecopy genome index reads.bam               find reads by name
  onecopy status                               who is there?
  onecopy top                                  what do they do?

Instances:
  Programs find each other in an instance: a socket and a lock in $ONECOPY_RUNTIME_DIR, else
  $XDG_RUNTIME_DIR/onecopy, else /tmp/onecopy-$UID. There is nothing to start: the first program runs the instance's
  broker along, and when it ends another one takes over. `onecopy serve` runs a broker that stays.

Exit codes:
  0    done; also if the reader of the output ended first, as in `onecopy topic sub logs | head`
  1    failed; standard error says why
  2    the command line makes no sense
  3    no broker runs the instance, nobody has the topic, service, region or dataset open,
       or nobody serves it
  4    nothing came within --timeout or --deadline, or from a region whose writer is stopped
  5    the server answered that it could not do it; standard error has what it says
  6    the server ended, or dropped the request, before it had answered in full
  7    the region is at another version: `onecopy region write --if-version`, `onecopy region edit`
  8    the dataset is not what was published: its file was changed, or `onecopy dataset verify` found other bytes
  9    a name is not in the BAM file: `onecopy genome get`
  10   `onecopy doctor` found something to mend
  11   the user may not: `onecopy config may`
  130  a signal ended the demo, a call, the commands of a service or the input of a region or the loading
       of a dataset early";

/// One copy of your data, shared by every process that needs it.
///
/// onecopy moves messages, requests, responses, shared values and datasets between processes of one machine
/// through shared memory. Each is written once, where all who get it read it. Memory belongs to the kernel:
/// whatever is killed, nothing is left behind.
#[derive(Debug, Parser)]
#[command(name = "onecopy", version, styles = STYLES, after_long_help = AFTER_LONG_HELP, max_term_width = 120)]
pub(crate) struct Arguments {
    /// The instance to join or to look at
    #[arg(long, global = true, display_order = 900, value_name = "NAME", default_value = onecopy::instance::DEFAULT_INSTANCE)]
    pub(crate) instance: String,

    /// What to tell on standard error: off, error, warn, info, debug or trace
    #[arg(
        long,
        global = true,
        display_order = 901,
        value_name = "LEVEL",
        default_value = "warn",
        hide_default_value = false
    )]
    pub(crate) log: LevelFilter,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(demo::Arguments),
    /// Publish, subscribe and look at topics
    #[command(subcommand)]
    Topic(topic::Command),
    Call(call::Arguments),
    /// Serve with any command, and look at services
    #[command(subcommand)]
    Service(service::Command),
    /// Read, write, edit and watch values that everyone sees
    #[command(subcommand)]
    Region(region::Command),
    /// Publish files for many to read, and look at datasets
    #[command(subcommand)]
    Dataset(dataset::Command),
    /// Find reads by name, and positions of one assembly in another
    #[command(subcommand)]
    Genome(genome::Command),
    Status(status::Arguments),
    Top(top::Arguments),
    Metrics(metrics::Arguments),
    Doctor(doctor::Arguments),
    #[command(subcommand)]
    Config(config::Command),
    Serve(serve::Arguments),
    Stop(stop::Arguments),
    Completions(completions::Arguments),
    /// One process of the demo.
    #[command(hide = true)]
    DemoChild(demo::ChildArguments),
    /// The command of a service, on its way.
    #[command(hide = true)]
    ServiceChild(service::ChildArguments),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
