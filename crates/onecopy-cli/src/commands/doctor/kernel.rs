//! What the kernel offers. What it lacks has a fall-back, but for the seals, without which nobody's memory is safe.

use onecopy::kernel::{DISABLE_VARIABLE, features, try_shared_memory};
use rustix::system::uname;

use super::finding::{Finding, Level};

/// The oldest kernel that is tried.
const OLDEST: (u32, u32) = (5, 10);

pub(super) fn check(findings: &mut Vec<Finding>) {
    findings.push(release(&uname().release().to_string_lossy()));
    findings.push(match try_shared_memory() {
        Ok(()) => Finding::ok("shared memory", "memfd with seals against resizing and further writers"),
        Err(error) => Finding::new(
            "shared memory",
            Level::Problem,
            format!("sealed memory can't be made: {error}"),
            "strace -f -e memfd_create,fcntl,mmap onecopy doctor     # which call is refused? (a container's seccomp filter?)",
        ),
    });
    let features = features();
    let disabled = std::env::var(DISABLE_VARIABLE).unwrap_or_default();
    let supported = [
        (
            "futex_waitv",
            features.futex_waitv,
            "waiting on several topics takes a socket for each",
            "Linux 5.16",
        ),
        (
            "membarrier",
            features.membarrier,
            "each large message costs its receiver a full fence",
            "Linux 4.16, and a seccomp filter that lets it pass",
        ),
        (
            "noexec_seal",
            features.noexec_seal,
            "shared memory could be made executable by who maps it",
            "Linux 6.3",
        ),
    ];
    for (name, is_there, without, since) in supported {
        findings.push(feature(name, is_there, without, since, &disabled));
    }
}

fn release(release: &str) -> Finding {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= OLDEST => {
            Finding::ok("kernel", format!("Linux {release}"))
        }
        _ => {
            let (major, minor) = OLDEST;
            let text = format!("Linux {release} is older than {major}.{minor}, the oldest that is tried");
            Finding::new("kernel", Level::Warning, text, "")
        }
    }
}

fn feature(name: &'static str, is_there: bool, without: &str, since: &str, disabled: &str) -> Finding {
    if is_there {
        return Finding::ok(name, "there");
    }
    if disabled.split(',').any(|word| word.trim() == name) {
        let text = format!("turned off by {DISABLE_VARIABLE}: {without}");
        return Finding::new(name, Level::Note, text, &format!("unset {DISABLE_VARIABLE}"));
    }
    Finding::new(name, Level::Note, format!("not there (needs {since}): {without}"), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_are_told() {
        let level = |text: &str| release(text).level;
        assert_eq!(["5.10.0", "6.18.44-fc", "10.1"].map(level), [Level::Ok; 3]);
        assert_eq!(["5.9.16", "4.19", "3", "?"].map(level), [Level::Warning; 4]);
    }

    #[test]
    fn what_is_turned_off_is_told_from_what_is_missing() {
        assert_eq!(feature("membarrier", true, "", "", "").level, Level::Ok);
        assert_eq!(feature("membarrier", false, "slow", "4.16", "").fix, None);
        let off = feature("membarrier", false, "slow", "4.16", "futex_waitv, membarrier");
        assert_eq!((off.level, off.fix.as_deref()), (Level::Note, Some("unset ONECOPY_DISABLE")));
    }
}
