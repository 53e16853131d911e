//! `onecopy doctor`: what is wrong with this machine, or will be, and the command that mends it.
//!
//! | file | one concept |
//! |---|---|
//! | `finding.rs` | what was looked at, how it is, and what to do |
//! | `kernel.rs` | what the kernel offers |
//! | `limits.rs` | limits of this process and of the machine |
//! | `configuration.rs` | who may do what |
//! | `directory.rs` | the runtime directory |
//! | `instance.rs` | the broker and the nodes |

mod configuration;
mod directory;
mod finding;
mod instance;
mod kernel;
mod limits;

use clap::Args;
use serde::Serialize;

use self::finding::{Finding, Level};
use crate::failure::Failure;
use crate::output::{Output, Style, stdout_has_colour, styled};
use crate::scope::Scope;

const AFTER_LONG_HELP: &str = "\
Looks at the kernel, at limits, at the runtime directory, and at the instance if it runs. It changes nothing. Limits are
those of this shell: those of a service are in its unit (systemctl show UNIT -p LimitNOFILE). Commands that it names are to
be read before they are run; most need root, and last until the next start.

Levels:
  ok        as it should be
  note      works, and could be better or will matter one day
  warning   will fail under load, or for somebody
  problem   does not work

Exit code: 0 if there is nothing worse than a note, 10 otherwise.

JSON: one document
  healthy                              false if there is a warning or a problem
  findings: [{check, level, text, fix}]
                                       fix is a command, or null

Examples:
  onecopy doctor
  onecopy doctor --json | jq -r '.findings[] | select(.level != \"ok\") | .fix'";

/// Check kernel, limits, runtime directory and instance, and say what to mend
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    healthy: bool,
    findings: Vec<Finding>,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let mut findings = Vec::new();
    kernel::check(&mut findings);
    limits::check(&mut findings);
    configuration::check(scope.instance_name(), &mut findings);
    match scope.instance() {
        Ok(instance) => {
            directory::check(&instance, &mut findings);
            instance::check(scope, &mut findings);
        }
        // It has been told already.
        Err(failure) if failure.is_of_config() => {}
        Err(failure) => return Err(failure),
    }
    let bad = findings.iter().filter(|finding| finding.level >= Level::Warning).count();
    let mut output = Output::new();
    if arguments.json {
        output.json_document(&Report { healthy: bad == 0, findings })?;
    } else {
        print(&findings, &mut output)?;
    }
    output.flush()?;
    if bad == 0 { Ok(()) } else { Err(Failure::Unhealthy { findings: bad }) }
}

fn print(findings: &[Finding], output: &mut Output) -> Result<(), Failure> {
    let colour = stdout_has_colour();
    for Finding { check, level, text, fix } in findings {
        let style = match level {
            Level::Ok => Style::Good,
            Level::Note => Style::Faint,
            Level::Warning | Level::Problem => Style::Bad,
        };
        let level = styled(&format!("{:<8}", level.to_string()), style, colour);
        output.line(&format!("{level} {}: {text}", styled(check, Style::Strong, colour)))?;
        if let Some(fix) = fix {
            output.line(&format!("         {fix}"))?;
        }
    }
    Ok(())
}
