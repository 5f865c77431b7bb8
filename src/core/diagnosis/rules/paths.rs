//! Store, pid and log: whether the service's user can write where the server has to.

use super::super::{
    case::Case,
    catalogue::{Page, pages},
    files::{FileKind, Mount, PathFacts, PathRole},
    finding::{Finding, Severity},
};
use crate::core::bytes;

pages! {
    STORE_NOT_MOUNTED = "store-not-mounted" Blocking Directory "the store's volume is not mounted"
        why "The server starts on the empty directory below the mount point, and healthz is 200: streams with one copy come \
             back empty, the others are copied whole from their peers."
        proof "The store's mount point stands in fstab or a mount unit and is not mounted."
        remedy "stop the server, mount the volume, start the server";
    STORE_READ_ONLY = "store-read-only" Blocking Directory "the store is on a file system that is read-only"
        why "JetStream can't start. A file system turns read-only by itself after errors of its disk: look at the kernel's log."
        proof "The mount's options; a write as the service's user; the words `read-only file system`."
        remedy "mend the disk, remount it for writing";
    STORE_NOT_DIRECTORY = "store-not-a-directory" Blocking Directory "the store's path is no directory"
        why "A file stands where the store's directory should be."
        proof "The kind of the path; the fatal line `storage directory is not a directory`."
        remedy "move the file away, or correct store_dir";
    STORE_NOT_WRITABLE = "store-not-writable" Blocking Directory "the service's user can't write to the store"
        why "JetStream can't start and the server exits. Its words can mislead: for a directory of another owner below the \
             store it says `storage directory is not a directory`."
        proof "A write as the service's user; owner and mode; the fatal line `Can't start JetStream: …`."
        remedy "give the store to the service's user";
    PID_FILE = "pid-file-unwritable" Blocking Directory "the pid file can't be written"
        why "The server exits with status 1 before anything else."
        proof "A write as the service's user; the fatal line `Could not write pidfile`."
        remedy "make the pid file's directory exist and belong to the service's user";
    LOG_FILE = "log-file-unwritable" Blocking Directory "the log file can't be written"
        why "The server exits with status 1; the words are in the journal only. A reload to such a log_file kills a running \
             server too."
        proof "A write as the service's user; the words `error opening file`."
        remedy "make the log file's directory exist and belong to the service's user";
    DISK_FULL = "disk-full" Blocking Directory "the store's file system is full"
        why "A clustered server exits or turns JetStream off (`JetStream not enabled`); a single one starts, says healthz 200, \
             and fails with its first write."
        proof "The free space; the words `no space left on device`."
        remedy "make room on the file system";
    INODES = "inodes-exhausted" Blocking Directory "the store's file system has no inodes left"
        why "No file can be made, although there is free space: the words are the same, `no space left on device`."
        proof "The free inodes; the words `no space left on device`."
        remedy "remove files, or move the store to a file system with more inodes";
    DISK_SMALL = "disk-too-small" Warning Directory "JetStream may take more than the disk has"
        why "max_file_store is what JetStream promises to streams, not what is there: the disk fills before JetStream refuses."
        proof "max_file_store, what the store has already, and the free space."
        remedy "lower max_file_store, or give the store more room";
}

const ROLES: &[(PathRole, &Page, &str)] =
    &[(PathRole::Pid, &PID_FILE, "the pid file"), (PathRole::Log, &LOG_FILE, "the log file")];

/// All that concerns the directories of store, pid and log.
pub(super) fn rules(case: &Case<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let paths = case.archive.paths.as_deref().unwrap_or_default();
    let store = paths.iter().find(|path| path.roles.contains(&PathRole::Store));
    found.extend(store.and_then(|store| of_store(case, store)));
    if found.is_empty() {
        found.extend(store_died(case, store));
    }
    found.extend(foreign(case, &found));
    found.extend(store.and_then(|store| too_small(case, store)));
    for (role, page, what) in ROLES {
        let path = paths.iter().find(|path| path.roles.contains(role));
        found.extend(file(case, page, what, path));
    }
    found
}

/// What the facts of the store's path say.
fn of_store(case: &Case<'_>, path: &PathFacts) -> Option<Finding> {
    let mount = path.mount.as_ref();
    let words = path.write_error.as_deref().unwrap_or_default();
    let finding = if let Some(point) = mount.and_then(|mount| mount.expected_not_mounted.as_deref()) {
        let finding =
            Finding::of(&STORE_NOT_MOUNTED, format!("{point} is not mounted, and the store {} is on it", path.path));
        let finding =
            if case.alive() { finding.run(format!("sudo systemctl stop {}", case.unit_name())) } else { finding };
        finding.run(format!("sudo mount {point}"))
    } else if path.kind == Some(FileKind::File) {
        let title = format!("{}, the store, is a file", path.path);
        Finding::of(&STORE_NOT_DIRECTORY, title).run(format!("sudo mv {0} {0}.old", path.path))
    } else if mount.is_some_and(|mount| mount.read_only) || words.contains("ead-only") {
        let point = mount.map_or(path.path.as_str(), |mount| mount.point.as_str());
        Finding::of(&STORE_READ_ONLY, format!("the store {} is on a read-only file system ({point})", path.path))
            .run(format!("sudo mount -o remount,rw {point}"))
    } else if let Some(full) = full(case, path, mount) {
        full
    } else if !case.tried_as_user() {
        return None;
    } else if path.writable == Ok(false) || path.blocked_by.is_some() && path.readable == Ok(false) {
        not_writable(case, &STORE_NOT_WRITABLE, "the store", path, &path.path)
    } else {
        return None;
    };
    Some(prove(case, finding, path, &["Can't start JetStream", "Error creating filestore"]))
}

fn full(case: &Case<'_>, path: &PathFacts, mount: Option<&Mount>) -> Option<Finding> {
    let mount = mount?;
    let no_space = path.write_error.as_deref().is_some_and(|words| words.contains("No space left"));
    let no_inodes = mount.inodes.is_some_and(|n| n > 0) && mount.inodes_free == Some(0);
    // Some file systems keep a block or two that no file can have.
    let no_bytes = mount.free.is_some_and(|free| free < FULL_BELOW);
    if no_inodes {
        let finding =
            Finding::of(&INODES, format!("{} has no inodes left, and the store {} is on it", mount.point, path.path));
        return Some(
            finding
                .quote(format!("df -i {}", mount.point), "0 inodes free")
                .run(format!("sudo du --inodes -xd1 {}", mount.point)),
        );
    }
    if !(no_space || no_bytes) {
        return None;
    }
    let (free, total) = (bytes(mount.free.unwrap_or(0)), mount.total.map(bytes));
    let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
    let title = format!("{} is full: {free}{of} free, and the store {} is on it", mount.point, path.path);
    let finding = Finding::of(&DISK_FULL, title).quote(format!("df {}", mount.point), format!("{free}{of} free"));
    let finding = match case.said(&["no space left on device"]) {
        Some(line) => finding.line(&line),
        None => finding,
    };
    Some(finding.run(format!("sudo du -xhd1 {}", mount.point)))
}

/// The server's own words about its store, where the facts do not show the cause.
fn store_died(case: &Case<'_>, store: Option<&PathFacts>) -> Option<Finding> {
    let line = case.died_with("Can't start JetStream")?;
    let text = line.text();
    let path = store.map_or("store_dir", |store| store.path.as_str());
    let finding = if text.contains("read-only file system") {
        Finding::of(&STORE_READ_ONLY, format!("the store {path} was on a read-only file system"))
            .run(format!("findmnt -T {path}"))
    } else if text.contains("no space left on device") {
        Finding::of(&DISK_FULL, format!("the file system of the store {path} was full"))
            .run(format!("df -h {path}; df -i {path}"))
    } else if text.contains("permission denied")
        || text.contains("is not writable")
        || text.contains("is not a directory")
    {
        let owner = case.owner();
        let first = case.archive.store.as_ref().ok().and_then(|store| store.as_ref()?.foreign.first());
        let place = first.map_or(path, String::as_str);
        let finding = Finding::of(&STORE_NOT_WRITABLE, format!("{} can't write to the store at {place}", case.user()));
        let finding = match first {
            Some(first) => {
                finding.quote("owners below the store", format!("{first} does not belong to {}", case.user()))
            }
            None => finding.likely(),
        };
        // All of it is the user's own: then its modes are what denies.
        let own = first.is_none() && case.archive.store.as_ref().is_ok_and(Option::is_some);
        let change = if own { "chmod -R u+rwX".to_owned() } else { format!("chown -R {owner}") };
        finding.run(format!("sudo {change} {path}"))
    } else {
        return None;
    };
    Some(finding.died(&line))
}

/// Files of another owner inside the store: a restart may fail on them although its top can be written.
fn foreign(case: &Case<'_>, found: &[Finding]) -> Option<Finding> {
    let store = case.archive.store.as_ref().ok()?.as_ref()?;
    let first = store.foreign.first()?;
    if !found.is_empty() || case.user() == "root" {
        return None;
    }
    let title = format!("{first} in the store does not belong to {}", case.user());
    let finding = Finding::of(&STORE_NOT_WRITABLE, title).quote("owners below the store", store.foreign.join(", "));
    let finding = match case.died_with("storage directory is not") {
        Some(line) => finding.died(&line),
        // Its group, or an access list, may still let the server in.
        None => finding.likely().severity(Severity::Warning),
    };
    Some(finding.run(format!("sudo chown -R {} {}", case.owner(), store.path)))
}

fn too_small(case: &Case<'_>, path: &PathFacts) -> Option<Finding> {
    let wanted = case.settings()?.max_file?;
    let mount = path.mount.as_ref()?;
    let free = mount.free?;
    let used = case.archive.store.as_ref().ok()?.as_ref()?.bytes?;
    let lacking = wanted.checked_sub(used.saturating_add(free))?;
    if lacking == 0 {
        return None;
    }
    let title = format!(
        "JetStream may take {} and {} has room for {}",
        bytes(wanted),
        mount.point,
        bytes(used.saturating_add(free))
    );
    let quote = format!("{} used by the store, {} free", bytes(used), bytes(free));
    Some(
        Finding::of(&DISK_SMALL, title)
            .quote(format!("df {}", mount.point), quote)
            .run(format!("df -h {}", mount.point)),
    )
}

/// The pid file and the log file.
fn file(case: &Case<'_>, page: &'static Page, what: &str, path: Option<&PathFacts>) -> Option<Finding> {
    let mark = if page.code == PID_FILE.code { "Could not write pidfile" } else { "error opening file" };
    let facts = path
        .filter(|path| case.tried_as_user() && path.writable == Ok(false) || path.kind == Some(FileKind::Directory));
    let finding = match (facts, case.died_with(mark)) {
        (None, None) => return None,
        (None, Some(line)) => {
            let name = line.text().split("open ").nth(1).and_then(|rest| rest.split(':').next()).unwrap_or(what);
            return Some(Finding::of(page, format!("{what} {name} could not be written")).died(&line));
        }
        (Some(path), _) if path.kind == Some(FileKind::Directory) => {
            Finding::of(page, format!("{what} {0} is a directory", path.path))
                .run(format!("sudo mv {0} {0}.old", path.path))
        }
        (Some(path), _) => {
            let directory = path
                .path
                .rsplit_once('/')
                .map_or("/", |(directory, _)| if directory.is_empty() { "/" } else { directory });
            not_writable(case, page, what, path, directory)
        }
    };
    path.map(|path| prove(case, finding, path, &[mark]))
}

/// The service's user can't write: because nothing is there, because it may not, or because of what is above it.
fn not_writable(case: &Case<'_>, page: &'static Page, what: &str, path: &PathFacts, directory: &str) -> Finding {
    let (user, owner) = (case.user(), case.owner());
    let words = path.write_error.as_deref().unwrap_or("it is not writable");
    let finding = |title: String| Finding::of(page, title);
    if let Some(blocked) = &path.blocked_by {
        return finding(format!("{user} can't enter {blocked}, so not write {what} {}", path.path))
            .run(format!("sudo chmod a+x {blocked}"));
    }
    let mount_only = path.mount.as_ref().is_some_and(|mount| mount.read_only) || words.contains("ead-only");
    if mount_only {
        let point = path.mount.as_ref().map_or(directory, |mount| mount.point.as_str());
        return finding(format!("{what} {} is on a read-only file system ({point})", path.path))
            .run(format!("sudo mount -o remount,rw {point}"));
    }
    if words.contains("No space left") {
        return finding(format!("{what} {} is on a file system that is full", path.path))
            .run(format!("df -h {directory}"));
    }
    let missing =
        path.kind.is_none() && path.ancestor.as_deref().is_some_and(|above| above != directory || what == "the store");
    if missing {
        let above = path.ancestor.as_deref().unwrap_or("/");
        let group = owner.split_once(':').map(|(_, group)| group).filter(|group| !group.is_empty()).unwrap_or(user);
        return finding(format!("{directory} is missing, and {user} can't make it in {above}"))
            .run(format!("sudo install -d -m 750 -o {user} -g {group} {directory}"));
    }
    if path.kind == Some(FileKind::File) {
        let by = path.owner.as_deref().map(|owner| format!(", which belongs to {owner}")).unwrap_or_default();
        return finding(format!("{user} can't write {what} {}{by}", path.path))
            .run(format!("sudo chown {owner} {}", path.path));
    }
    let by = path
        .owner
        .as_deref()
        .filter(|_| path.kind.is_some())
        .map(|owner| format!(", which belongs to {owner}"))
        .unwrap_or_default();
    if path.kind.is_some() && path.owner.as_deref() == Some(user) {
        return finding(format!("{user} can't write {what} {}, although it is its own: its mode", path.path))
            .run(format!("sudo chmod u+rwX {directory}"));
    }
    let recursive = if what == "the store" { "-R " } else { "" };
    finding(format!("{user} can't write {what} {}{by}", path.path))
        .run(format!("sudo chown {recursive}{owner} {directory}"))
}

fn prove(case: &Case<'_>, finding: Finding, path: &PathFacts, marks: &[&str]) -> Finding {
    let finding = finding.quote(format!("{} as {}", path.path, case.user()), facts(path));
    match marks.iter().find_map(|mark| case.died_with(mark)) {
        Some(line) => finding.died(&line),
        None => finding,
    }
}

/// A path's facts in one line, as `ls` would tell them.
pub(super) fn facts(path: &PathFacts) -> String {
    let kind = match path.kind {
        None => "missing",
        Some(FileKind::File) => "file",
        Some(FileKind::Directory) => "directory",
        Some(FileKind::BrokenLink) => "broken link",
        Some(FileKind::Other) => "neither file nor directory",
        Some(FileKind::Unseen) => "not visible to who gathered",
    };
    let mut text = kind.to_owned();
    if let (Some(owner), Some(mode)) = (&path.owner, path.mode) {
        text.push_str(&format!(", {owner}:{} {mode:04o}", path.group.as_deref().unwrap_or("?")));
    }
    if let Some(error) = &path.write_error {
        text.push_str(&format!(", write: {error}"));
    }
    text
}

/// Less than this is nothing: a message block alone is larger.
const FULL_BELOW: u64 = 64 * 1024;
