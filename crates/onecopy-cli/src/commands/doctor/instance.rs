//! The instance, if it runs: whether its broker answers and has room, and whether all nodes run the same version.

use std::collections::BTreeMap;

use onecopy::NodeEntry;

use super::finding::{Finding, Level};
use crate::failure::Failure;
use crate::scope::Scope;
use onecopy::counted;

pub(super) fn check(scope: &Scope, findings: &mut Vec<Finding>) {
    const CHECK: &str = "broker";
    let looked = scope.visit().and_then(|visit| Ok((visit.broker_pid, visit.node.inventory()?)));
    let (broker_pid, inventory) = match looked {
        Ok(looked) => looked,
        Err(Failure::NoBroker { .. }) => {
            return findings
                .push(Finding::ok(CHECK, format!("instance {:?} does not run", scope.instance_name())));
        }
        Err(failure) => {
            let fix = "onecopy status     # if the broker's process is stopped: kill -CONT PID";
            return findings.push(Finding::new(CHECK, Level::Problem, failure.explanation(), fix));
        }
    };
    findings.push(Finding::ok(CHECK, format!("process {broker_pid} answers")));
    findings.extend(broker_files(broker_pid));
    findings.push(versions(&inventory.nodes));
    for topic in &inventory.topics {
        for subscriber in &topic.subscribers {
            let counters = subscriber.counters();
            if counters.lag_permille >= 1000 {
                let text = format!(
                    "{} of node {} lags {} behind, more than the ring has: it is slow, stopped or stuck",
                    topic.name,
                    subscriber.node,
                    counted(counters.lag, "message")
                );
                findings.push(Finding::new(
                    "slow subscriber",
                    Level::Warning,
                    text,
                    "onecopy top     # view 2",
                ));
            }
        }
    }
}

/// How much of its limit of open files the broker has used, where that can be seen.
fn broker_files(pid: u32) -> Option<Finding> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let limit: u64 = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())?;
    let used = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
    Some(files(pid, used, limit))
}

fn files(pid: u32, used: u64, limit: u64) -> Finding {
    let text = format!("{used} of {limit}");
    if used.saturating_mul(4) < limit.saturating_mul(3) {
        return Finding::ok("broker's open files", text);
    }
    let text = format!("{text}: soon nobody can join");
    let fix = format!("sudo prlimit --pid {pid} --nofile=65536     # and in its unit: LimitNOFILE=65536");
    Finding::new("broker's open files", Level::Warning, text, &fix)
}

fn versions(nodes: &[NodeEntry]) -> Finding {
    const CHECK: &str = "versions";
    let own = env!("CARGO_PKG_VERSION");
    let mut by_version: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.pid != std::process::id()) {
        let version = node
            .version
            .map_or("unknown".to_owned(), |[major, minor, patch]| format!("{major}.{minor}.{patch}"));
        by_version.entry(version).or_default().push(&node.name);
    }
    let others: Vec<_> = by_version.iter().filter(|(version, _)| *version != own).collect();
    if others.is_empty() {
        return Finding::ok(CHECK, format!("all nodes run {own}, as this program"));
    }
    let others: Vec<_> =
        others.iter().map(|(version, nodes)| format!("{version}: {}", nodes.join(", "))).collect();
    let text = format!("this program is {own}, and there are others: {}", others.join("; "));
    Finding::new(CHECK, Level::Note, text, "onecopy status     # which processes to start anew")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_without_room_is_told_before_it_has_none() {
        assert_eq!(files(7, 100, 1024).level, Level::Ok);
        let finding = files(7, 768, 1024);
        assert_eq!(finding.level, Level::Warning);
        assert!(finding.fix.is_some_and(|fix| fix.contains("--pid 7")));
    }

    #[test]
    fn nodes_of_other_versions_are_named() {
        let node = |name: &str, version| NodeEntry {
            id: name.to_owned(),
            name: name.to_owned(),
            pid: 0,
            uid: 0,
            version,
            memory_bytes: 0,
        };
        let own = env!("CARGO_PKG_VERSION").split('.').map(|number| number.parse().unwrap());
        let own: [u16; 3] = own.collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(versions(&[node("camera", Some(own))]).level, Level::Ok);
        let finding =
            versions(&[node("camera", Some(own)), node("old", Some([0, 0, 9])), node("mute", None)]);
        assert_eq!(finding.level, Level::Note);
        assert!(finding.text.contains("0.0.9: old") && finding.text.contains("unknown: mute"), "{finding:?}");
        assert!(!finding.text.contains("camera"));
    }
}
