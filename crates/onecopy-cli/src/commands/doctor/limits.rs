//! Limits of this process, which those that it starts inherit, and of the machine.

use rustix::process::{Resource, Rlimit, getrlimit};

use super::finding::{Finding, Level};
use crate::units::bytes;
use onecopy::counted;

/// A publisher and a subscriber are a handful of descriptors; the broker has about three for each node and one for each
/// publisher. With the usual 1024 it serves a few hundred.
const OPEN_FILES_WANTED: u64 = 4096;
/// A node's state takes some hundred megabytes of address space, of which little is ever touched.
const ADDRESS_SPACE_WANTED: u64 = 16 << 30;

pub(super) fn check(findings: &mut Vec<Finding>) {
    findings.push(open_files(getrlimit(Resource::Nofile)));
    findings.push(size("address space", getrlimit(Resource::As).current, "ulimit -v unlimited"));
    findings.push(size("file size", getrlimit(Resource::Fsize).current, "ulimit -f unlimited"));
    let memlock = getrlimit(Resource::Memlock).current;
    let memlock = memlock.map_or_else(|| "unlimited".to_owned(), bytes);
    findings.push(Finding::ok("locked memory", format!("{memlock}; nothing is locked, so none is needed")));
    findings.push(overcommit(number("/proc/sys/vm/overcommit_memory")));
    let settings = [
        ("vm.max_map_count", "/proc/sys/vm/max_map_count", 65_530, "mappings of one process"),
        ("net.core.somaxconn", "/proc/sys/net/core/somaxconn", 1024, "nodes that may join at once"),
        (
            "fs.epoll.max_user_watches",
            "/proc/sys/fs/epoll/max_user_watches",
            65_536,
            "sockets that brokers watch",
        ),
        ("fs.file-max", "/proc/sys/fs/file-max", 65_536, "open files of the machine"),
    ];
    for (name, path, wanted, what) in settings {
        findings.push(setting(name, number(path), wanted, what));
    }
    findings.push(huge_pages(
        &std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default(),
    ));
}

fn number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn open_files(Rlimit { current, maximum }: Rlimit) -> Finding {
    let Some(soft) = current.filter(|soft| *soft < OPEN_FILES_WANTED) else {
        let text = current.map_or_else(|| "unlimited".to_owned(), |soft| soft.to_string());
        return Finding::ok("open files", text);
    };
    let nodes = counted(soft / 4, "node");
    let text = format!("{soft} for a process: a broker serves about {nodes} with that");
    if maximum.is_none_or(|hard| hard >= OPEN_FILES_WANTED) {
        // `onecopy serve` does so by itself, and programs may.
        let fix = format!("ulimit -n {}", maximum.unwrap_or(65_536).min(65_536));
        return Finding::new("open files", Level::Note, text, &fix);
    }
    let fix =
        "echo '* - nofile 65536' | sudo tee /etc/security/limits.d/onecopy.conf     # then log in again";
    Finding::new("open files", Level::Warning, text, fix)
}

fn size(check: &'static str, limit: Option<u64>, fix: &str) -> Finding {
    match limit {
        None => Finding::ok(check, "unlimited"),
        Some(limit) if limit >= ADDRESS_SPACE_WANTED => Finding::ok(check, bytes(limit)),
        Some(limit) => {
            let text =
                format!("limited to {}: shared memory is laid out sparsely and wants more", bytes(limit));
            Finding::new(check, Level::Warning, text, fix)
        }
    }
}

fn overcommit(mode: Option<u64>) -> Finding {
    const CHECK: &str = "vm.overcommit_memory";
    match mode {
        Some(2) => Finding::new(
            CHECK,
            Level::Note,
            "2: what is touched counts towards CommitLimit, and a process that touches more is killed (SIGBUS)",
            "grep Commit /proc/meminfo     # room left; sudo sysctl vm.overcommit_ratio=80 makes more",
        ),
        Some(mode) => Finding::ok(CHECK, mode.to_string()),
        None => Finding::new(CHECK, Level::Note, "can't be read here", ""),
    }
}

fn setting(name: &'static str, found: Option<u64>, wanted: u64, what: &str) -> Finding {
    match found {
        Some(found) if found >= wanted => Finding::ok(name, found.to_string()),
        Some(found) => {
            let text = format!("{found}: few {what}");
            Finding::new(name, Level::Note, text, &format!("sudo sysctl {name}={wanted}"))
        }
        None => Finding::new(name, Level::Note, "can't be read here", ""),
    }
}

/// `shmem_enabled` lists its values, the one that holds in brackets.
fn huge_pages(modes: &str) -> Finding {
    const CHECK: &str = "huge pages";
    let mode = modes.split('[').nth(1).and_then(|rest| rest.split(']').next());
    match mode {
        Some(mode @ ("always" | "within_size" | "force")) => {
            Finding::ok(CHECK, format!("{mode}: large messages lie on huge pages"))
        }
        Some(mode) => Finding::new(
            CHECK,
            Level::Note,
            format!(
                "{mode}: messages of megabytes lie on small pages, which costs those that read all of them a little"
            ),
            "echo within_size | sudo tee /sys/kernel/mm/transparent_hugepage/shmem_enabled",
        ),
        None => Finding::new(CHECK, Level::Note, "this kernel has none for shared memory", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_open_files_are_mended_as_far_as_one_may() {
        let limit = |current, maximum| open_files(Rlimit { current, maximum });
        assert_eq!(limit(None, None).level, Level::Ok);
        assert_eq!(limit(Some(4096), Some(4096)).level, Level::Ok);
        assert_eq!(limit(Some(1024), Some(524_288)).fix.as_deref(), Some("ulimit -n 65536"));
        assert_eq!(limit(Some(1024), None).fix.as_deref(), Some("ulimit -n 65536"));
        assert!(limit(Some(256), Some(1024)).fix.is_some_and(|fix| fix.contains("limits.d")));
        assert_eq!(limit(Some(1024), None).level, Level::Note, "programs may raise it");
    }

    #[test]
    fn settings_are_judged_by_what_is_wanted() {
        assert_eq!(setting("a", Some(5), 5, "").level, Level::Ok);
        assert_eq!(setting("a", Some(4), 5, "things").fix.as_deref(), Some("sudo sysctl a=5"));
        assert_eq!(setting("a", None, 5, "").level, Level::Note);
        assert_eq!([0, 1, 2].map(|mode| overcommit(Some(mode)).level), [Level::Ok, Level::Ok, Level::Note]);
        assert_eq!(size("a", None, "").level, Level::Ok);
        assert_eq!(size("a", Some(1 << 30), "").level, Level::Warning);
    }

    #[test]
    fn the_mode_of_huge_pages_is_the_one_in_brackets() {
        assert_eq!(huge_pages("always [within_size] advise never").level, Level::Ok);
        assert_eq!(huge_pages("always within_size advise [never] deny force").level, Level::Note);
        assert_eq!(huge_pages("").fix, None);
    }
}
