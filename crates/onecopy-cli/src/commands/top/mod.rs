//! `onecopy top`: who is there and what they do, as it changes.
//!
//! | file | one concept |
//! |---|---|
//! | `snapshot.rs` | everything that is counted, at one moment |
//! | `rates.rs` | what two snapshots say of the time between them |
//! | `state.rs` | what is shown: the view, the order, the filter, what is selected; and what keys do to it |
//! | `table.rs` | rows with cells that can be sorted |
//! | `views.rs`, `details.rs` | the tables of the views, and of one thing |
//! | `draw.rs` | the screen |
//! | `screen.rs` | the terminal, which is given back however the command ends |

mod details;
mod draw;
mod rates;
mod screen;
mod snapshot;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod views;

use std::time::{Duration, Instant};

use clap::Args;
use onecopy::stuck::StuckWatch;

use self::screen::{Input, Screen};
use self::snapshot::Snapshot;
use self::state::{Flow, State};
use crate::failure::Failure;
use crate::scope::{Scope, Visit};
use crate::values::parse_seconds;

const AFTER_LONG_HELP: &str = "\
Looks once a second (see --interval) at counters in shared memory: those that are looked at are not asked, not slowed
down, and seen also when they are stopped or stuck. Waits for an instance that does not run yet.

Views:
  1  topics       messages and bytes a second, their course, the slowest subscriber's lag
  2  subscribers  slow readers first: lag, the part of the publisher's ring that it takes, losses, messages held
  3  services     calls and errors a second, latency
  4  regions      writes a second, readers, waits for the lock
  5  nodes        memory by owner, versions, what each has open
  6  datasets     versions, sizes, who has them open

Keys:
  1 to 6, Tab      another view
  up, down, PgUp, PgDn, Home, End
                   another row
  Enter            look into the row; Esc goes back
  s, S             sort by the next column, the one before
  r                the other way round
  /                show rows that contain what is typed; Enter keeps it, Esc takes it away
  q, Ctrl-C        end

A line below the views tells of nodes that are stuck, and of what waits for them.

RING is the lag as a part of the publisher's ring: from 100 % on, messages get lost, or their publisher waits.

Examples:
  onecopy top
  onecopy --instance lab top --interval 0.2";

/// Watch the instance: rates, slow readers, memory, services and regions
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// Look again after so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    interval: Duration,

    /// Report nodes as stuck that have not gone on for so long
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    stuck_after: Duration,
}

/// More often would only keep the processor from those that are looked at.
const INTERVAL_MIN: Duration = Duration::from_millis(50);

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    // A name that makes no sense is told before the screen is taken.
    scope.instance()?;
    let mut screen = Screen::take()?;
    let mut state = State::new(scope.instance_name());
    let mut visit = None;
    let mut watch = StuckWatch::new(arguments.stuck_after);
    let interval = arguments.interval.max(INTERVAL_MIN);
    let mut next_look = Instant::now();
    loop {
        if Instant::now() >= next_look {
            state.update(look(&mut visit, &mut watch, scope), Instant::now());
            next_look = Instant::now() + interval;
        }
        screen.draw(|frame| draw::draw(frame, &mut state))?;
        match screen.wait(next_look)? {
            Input::Nothing => {}
            Input::Ended => return Ok(()),
            Input::Key(key) => {
                if state.press(key) == Flow::End {
                    return Ok(());
                }
            }
        }
    }
}

/// What there is now; of an instance that does not run, nothing.
fn look(visit: &mut Option<Visit>, watch: &mut StuckWatch, scope: &Scope) -> Snapshot {
    let looked = (|| {
        let visit = match visit {
            Some(visit) => visit,
            None => visit.insert(scope.visit_as("onecopy top")?),
        };
        let inventory = visit.node.inventory()?;
        // Whoever looks on must not keep up an instance that everybody else has left.
        if visit.node.is_broker() && inventory.nodes.len() <= 1 {
            return Ok(None);
        }
        let stuck = watch.look(&inventory);
        Ok::<_, Failure>(Some(Snapshot::new(visit.broker_pid, &inventory, stuck)))
    })();
    let looked = looked.unwrap_or_else(|failure| {
        tracing::debug!(reason = failure.explanation(), "nothing to see");
        None
    });
    looked.unwrap_or_else(|| {
        *visit = None;
        Snapshot::default()
    })
}
