//! The instance's configuration: whether it is taken, and what in it is worth a second look.

use onecopy::config::Config;

use super::finding::{Finding, Level};

const CHECK: &str = "configuration";

pub(super) fn check(instance: &str, findings: &mut Vec<Finding>) {
    let config = match Config::of_instance(instance) {
        Ok(config) => config,
        Err(error) => {
            let fix = format!("onecopy --instance {instance} config check");
            return findings.push(Finding::new(CHECK, Level::Problem, error.to_string(), &fix));
        }
    };
    let Some(file) = config.file() else {
        return findings.push(Finding::ok(CHECK, "none: processes of one user only"));
    };
    findings.push(Finding::ok(CHECK, file.display().to_string()));
    for advice in config.advice() {
        let place = advice.line.map_or_else(String::new, |line| format!("line {line}: "));
        findings.push(Finding::new(CHECK, Level::Note, format!("{place}{}", advice.message), ""));
    }
}
