//! The runtime directory: it must be this user's, and nobody else may put anything into it.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use onecopy::instance::Instance;

use super::finding::{Finding, Level};

const CHECK: &str = "runtime directory";

pub(super) fn check(instance: &Instance, findings: &mut Vec<Finding>) {
    let directory = instance.directory();
    // Whose directory it should be; root's will do.
    let uid = instance.config().owner().unwrap_or_else(|| rustix::process::geteuid().as_raw());
    findings.push(match std::fs::symlink_metadata(directory) {
        Ok(found) => judge(directory, &found, uid),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => missing(directory),
        Err(error) => {
            let text = format!("{}: {error}", directory.display());
            Finding::new(CHECK, Level::Problem, text, &format!("ls -ld {}", quoted(directory)))
        }
    });
    let socket = instance.socket_path();
    if let Ok(found) = std::fs::symlink_metadata(&socket)
        && !found.file_type().is_socket()
    {
        let text = format!("{} is no socket", socket.display());
        findings.push(Finding::new("socket", Level::Problem, text, &format!("rm {}", quoted(&socket))));
    }
}

fn judge(directory: &Path, found: &std::fs::Metadata, uid: u32) -> Finding {
    let shown = directory.display();
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    if !found.is_dir() {
        let text = format!("{shown} is no directory (symbolic links are not followed)");
        return Finding::new(CHECK, Level::Problem, text, &format!("rm {}", quoted(directory)));
    }
    if owner != uid && owner != 0 {
        let text = format!("{shown} belongs to user {owner}, and the instance is user {uid}'s");
        let fix = format!("sudo chown {uid} {}", quoted(directory));
        return Finding::new(CHECK, Level::Problem, text, &fix);
    }
    if mode & 0o022 != 0 {
        let text = format!("{shown} can be written by others (mode {mode:o})");
        return Finding::new(CHECK, Level::Problem, text, &format!("chmod 700 {}", quoted(directory)));
    }
    Finding::ok(CHECK, format!("{shown}, mode {mode:o}"))
}

/// The first broker makes it, where it may.
fn missing(directory: &Path) -> Finding {
    let parent = directory.parent().unwrap_or(Path::new("/"));
    let shown = directory.display();
    if parent.is_dir() {
        return Finding::ok(CHECK, format!("{shown}, which the first program makes"));
    }
    let text = format!("{shown} can't be made: there is no {}", parent.display());
    Finding::new(CHECK, Level::Problem, text, &format!("mkdir -p {}", quoted(parent)))
}

/// As a shell takes it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_what_mends_it() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("it's here");
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(missing(&directory).level, Level::Ok);
        assert!(missing(&directory.join("below")).fix.is_some_and(|fix| fix.starts_with("mkdir -p ")));
        std::fs::create_dir(&directory).unwrap();
        let judged = |uid| judge(&directory, &std::fs::symlink_metadata(&directory).unwrap(), uid);
        let set = |mode| std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(mode)).unwrap();
        set(0o700);
        assert_eq!(judged(uid).level, Level::Ok);
        let foreign = judged(uid + 1);
        assert!(uid == 0 || foreign.fix.is_some_and(|fix| fix.starts_with("sudo chown ")));
        set(0o777);
        let fix = judged(uid).fix.unwrap();
        assert!(fix.starts_with("chmod 700 '") && fix.ends_with(r"it'\''s here'"), "{fix}");
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(judge(&file, &std::fs::symlink_metadata(&file).unwrap(), uid).fix.is_some());
    }
}
