//! Runs named steps in order, stops at the first failure, and tells at the end how each went and how long it took.

use std::time::{Duration, Instant};

use anyhow::Context;

/// How a step that did not fail ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    /// Not run, for this reason.
    Skipped(String),
}

/// One named part of the test run.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) run: fn() -> anyhow::Result<Outcome>,
}

/// Runs the steps; the error of the first that fails carries its name.
pub(super) fn run(plan: &[Step]) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    let mut failure = None;
    let started = Instant::now();
    for step in plan {
        eprintln!("\n== {}", step.name);
        let step_started = Instant::now();
        let result = (step.run)();
        lines.push(summary_line(step.name, step_started.elapsed(), &result));
        match result {
            Ok(Outcome::Passed) => {}
            Ok(Outcome::Skipped(reason)) => eprintln!("skipped: {reason}"),
            Err(error) => {
                failure = Some((step.name, error));
                break;
            }
        }
    }
    eprintln!("\n== summary");
    for line in &lines {
        eprintln!("{line}");
    }
    let total_s = started.elapsed().as_secs_f64();
    if let Some((name, error)) = failure {
        eprintln!("failed at step '{name}' after {total_s:.1} s");
        return Err(error).with_context(|| format!("step '{name}' failed"));
    }
    eprintln!("all steps passed in {total_s:.1} s");
    Ok(())
}

fn summary_line(name: &str, duration: Duration, result: &anyhow::Result<Outcome>) -> String {
    let outcome = match result {
        Ok(Outcome::Passed) => "passed".to_owned(),
        Ok(Outcome::Skipped(reason)) => format!("skipped: {reason}"),
        Err(_) => "FAILED".to_owned(),
    };
    format!("{:8.1} s  {name:<32} {outcome}", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass() -> anyhow::Result<Outcome> {
        Ok(Outcome::Passed)
    }

    fn skip() -> anyhow::Result<Outcome> {
        Ok(Outcome::Skipped("no compiler".to_owned()))
    }

    fn fail() -> anyhow::Result<Outcome> {
        anyhow::bail!("broken")
    }

    fn must_not_run() -> anyhow::Result<Outcome> {
        panic!("ran a step after the one that failed")
    }

    #[test]
    fn the_first_failure_ends_the_run_and_is_named() {
        let plan = [
            Step { name: "one", run: pass },
            Step { name: "two", run: fail },
            Step { name: "three", run: must_not_run },
        ];
        let error = run(&plan).unwrap_err();
        assert_eq!(error.to_string(), "step 'two' failed");
        assert_eq!(error.root_cause().to_string(), "broken");
    }

    #[test]
    fn a_skipped_step_does_not_fail_the_run() {
        assert!(run(&[Step { name: "one", run: skip }, Step { name: "two", run: pass }]).is_ok());
    }

    #[test]
    fn the_summary_says_how_each_step_ended() {
        assert!(summary_line("one", Duration::from_millis(1500), &pass()).contains("1.5 s  one"));
        assert!(summary_line("one", Duration::ZERO, &skip()).ends_with("skipped: no compiler"));
        assert!(summary_line("one", Duration::ZERO, &fail()).ends_with("FAILED"));
    }
}
